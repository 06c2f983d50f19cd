"""Admit: what is due becomes ready, what blocked a run and is over releases it. Only the leader admits."""

from collections.abc import Callable, Collection, Sequence

from rota.domain.ids import definition_id
from rota.domain.run import Run, State
from rota.domain.schedule import Overlap, Schedule
from rota.domain.states import Due, Release, advance
from rota.engine.engine import Engine, walk
from rota.engine.fire import live_runs, replace_runs
from rota.engine.moves import move
from rota.engine.recover import overdue
from rota.engine.settle import settle
from rota.ports.store import Term, Versioned, Where

LIMIT = 500


async def ripen(engine: Engine, term: Term, vouched: Callable[[str], bool] = bool) -> int | None:
    """Advance every run whose instant in the time index has come; the next one, 0 where more is due already.

    What runs too long is ended where its session is `vouched` for. Else its worker may be lost, and the attempt with
    it, which is for `recover` to find.
    """
    due = await engine.store.due(Run, engine.clock.now(), LIMIT)
    running = [held for held in due.items if held.record.state is State.RUNNING]
    over = [overdue(held) for held in running if vouched(held.record.session)]
    await settle(engine, over, term)
    await _admit(engine, [held for held in due.items if held.record.state is not State.RUNNING], Due, term)
    return 0 if len(due.items) == LIMIT and len(over) == len(running) else due.next_at


async def release(engine: Engine, term: Term) -> int:
    """Make the first blocked run of each schedule ready whose earlier runs are over, or cancel those; how many."""
    blocked = await _blocked(engine)
    waiting = await _waiting(engine, blocked, term)
    first = {name: held for name in blocked if name not in waiting for held in await _first(engine, name)}
    # Looked at again: one that was fired only now may stand behind another one of now.
    waiting = await _waiting(engine, first, term)
    free = [held for name, held in first.items() if name not in waiting]
    await _admit(engine, free, Release, term)
    return len(free)


async def _waiting(engine: Engine, names: Collection[str], term: Term) -> set[str]:
    """Those schedules that have a run which is neither over nor blocked itself; what a newer one replaces is cancelled.

    It is as the newer one is made, but for what was too much then, or befell whoever did it.
    """
    schedules = [held for held in await engine.store.get(Schedule, list(names)) if held] if names else []
    live = await live_runs(engine, schedules)
    replacing = [held.record.id for held in schedules if held.record.policy.overlap is Overlap.CANCEL_OTHER]
    replaced = [run for name in replacing for run in live.get(name, ())[:-1] if not run.record.cancel]
    await replace_runs(engine, replaced, term)
    return {name for name, runs in live.items() if any(run.record.state is not State.BLOCKED for run in runs)}


async def _admit(engine: Engine, runs: Sequence[Versioned[Run]], event: type[Due | Release], term: Term) -> None:
    """Let this happen to these runs, ready in the order of their queues."""
    names = [definition_id(held.record.namespace, held.record.queue) for held in runs]
    queues, now = await engine.queues(names), engine.clock.now()
    after = [advance(held.record, event(queues[name].strict), now) for held, name in zip(runs, names, strict=True)]
    await move(engine, runs, after, term)


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
    async for held in walk(engine, Run, Where(space, (State.BLOCKED,), schedule=name), oldest=True, size=1):
        return [held]
    return []
