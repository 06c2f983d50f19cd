"""`rota doctor`: is all well, and if not, what helps."""

from collections import Counter

import typer

from rota.api.views import iso
from rota.cli.common import Json, Store, ask, store_url
from rota.cli.show import Listing, counted, show
from rota.domain.errors import StoreError
from rota.domain.names import without_password
from rota.domain.records import Session
from rota.domain.run import Run, State
from rota.domain.schedule import Schedule
from rota.engine import query
from rota.engine.account import STALE_MS, report
from rota.engine.engine import Engine
from rota.engine.explain import unable
from rota.engine.seal import verify
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
    show(Listing("findings", [dict(zip(COLUMNS, one, strict=True)) for one in found], COLUMNS, code=code), as_json)


async def _checks(engine: Engine) -> list[Finding]:
    now, seen = engine.clock.now(), await query.workers(engine)
    sessions = [one.session for one in seen if not one.silent_ms]
    newest = (await engine.store.find(Run, Where(), "", 1)).items
    ahead = max([one.session.opened_at for one in seen] + [held.record.created_at for held in newest], default=0) - now
    # Resigning what one does not hold changes nothing, and tells who holds it.
    lead = await engine.store.lead(NAME, "doctor", 0)
    schedules = len((await engine.store.due(Schedule, now - LATE_MS, LOOK)).items)
    runs = len((await engine.store.due(Run, now - LATE_MS, LOOK)).items)
    late = f"{counted(schedules, 'schedule')} and {counted(runs, 'run')}"
    diagnose = getattr(engine.store, "diagnose", None)  # not every store can say how it is
    return [
        *((level, "store", text) for level, text in (await diagnose() if diagnose else ())),
        ("ok", "clock", "no record is ahead of this machine's clock")
        if ahead <= AHEAD_MS
        else ("warn", "clock", f"the store holds records {ahead} ms ahead of this machine's clock; keep all by NTP"),
        ("ok", "scheduler", f"{lead.holder} leads in term {lead.number}")
        if lead.holder
        else ("fail", "scheduler", "none leads: nothing is fired, retried or taken back; start `rota scheduler`"),
        ("fail", "lateness", f"overdue: {late}; the scheduler is down, or far behind")
        if schedules or runs
        else ("ok", "lateness", "nothing is overdue"),
        ("ok", "workers", f"{len(sessions)} alive with {counted(sum(one.slots for one in sessions), 'slot')}")
        if sessions
        else ("fail", "workers", "none is alive: nothing is run; start `rota worker`"),
        *(("warn", "workers", _silent(one)) for one in seen if one.silent_ms),
        *await _unable(engine, sessions),
        *(await _accounted(engine) if lead.holder else []),
        *await _audited(engine),
    ]


def _silent(view: query.WorkerView) -> str:
    one, seconds = view.session, view.silent_ms // 1_000
    held = f", a scheduler takes back the {view.running} runs that it holds" if view.running else ""
    return f"{one.worker} (pid {one.pid} on {one.host}) has been silent for {seconds} s{held}"


async def _accounted(engine: Engine) -> list[Finding]:
    """Whether the leader's look at its own house found all in order, and whether there was one."""
    found = await report(engine)
    if found is None or found.at < engine.clock.now() - STALE_MS:
        return [("warn", "account", f"no scheduler has looked since {iso(found.at) if found else 'ever'}; see its log")]
    if found.unaccounted:
        return [("fail", "account", f"unaccounted: {found.unaccounted}: {found.examples}; please report this fault")]
    return [("ok", "account", f"unaccounted: 0 up to {iso(found.until)}, by schedules: {found.schedules}")]


async def _audited(engine: Engine) -> list[Finding]:
    """Whether the chain over the audit is whole."""
    found = await verify(engine)
    if found.faults:
        found = await verify(engine)  # entries may have been pruned during the first look
    whole = f"{found.entries} entries are whole in {found.seals} seals, {found.open} wait for theirs"
    began = f"; older ones were pruned up to {iso(found.begins_at)}" if found.begins_at is not None else ""
    note = f"; to prove it later, note seal {found.head}" if found.head else ""
    return [("fail", "audit", fault) for fault in found.faults] or [("ok", "audit", whole + began + note)]


async def _unable(engine: Engine, sessions: list[Session]) -> list[Finding]:
    """Why ready runs have no live worker that can take them."""
    page = await engine.store.find(Run, Where(states=(State.PENDING,)), "", LOOK, oldest=True)
    waiting = Counter(unable(held.record, sessions) for held in page.items)
    found = [
        ("warn", "waiting", f"{counted(number, 'ready run')} cannot start: {why}")
        for why, number in waiting.items()
        if why
    ]
    return found or [("ok", "waiting", "every ready run has a worker that can take it")]
