"""`rota doctor`: is all well, and if not, what helps."""

from collections import Counter

import typer

from rota.cli.common import Json, Store, ask, store_url, without_password
from rota.cli.show import Listing, show
from rota.domain.errors import StoreError
from rota.domain.records import Session
from rota.domain.run import Run, State
from rota.domain.schedule import Schedule
from rota.engine.engine import Engine
from rota.engine.recover import open_sessions
from rota.ports.store import Where
from rota.scheduler.leader import NAME

group = typer.Typer()
LATE_MS = 15_000
"""What is due longer than this shows that nobody leads: a new leader needs one term to take over."""
LOOK = 500
"""So many are looked at; counts end here."""
AHEAD_MS = 5_000
COLUMNS = ("level", "check", "text")
Finding = tuple[str, str, str]
"""`ok`, `warn` or `fail`, what was looked at, and what was found."""


@group.command("doctor")
def doctor(store: Store = None, as_json: Json = False) -> None:
    """Look at store, clock, scheduler and workers. Exits with 1 if something fails."""
    url = store_url(store)
    try:
        opens = ("ok", "store", f"{without_password(url)} opens, its tables fit this version")
        found = [opens, *ask(url, _checks)]
    except StoreError as error:
        found = [("fail", "store", str(error))]
    code = 1 if any(one[0] == "fail" for one in found) else 0
    show(Listing("findings", [dict(zip(COLUMNS, one, strict=True)) for one in found], COLUMNS, code), as_json)


async def _checks(engine: Engine) -> list[Finding]:
    now, sessions = engine.clock.now(), await open_sessions(engine)
    newest = (await engine.store.find(Run, Where(), "", 1)).items
    ahead = max([one.opened_at for one in sessions] + [held.record.created_at for held in newest], default=0) - now
    # Resigning what one does not hold changes nothing, and tells who holds it.
    lead = await engine.store.lead(NAME, "doctor", 0)
    schedules = len((await engine.store.due(Schedule, now - LATE_MS, LOOK)).items)
    runs = len((await engine.store.due(Run, now - LATE_MS, LOOK)).items)
    diagnose = getattr(engine.store, "diagnose", None)  # not every store can say how it is
    return [
        *((level, "store", text) for level, text in (await diagnose() if diagnose else ())),
        ("ok", "clock", "no record is ahead of this machine's clock")
        if ahead <= AHEAD_MS
        else ("warn", "clock", f"the store holds records {ahead} ms ahead of this machine's clock; keep all by NTP"),
        ("ok", "scheduler", f"{lead.holder} leads in term {lead.number}")
        if lead.holder
        else ("warn", "scheduler", "none leads: nothing is fired, retried or taken back; start `rota scheduler`"),
        ("fail", "lateness", f"{schedules} schedules and {runs} runs are overdue: the scheduler is down, or far behind")
        if schedules or runs
        else ("ok", "lateness", "nothing is overdue"),
        ("ok", "workers", f"{len(sessions)} alive with {sum(one.slots for one in sessions)} slots")
        if sessions
        else ("warn", "workers", "none is alive: nothing is run; start `rota worker`"),
        *await _unable(engine, sessions),
    ]


async def _unable(engine: Engine, sessions: list[Session]) -> list[Finding]:
    """Lanes that ready runs stand in and that no live worker takes."""
    page = await engine.store.find(Run, Where(states=(State.PENDING,)), "", LOOK, oldest=True)
    taken = {name for session in sessions for name in session.lanes}
    waiting = Counter(held.record.lane for held in page.items if held.record.lane not in taken)
    found = []
    for name, number in waiting.items():
        _, queue, executor, labels = name.split("/", 3)
        wanted = f"queue {queue} with executor {executor}{' and labels ' if labels else ''}{labels}"
        found.append(("warn", "waiting", f"{number} ready runs wait for a worker of {wanted}"))
    return found or [("ok", "waiting", "every ready run has a worker that can take it")]
