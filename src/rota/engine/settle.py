"""Settle: an attempt's outcome becomes the run's next state, exactly once.

Judged by the run's fence alone: a report that beats recovery counts, one that comes after it is `stale` and changes
nothing, a repeated one is `already`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from rota.domain.errors import Invalid, Unavailable
from rota.domain.facts import ReportsRefused, RunsSettled
from rota.domain.records import INLINE_LIMIT, VALUE_LIMIT, Blob
from rota.domain.run import End, Outcome, Reason, Run
from rota.domain.states import Settle, Verdict, advance, digest, judge
from rota.domain.task import Task
from rota.engine.engine import Engine, revision_of
from rota.engine.moves import Keys, ending, keys_of, wakes
from rota.ports.desk import Settlement
from rota.ports.store import Change, Conflict, Group, Guard, Versioned

TRIES = 8


class _Work(NamedTuple):
    """A settlement on its way, with the run as known now."""

    at: int
    settlement: Settlement
    held: Versioned[Run]
    digest: int


async def settle(engine: Engine, settlements: Sequence[Settlement], guard: Guard = None) -> list[Verdict]:
    """One verdict each: `fresh` or `already` means committed, `stale` that nothing was changed.

    Raises `Unclear` or `Unavailable` where the store gave no answer; send the same settlements again.
    """
    verdicts = [Verdict.STALE] * len(settlements)
    work = await _begin(engine, settlements)
    settled: list[Run] = []
    for _ in range(TRIES):
        fresh = [item for item in work if _judged(item, verdicts) is Verdict.FRESH]
        # Groups of one commit share no keys: a second end of the same run is judged after the first.
        first: dict[str, _Work] = {}
        later = [item for item in fresh if first.setdefault(item.settlement.fence.run, item) is not item]
        work = later + await _commit(engine, list(first.values()), guard, settled, verdicts) if fresh else []
        if not work:
            break
    else:
        raise Unavailable("these runs change too quickly to settle them; send the same settlements again")
    if settled:
        engine.tell(RunsSettled(settled))
    stale = [item.fence.run for item, verdict in zip(settlements, verdicts, strict=True) if verdict is Verdict.STALE]
    if stale:
        engine.tell(ReportsRefused(stale))
    return verdicts


def _judged(item: _Work, verdicts: list[Verdict]) -> Verdict:
    verdicts[item.at] = verdict = judge(item.held.record, item.settlement.fence, item.digest)
    return verdict


async def _begin(engine: Engine, settlements: Sequence[Settlement]) -> list[_Work]:
    """Runs as their reporters hold them, else as the store has them; a run that is gone is stale."""
    missing = [item.fence.run for item in settlements if item.held is None]
    read = dict(zip(missing, await engine.store.get(Run, missing), strict=True)) if missing else {}
    work = []
    for at, item in enumerate(settlements):
        held = item.held or read[item.fence.run]
        if held is not None:
            work.append(_Work(at, _bounded(item), held, digest(item.outcome)))
    return work


def _bounded(item: Settlement) -> Settlement:
    """A result over the limit is a failure that says so, whatever its worker let pass."""
    if item.outcome.result is None or len(item.outcome.result) <= VALUE_LIMIT:
        return item
    error = f"the result has {len(item.outcome.result)} bytes; the limit is {VALUE_LIMIT}: return a reference instead"
    return item._replace(outcome=Outcome(End.FAILURE, reason=Reason.BAD_RESULT, error=error, final=True))


async def _commit(
    engine: Engine, work: list[_Work], guard: Guard, settled: list[Run], verdicts: list[Verdict]
) -> list[_Work]:
    """Commit what is fresh; what met another state of its run comes back to be judged again."""
    now = engine.clock.now()
    tasks = await _tasks(engine, work)
    keys = await keys_of(engine, [item.held for item in work])
    after, groups = [], []
    for item, task in zip(work, tasks, strict=True):
        run = _next(engine, item, task, now)
        after.append(run)
        groups.append(_group(item, run, keys, now))
    try:
        results = await engine.commit(groups, guard, wakes([item.held for item in work], after))
    except Invalid as error:
        if len(work) == 1:
            return [_unstorable(work[0], error)]
        # The store cannot keep something in here: halve until it is found.
        half = len(work) // 2
        first = await _commit(engine, work[:half], guard, settled, verdicts)
        return first + await _commit(engine, work[half:], guard, settled, verdicts)
    again = []
    for item, run, result in zip(work, after, results, strict=True):
        if not isinstance(result, Conflict):
            settled.append(run)
        elif result.current[0] is not None:
            again.append(item._replace(held=result.current[0]))
        else:
            verdicts[item.at] = Verdict.STALE
    return again


def _next(engine: Engine, item: _Work, task: Task, now: int) -> Run:
    outcome = item.settlement.outcome
    chance = engine.chance.fraction() if outcome.end is End.FAILURE else 0.5
    run = advance(item.held.record, Settle(outcome, task.retry, task.on_lost, chance, item.digest), now)
    if run.result is not None and len(run.result) > INLINE_LIMIT:
        return run._replace(result=None, spilled=True)
    return run


def _group(item: _Work, run: Run, keys: Keys, now: int) -> Group:
    group = ending(item.held, run, keys, now)
    if run.spilled and item.settlement.outcome.result is not None:
        blob = Change(None, Blob(f"{run.id}/result", item.settlement.outcome.result, now))
        return group._replace(changes=(*group.changes, blob))
    return group


async def _tasks(engine: Engine, work: list[_Work]) -> list[Task]:
    unknown = [item.held.record for item in work if item.settlement.task is None]
    known = await engine.revisions(map(revision_of, unknown)) if unknown else {}
    runs = [item.held.record for item in work]
    # Where its revision is gone, a plain task stands in, so that the run can still be taken back or ended.
    return [
        item.settlement.task or known.get(revision_of(run)) or Task(run.namespace, run.task)
        for item, run in zip(work, runs, strict=True)
    ]


def _unstorable(item: _Work, error: Invalid) -> _Work:
    """The culprit ends as failed, saying why. Raises what the store said if it cannot keep that either."""
    if item.settlement.outcome.reason == Reason.UNSTORABLE:
        raise error
    outcome = Outcome(End.FAILURE, reason=Reason.UNSTORABLE, error=str(error), final=True)
    return item._replace(settlement=item.settlement._replace(outcome=outcome))
