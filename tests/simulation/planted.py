"""Bugs of the kinds that peers had, planted for a while. The simulation must find each."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from rota.domain import states
from rota.domain.ids import occurrence_id, timed_id
from rota.domain.run import End, State
from rota.domain.states import Verdict
from rota.engine import admit, fire, moves, recover, report, settle, submit
from rota.engine.engine import Engine
from rota.ports.store import APPLIED, Change, Group, Term
from rota.scheduler import duties
from rota.stores.sql import claim, commit
from rota.worker.runtime import Worker

Plant = Callable[[], Any]


def fence_not_checked() -> Any:
    """An outcome counts for whatever attempt is running."""

    def judge(run: Any, fence: Any, digest: int = 0) -> Verdict:
        return Verdict.FRESH if run.state is State.RUNNING else states.judge(run, fence, digest)

    return patch.object(settle, "judge", judge)


def report_from_an_old_attempt() -> Any:
    return patch.object(report, "_verdict", lambda runs, fence: Verdict.FRESH if fence.run in runs else Verdict.STALE)


def term_not_checked() -> Any:
    """A leader of the past may write."""
    original = commit._check
    return patch.object(commit, "_check", lambda db, guard: None if isinstance(guard, Term) else original(db, guard))


def session_not_checked_at_claim() -> Any:
    return patch.object(claim, "opened", lambda db, sessions: dict.fromkeys(sessions, ()))


def schedule_moved_without_its_run() -> Any:
    """In two commits, the schedule first: a crash between them loses the occurrence."""
    return _fire_in_halves(lambda group: (Group(group.changes[:1]), Group(group.changes[1:])))


def run_made_before_its_schedule_moves() -> Any:
    """In two commits, under an id by chance: a takeover between them fires twice."""
    return _fire_in_halves(lambda group: (Group(group.changes[1:]), Group(group.changes[:1])), new_ids=True)


@contextmanager
def _fire_in_halves(halves: Callable[[Group], tuple[Group, Group]], new_ids: bool = False) -> Iterator[None]:
    original = Engine.commit

    async def committed(self: Engine, groups: Any, guard: Any = None, hints: Any = ()) -> Any:
        split = [halves(group) for group in groups if group.changes[0].was and len(group.changes) > 1]
        if not split or type(groups[0].changes[0].now).__name__ != "Schedule" or guard is None:
            return await original(self, groups, guard, hints)
        await original(self, [first for first, _ in split], guard, hints)
        await original(self, [second for _, second in split], guard, hints)
        return await original(self, [], guard) or [APPLIED] * len(groups)

    numbers = iter(range(1 << 30))
    named = (lambda _, nominal_at: timed_id(nominal_at, next(numbers))) if new_ids else occurrence_id
    with patch.object(Engine, "commit", committed), patch.object(fire, "occurrence_id", named):
        yield


def released_without_a_look_at_the_gate() -> Any:
    async def waiting(engine: Engine, schedules: Any) -> set[str]:
        return set()

    return patch.object(admit, "_waiting", waiting)


def recovery_from_a_list_of_all() -> Any:
    """Runs are taken back from sessions that are open."""

    async def vanished(engine: Engine) -> list[str]:
        return [session.id for session in await recover.open_sessions(engine)]

    return patch.object(recover, "vanished", vanished)


def watch_goes_on_after_a_gap() -> Any:
    """An outage of the store counts as silence of its workers."""
    return _both(patch.object(recover, "GAP", 0.001), patch.object(duties, "_anew", lambda look: look()))


def lost_claims_not_asked_about() -> Any:
    async def reconcile(self: Worker) -> None:
        self._doubt, self._differing = False, 0

    return patch.object(Worker, "_reconcile", reconcile)


def failures_not_counted() -> Any:
    original = states._failed
    forgetful = lambda run, event, now: original(run, event, now)._replace(tries=run.tries - 1)  # noqa: E731
    return patch.dict(states.OUTCOMES, {End.FAILURE: forgetful})


def keys_freed_at_a_retry() -> Any:
    """A unique key goes with the first end of an attempt, not with that of the run."""

    def ending(held: Any, run: Any, keys: Any, now: int) -> Group:
        freed = [Change(keys[key], None) for key in held.record.keys if key in keys]
        group = moves.ending(held, run, {}, now)
        return group._replace(changes=(*group.changes, *freed))

    return patch.object(settle, "ending", ending)


def idempotency_checked_outside_the_commit() -> Any:
    original = submit.keyed
    unkeyed = lambda engine, order, run, payload, now: original(  # noqa: E731
        engine, order._replace(key=None), run, payload, now
    )
    return patch.object(submit, "keyed", unkeyed)


@contextmanager
def _both(one: Any, other: Any) -> Iterator[None]:
    with one, other:
        yield


PLANTED: tuple[Plant, ...] = (
    fence_not_checked,
    report_from_an_old_attempt,
    term_not_checked,
    session_not_checked_at_claim,
    schedule_moved_without_its_run,
    run_made_before_its_schedule_moves,
    released_without_a_look_at_the_gate,
    recovery_from_a_list_of_all,
    watch_goes_on_after_a_gap,
    lost_claims_not_asked_about,
    failures_not_counted,
    keys_freed_at_a_retry,
    idempotency_checked_outside_the_commit,
)
