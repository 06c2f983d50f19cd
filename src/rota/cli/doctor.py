"""`rota doctor`: is all well, and if not, what helps."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol, runtime_checkable

import typer

from rota.cli.common import Json, Store, store_url, without_password
from rota.cli.show import Listing, show
from rota.domain.errors import RotaError
from rota.domain.records import Session
from rota.domain.run import Run, State
from rota.domain.schedule import Schedule
from rota.engine.engine import Engine
from rota.engine.recover import open_sessions
from rota.ports.store import Where
from rota.scheduler.leader import NAME

LATE_MS = 15_000
"""What is due longer than this shows that nobody leads: a new leader needs one term to take over."""
LOOK = 500
EARLIEST_AT = 1_735_689_600_000  # 2025-01-01: a clock before that is wrong
AHEAD_MS = 5_000


@runtime_checkable
class Diagnosable(Protocol):
    """A store that can say how it is."""

    async def diagnose(self) -> list[tuple[str, str]]:
        """(`ok`, `warn` or `fail`; what was found), one each for what can be looked at."""
        ...


class Finding(NamedTuple):
    """One line of the report."""

    level: str
    check: str
    text: str


def doctor(store: Store = None, as_json: Json = False) -> None:
    """Look at store, clock, scheduler and workers. Exits with 1 if something fails."""
    found = asyncio.run(_examined(store_url(store)))
    code = 1 if any(one.level == "fail" for one in found) else 0
    show(Listing("findings", [one._asdict() for one in found], ("level", "check", "text"), code), as_json)
    raise typer.Exit(code)


async def _examined(url: str) -> list[Finding]:
    from rota.wiring import opened

    found: list[Finding] = []
    try:
        async with opened(url) as engine:
            found.append(Finding("ok", "store", f"{without_password(url)} opens, its tables fit this version"))
            found.extend([one async for one in _checks(engine)])
    except RotaError as error:
        found.append(Finding("fail", "store", str(error)))
    return found


async def _checks(engine: Engine) -> AsyncIterator[Finding]:
    if isinstance(engine.store, Diagnosable):
        for level, text in await engine.store.diagnose():
            yield Finding(level, "store", text)
    sessions = await open_sessions(engine)
    yield await _clock(engine, sessions)
    yield await _leader(engine)
    yield await _lateness(engine)
    yield _workers(sessions)
    for one in await _unable(engine, sessions):
        yield one


async def _clock(engine: Engine, sessions: list[Session]) -> Finding:
    now = engine.clock.now()
    if now < EARLIEST_AT:
        return Finding("fail", "clock", "this machine's clock is years behind; set it, and keep it by NTP")
    newest = (await engine.store.find(Run, Where(), "", 1)).items
    latest = max([one.opened_at for one in sessions] + [held.record.created_at for held in newest], default=0)
    if latest > now + AHEAD_MS:
        text = f"the store holds records {latest - now} ms ahead of this machine's clock; keep all clocks by NTP"
        return Finding("warn", "clock", text)
    return Finding("ok", "clock", "no record is ahead of this machine's clock")


async def _leader(engine: Engine) -> Finding:
    # Resigning what one does not hold changes nothing, and tells who holds it.
    lead = await engine.store.lead(NAME, "doctor", 0)
    if not lead.holder:
        return Finding(
            "warn", "scheduler", "none leads: nothing is fired, retried or taken back; start `rota scheduler`"
        )
    return Finding("ok", "scheduler", f"{lead.holder} leads in term {lead.number}")


async def _lateness(engine: Engine) -> Finding:
    late_at = engine.clock.now() - LATE_MS
    schedules = len((await engine.store.due(Schedule, late_at, LOOK)).items)
    runs = len((await engine.store.due(Run, late_at, LOOK)).items)
    if not schedules and not runs:
        return Finding("ok", "lateness", "nothing is overdue")
    more = " or more" if LOOK in (schedules, runs) else ""
    text = f"{schedules} schedules and {runs} runs{more} are overdue: the scheduler is down, or far behind"
    return Finding("fail", "lateness", text)


def _workers(sessions: list[Session]) -> Finding:
    if not sessions:
        return Finding("warn", "workers", "none is alive: nothing is run; start `rota worker`")
    return Finding("ok", "workers", f"{len(sessions)} alive with {sum(one.slots for one in sessions)} slots")


async def _unable(engine: Engine, sessions: list[Session]) -> list[Finding]:
    """Lanes that ready runs stand in and that no live worker takes."""
    page = await engine.store.find(Run, Where(states=(State.PENDING,)), "", LOOK, oldest=True)
    taken = {name for session in sessions for name in session.lanes}
    waiting = Counter(held.record.lane for held in page.items if held.record.lane not in taken)
    if not waiting:
        return [Finding("ok", "waiting", "every ready run has a worker that can take it")]
    return [Finding("warn", "waiting", _needs(name, number)) for name, number in waiting.items()]


def _needs(name: str, number: int) -> str:
    _, queue, executor, labels = name.split("/", 3)
    wanted = f" and labels {labels}" if labels else ""
    return f"{number} ready runs wait for a worker of queue {queue} with executor {executor}{wanted}"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)
