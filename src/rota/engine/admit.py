"""Admit: what is due becomes ready, what blocked a run and is over releases it. Only the leader admits."""

from rota.domain.ids import definition_id
from rota.domain.run import TERMINAL, Run, State
from rota.domain.schedule import Schedule
from rota.domain.states import Due, Release, advance
from rota.engine.engine import Engine
from rota.engine.moves import move
from rota.engine.recover import overdue
from rota.engine.settle import settle
from rota.ports.store import Term, Versioned, Where

LIMIT = 500


async def ripen(engine: Engine, term: Term) -> int | None:
    """Advance every run whose instant in the time index has come; the next one, 0 where more is due already."""
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
    return 0 if len(due.items) == LIMIT else due.next_at


async def release(engine: Engine, term: Term) -> int:
    """Make the first blocked run of each schedule ready whose earlier runs are over; how many."""
    blocked = await _blocked(engine)
    if not blocked:
        return 0
    waiting = await _waiting(engine, [held for held in await engine.store.get(Schedule, blocked) if held])
    free = [held for name in blocked if name not in waiting for held in await _first(engine, name)]
    now = engine.clock.now()
    strict = await engine.strict({_queue(held.record) for held in free})
    after = [advance(held.record, Release(strict[_queue(held.record)]), now) for held in free]
    await move(engine, free, after, term)
    return len(free)


async def _blocked(engine: Engine) -> list[str]:
    """Schedules that have blocked runs, found by counting: of many runs that wait only the first may go on."""
    where = Where(states=(State.BLOCKED,))
    found: list[str] = []
    for space in await engine.store.count(Run, "namespace", where):
        names = await engine.store.count(Run, "schedule", where._replace(namespace=space))
        found += [definition_id(space, name) for name in names]
    return found


async def _first(engine: Engine, schedule: str) -> list[Versioned[Run]]:
    """The oldest blocked run of a schedule."""
    space, _, name = schedule.partition("/")
    where, cursor = Where(space, (State.BLOCKED,), schedule=name), ""
    while True:
        page = await engine.store.find(Run, where, cursor, 1, oldest=True)
        if page.items or not page.cursor:
            return list(page.items)
        cursor = page.cursor


async def _waiting(engine: Engine, schedules: list[Versioned[Schedule]]) -> set[str]:
    """Those schedules that have a run which is neither over nor blocked itself."""
    owners = {run: held.record.id for held in schedules for run in held.record.open}
    found = await engine.store.get(Run, list(owners))
    return {owners[held.record.id] for held in found if held and held.record.state not in TERMINAL | {State.BLOCKED}}


def _queue(run: Run) -> str:
    return definition_id(run.namespace, run.queue)
