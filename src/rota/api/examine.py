"""The doctor's look at a house: is all well, and if not, what helps."""

from collections import Counter
from typing import NamedTuple

from rota.api.stats import Stats
from rota.api.views import iso
from rota.domain.errors import RotaError
from rota.domain.names import number_of
from rota.domain.records import Session
from rota.domain.run import Run, State
from rota.domain.schedule import Schedule
from rota.engine import query
from rota.engine.account import report
from rota.engine.engine import Engine
from rota.engine.explain import unable
from rota.engine.seal import verify
from rota.ports.store import Where
from rota.scheduler.leader import NAME

LATE_MS = 15_000
"""What is due longer than this shows that nobody leads: a new leader needs one term to take over."""
LOOK = 500
"""So many are looked at; counts end here."""
AHEAD_MS = 5_000
LEADERLESS = "none leads: nothing is fired, retried or taken back; start `rota scheduler`"


class Finding(NamedTuple):
    """What was found."""

    level: str
    """`ok`, `warn` or `fail`."""
    check: str
    """What was looked at."""
    text: str


async def examined(engine: Engine) -> list[Finding]:
    """All that there is to say of the house."""
    now, seen = engine.clock.now(), await query.workers(engine)
    sessions = [one.session for one in seen if not one.silent_ms and one.session.takes_runs]
    newest = (await engine.store.find(Run, Where(), "", 1)).items
    ahead = max([one.session.opened_at for one in seen] + [held.record.created_at for held in newest], default=0) - now
    # Resigning what one does not hold changes nothing, and tells who holds it.
    lead = await engine.store.lead(NAME, "doctor", 0)
    schedules = len((await engine.store.due(Schedule, now - LATE_MS, LOOK)).items)
    runs = len((await engine.store.due(Run, now - LATE_MS, LOOK)).items)
    late = f"{number_of(schedules, 'schedule')} and {number_of(runs, 'run')}"
    diagnose = getattr(engine.store, "diagnose", None)  # not every store can say how it is
    idle = [one.session for one in seen if one.session.address and not one.session.takes_runs]
    return [
        *(Finding(level, "store", text) for level, text in (await diagnose() if diagnose else ())),
        await _written(engine),
        Finding("ok", "clock", "no record is ahead of this machine's clock")
        if ahead <= AHEAD_MS
        else Finding("warn", "clock", f"records are {ahead} ms ahead of this machine's clock; keep all by NTP"),
        Finding("ok", "scheduler", f"{lead.holder} leads in term {lead.number}")
        if lead.holder
        else Finding("fail", "scheduler", LEADERLESS),
        Finding("fail", "lateness", f"overdue: {late}; the scheduler is down, or far behind")
        if schedules or runs
        else Finding("ok", "lateness", "nothing is overdue"),
        Finding("ok", "workers", f"{len(sessions)} alive with {number_of(sum(one.slots for one in sessions), 'slot')}")
        if sessions
        else Finding("fail", "workers", "none is alive: nothing is run; start `rota worker`"),
        *(Finding("warn", "workers", _silent(one)) for one in seen if one.silent_ms),
        *(Finding("warn", "workers", _idle(one)) for one in idle if not one.carrier),
        *await _unable(engine, sessions),
        *(await _accounted(engine) if lead.holder else []),
        *await _audited(engine),
    ]


async def _written(engine: Engine) -> Finding:
    """Whether a write is taken: what is full, or may only be read, still answers."""
    try:
        await Stats(engine).check_writes()
    except RotaError as error:
        return Finding("fail", "store", str(error))
    return Finding("ok", "store", "it takes writes")


def _silent(view: query.WorkerView) -> str:
    one, seconds = view.session, view.silent_ms // 1_000
    held = f", a scheduler takes back the {number_of(view.running, 'run')} that it holds" if view.running else ""
    return f"{one.worker} (pid {one.pid} on {one.host}) has been silent for {seconds} s{held}"


def _idle(one: Session) -> str:
    return f"{one.worker} says that it lives at {one.address}, but no runs are posted there; start `rota worker` there"


async def _unable(engine: Engine, sessions: list[Session]) -> list[Finding]:
    """Why ready runs have no live worker that can take them."""
    page = await engine.store.find(Run, Where(states=(State.PENDING,)), "", LOOK, oldest=True)
    waiting = Counter(unable(held.record, sessions) for held in page.items)
    found = [
        Finding("warn", "waiting", f"{number_of(number, 'ready run')} cannot start: {why}")
        for why, number in waiting.items()
        if why
    ]
    return found or [Finding("ok", "waiting", "every ready run has a worker that can take it")]


async def _accounted(engine: Engine) -> list[Finding]:
    """Whether the leader's look at its own house found all in order, and whether there was one."""
    found = await report(engine)
    if found is None or found.said(engine.clock.now()) is None:
        since = f"since {iso(min(found.at, found.until))}" if found else "by now"
        return [Finding("warn", "account", f"no scheduler has looked at all that came {since}; see its log")]
    if found.unaccounted:
        lost = f"unaccounted: {found.unaccounted}: {found.examples}; please report this fault"
        return [Finding("fail", "account", lost)]
    return [Finding("ok", "account", f"unaccounted: 0 up to {iso(found.until)}, by schedules: {found.schedules}")]


async def _audited(engine: Engine) -> list[Finding]:
    """Whether the chain over the audit is whole."""
    found = await verify(engine)
    if found.faults:
        found = await verify(engine)  # entries may have been pruned during the first look
    whole = f"whole: {number_of(found.entries, 'entry')} in {number_of(found.seals, 'seal')}"
    whole += f"; waiting for theirs: {found.open}"
    began = f"; older ones were pruned up to {iso(found.begins_at)}" if found.begins_at is not None else ""
    note = f"; to prove it later, note seal {found.head}" if found.head else ""
    return [Finding("fail", "audit", fault) for fault in found.faults] or [Finding("ok", "audit", whole + began + note)]
