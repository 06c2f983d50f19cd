"""Admit: what is due becomes ready, what blocked a run and is over releases it. Only the leader admits."""

from rota.domain.ids import definition_id
from rota.domain.run import TERMINAL, Run, State
from rota.domain.schedule import Schedule
from rota.domain.states import Due, Release, advance
from rota.engine.engine import Engine, every
from rota.engine.moves import move
from rota.engine.recover import overdue
from rota.engine.settle import settle
from rota.ports.store import Term, Versioned, Where

LIMIT = 500


async def ripen(engine: Engine, term: Term) -> int | None:
    """Advance every run whose instant in the time index has come; the next such instant. A full batch answers now."""
    now = engine.clock.now()
    due = await engine.store.due(Run, now, LIMIT)
    late = [held for held in due.items if held.record.state is State.RUNNING]
    if late:
        await settle(engine, [overdue(held) for held in late], term)
    ripe = [held for held in due.items if held.record.state is not State.RUNNING]
    if ripe:
        strict = await engine.strict({_queue(held.record) for held in ripe})
        after = [advance(held.record, Due(strict[_queue(held.record)]), now) for held in ripe]
        await move(engine, ripe, after, term)
    return now if len(due.items) == LIMIT else due.next_at


async def release(engine: Engine, term: Term) -> int:
    """Make the first blocked run of each schedule ready whose earlier runs are over; how many."""
    first: dict[str, Versioned[Run]] = {}
    for held in await every(engine, Run, Where(states=(State.BLOCKED,)), oldest=True):
        first.setdefault(definition_id(held.record.namespace, held.record.schedule), held)
    if not first:
        return 0
    waiting = await _waiting(engine, [held for held in await engine.store.get(Schedule, list(first)) if held])
    free = [held for name, held in first.items() if name not in waiting]
    now = engine.clock.now()
    strict = await engine.strict({_queue(held.record) for held in free})
    after = [advance(held.record, Release(strict[_queue(held.record)]), now) for held in free]
    await move(engine, free, after, term)
    return len(free)


async def _waiting(engine: Engine, schedules: list[Versioned[Schedule]]) -> set[str]:
    """Those schedules that have a run which is neither over nor blocked itself."""
    owners = {run: held.record.id for held in schedules for run in held.record.open}
    found = await engine.store.get(Run, list(owners))
    return {owners[held.record.id] for held in found if held and held.record.state not in TERMINAL | {State.BLOCKED}}


def _queue(run: Run) -> str:
    return definition_id(run.namespace, run.queue)
