"""What every move of a run's state has in common: its group, its counters, the keys it frees, whom it wakes."""

from collections.abc import Sequence

from rota.domain.facts import RunsSettled
from rota.domain.records import Tally, Unique, bucket
from rota.domain.run import TERMINAL, Run, State
from rota.engine.engine import Engine
from rota.engine.submit import hints
from rota.ports.store import Change, Conflict, Group, Guard, Hint, Versioned

MINUTE_MS = 60_000

Keys = dict[str, Versioned[Unique]]
"""Unique keys by id, as held by the runs about to end."""


async def move(
    engine: Engine, before: Sequence[Versioned[Run]], after: Sequence[Run], guard: Guard = None
) -> list[Versioned[Run]]:
    """Commit runs moved on by anything but a settle; those that others changed meanwhile, as they are now."""
    keys = await keys_of(engine, before)
    now = engine.clock.now()
    groups = [ending(held, run, keys, now) for held, run in zip(before, after, strict=True)]
    results = await engine.commit(groups, guard, wakes(before, after))
    if engine.emit:
        moved = [run for run, result in zip(after, results, strict=True) if not isinstance(result, Conflict)]
        ended = [run for run in moved if run.state in TERMINAL]
        if ended:
            engine.emit(RunsSettled(ended))
    return [result.current[0] for result in results if isinstance(result, Conflict) and result.current[0]]


def ending(held: Versioned[Run], run: Run, keys: Keys, now: int) -> Group:
    """The group that moves a run on; one that ends it also counts it and frees its keys."""
    if run.state not in TERMINAL:
        return Group((Change(held, run),))
    freed = [Change(keys[key], None) for key in held.record.keys if key in keys]
    return Group((Change(held, run), *freed), tally(run, now, held.record.state is State.RUNNING))


def tally(run: Run, now: int, ran: bool) -> Tally:
    """The counter cell of a run that has just ended; `ran`: by an attempt, whose duration and worker count."""
    minute = now // MINUTE_MS * MINUTE_MS
    took = max(now - run.started_at, 0) if ran and run.started_at is not None else 0
    span = bucket(took) if ran and run.started_at is not None else 0
    return Tally(minute, run.namespace, run.task, run.queue, run.state, span, run.worker if ran else "", 1, took)


async def keys_of(engine: Engine, runs: Sequence[Versioned[Run]]) -> Keys:
    """The unique keys that these runs still hold."""
    owners = {key: held.record.id for held in runs for key in held.record.keys}
    if not owners:
        return {}
    found = await engine.store.get(Unique, list(owners))
    return {key: one for key, one in zip(owners, found, strict=True) if one and one.record.run == owners[key]}


def wakes(before: Sequence[Versioned[Run]], after: Sequence[Run]) -> list[Hint]:
    """Lanes for what is ready, `due` for what waits, `gate` where a blocked run may go on, `done` for waiters."""
    ended = sum(run.state in TERMINAL for run in after)
    told = hints(run for run in after if run.state not in TERMINAL) if ended < len(after) else []
    if ended:
        told.append(Hint("done", ended))
    if any(held.record.gate and run.state in TERMINAL for held, run in zip(before, after, strict=True)):
        told.append(Hint("gate"))
    return told
