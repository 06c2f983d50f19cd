"""What every move of a run's state has in common: its group, its counters, the keys it frees, whom it wakes."""

from collections.abc import Sequence

from rota.domain.facts import RunsSettled
from rota.domain.records import Tally, Unique, bucket
from rota.domain.run import TERMINAL, Run, State
from rota.engine.engine import Engine, applied
from rota.engine.submit import hints
from rota.ports.store import Change, Conflict, Group, Guard, Hint, Versioned

MINUTE_MS = 60_000

Keys = dict[str, Versioned[Unique]]
"""Unique keys by id, whichever run holds each by now."""


async def move(
    engine: Engine, before: Sequence[Versioned[Run]], after: Sequence[Run], guard: Guard = None
) -> list[Versioned[Run]]:
    """Commit runs moved on by anything but a settle; those that others changed meanwhile, as they are now."""
    keys = await keys_of(engine, before)
    now = engine.clock.now()
    groups = [ending(held, run, keys, now) for held, run in zip(before, after, strict=True)]
    results = await engine.commit(groups, guard, wakes(before, after))
    ended = [run for run, result in zip(after, results, strict=True) if applied(result) and run.state in TERMINAL]
    if ended:
        engine.tell(RunsSettled(ended))
    return [result.current[0] for result in results if isinstance(result, Conflict) and result.current[0]]


def ending(held: Versioned[Run], run: Run, keys: Keys, now: int) -> Group:
    """The group that moves a run on; one that ends it also counts it and frees its keys."""
    if run.state not in TERMINAL:
        return Group((Change(held, run),))
    mine = [keys[key] for key in held.record.keys if key in keys]
    freed = [Change(key, None) for key in mine if key.record.run == run.id]
    return Group((Change(held, run), *freed), tally(run, now, held.record.state is State.RUNNING))


def tally(run: Run, now: int, ran: bool) -> Tally:
    """The counter cell of a run that has just ended; `ran`: by an attempt, whose duration and worker count."""
    minute = now // MINUTE_MS * MINUTE_MS
    took = max(now - run.started_at, 0) if ran and run.started_at is not None else 0
    span = bucket(took) if ran and run.started_at is not None else 0
    return Tally(minute, run.namespace, run.task, run.queue, run.state, span, run.worker if ran else "", 1, took)


async def keys_of(engine: Engine, runs: Sequence[Versioned[Run]]) -> Keys:
    """The unique keys of these runs. What a reporter still holds as running may have ended, its key be another's."""
    names = list({key for held in runs for key in held.record.keys})
    found = await engine.store.get(Unique, names) if names else ()
    return {one.record.id: one for one in found if one}


def wakes(before: Sequence[Versioned[Run]], after: Sequence[Run]) -> list[Hint]:
    """Lanes for what is ready, `due` for what waits, `gate` where a blocked run may go on, `done` for waiters, and
    the sessions that hold what is to be cancelled.
    """
    ended = sum(run.state in TERMINAL for run in after)
    told = hints(run for run in after if run.state not in TERMINAL) if ended < len(after) else []
    if ended:
        told.append(Hint("done", ended))
    if any(held.record.gate and run.state in TERMINAL for held, run in zip(before, after, strict=True)):
        told.append(Hint("gate"))
    told += [Hint(f"session:{run.session}") for run in after if run.cancel and run.session]
    return told
