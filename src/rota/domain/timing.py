"""The time policy: which occurrences become runs, which become skips, and when to look again. Pure.

`plan` disposes of every occurrence between the schedule's cursor and now: each gets one run or lies in one range of
skips with a reason. It never walks missed occurrences one by one: ranges are counted by the trigger.
"""

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from rota.domain.errors import Invalid, InvalidTrigger
from rota.domain.ids import occurrence_id
from rota.domain.schedule import BUFFER_LIMIT, TIMED, CatchUp, Overlap, Policy, Schedule, Skip, SkipReason
from rota.domain.triggers import Trigger
from rota.domain.triggers.base import RANGE_END

FIRE_LIMIT = 20
"""Runs of one schedule made in one commit; more follow in the next."""
STUCK_MS = 60_000
"""Until a schedule whose trigger could not be asked is tried again."""


class Fire(NamedTuple):
    """An occurrence that becomes a run; `waits_for` names the run that blocks it, if one does."""

    nominal_at: int
    waits_for: str = ""


class Plan(NamedTuple):
    """What to write: the schedule moved on, runs, finished skip ranges, and runs to cancel for a newer one."""

    schedule: Schedule
    fires: tuple[Fire, ...]
    skips: tuple[Skip, ...]
    cancels: tuple[str, ...]


class _Ledger:
    """Books dispositions in time order on a copy of the schedule."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.growing = schedule.skip
        self.closed: list[Skip] = []
        self.skipped = 0

    def skip(self, start: int, end: int, reason: str) -> None:
        """All occurrences in (start, end] are skipped."""
        trigger = self.schedule.trigger
        last = trigger.last(start, end)
        first = trigger.after(start)
        if last is None or first is None:
            return
        count = 1 if first == last else trigger.count(start, end)
        self.skipped += count
        if self.growing and (self.growing.reason, self.growing.revision) == (reason, self.schedule.revision):
            self.growing = self.growing._replace(last_at=last, count=self.growing.count + count)
            return
        self.close()
        self.growing = Skip(self.schedule.id, self.schedule.revision, first, last, count, reason)

    def close(self) -> None:
        """The growing range ends: something else happened after it."""
        if self.growing:
            self.closed.append(self.growing)
        self.growing = None


class _Passed(NamedTuple):
    """Occurrences in (start, end] that become no runs."""

    start: int
    end: int
    reason: str


def plan(schedule: Schedule, now: int, live: tuple[str, ...], limit: int = FIRE_LIMIT) -> Plan:
    """Dispose of all occurrences in (cursor, now], or of those up to the `limit`-th one to fire.

    `live`: those of `schedule.open` that are not over, oldest first. A schedule at rest stays as it is.
    """
    if schedule.next_at is None:
        return Plan(schedule, (), (), ())
    ledger = _Ledger(schedule)
    steps, cursor = _steps(schedule, now, limit)
    fires: list[Fire] = []
    cancels: tuple[str, ...] = ()
    newest = max((step for step in steps if isinstance(step, int)), default=0)
    for step in steps:
        if isinstance(step, _Passed):
            ledger.skip(*step)
            continue
        refusal, waits_for = overlap(schedule.policy, live, step == newest)
        if refusal:
            ledger.skip(step - 1, step, refusal)
            continue
        ledger.close()
        if waits_for and schedule.policy.overlap is Overlap.CANCEL_OTHER:
            cancels = live
        fires.append(Fire(step, waits_for))
        live = (*live, occurrence_id(schedule.id, step))
    after = replace(
        schedule,
        cursor_at=cursor,
        next_at=schedule.trigger.after(cursor),
        skip=ledger.growing,
        open=() if schedule.policy.overlap is Overlap.ALLOW else live,
        fired=schedule.fired + len(fires),
        skipped=schedule.skipped + ledger.skipped,
    )
    return Plan(after, tuple(fires), tuple(ledger.closed), cancels)


def _steps(schedule: Schedule, now: int, limit: int) -> tuple[list[_Passed | int], int]:
    """What is to be done with the occurrences in (cursor, now], in time order, and the instant up to which this is.

    What is passed over behind the last one to fire belongs to this step: the next would judge it anew.
    """
    steps: list[_Passed | int] = []
    wanted, cursor = 0, schedule.cursor_at
    for step in _dispositions(schedule, now):
        if isinstance(step, int):
            if wanted == limit:
                return steps, cursor
            wanted += 1
        steps.append(step)
        cursor = step if isinstance(step, int) else step.end
    return steps, max(now, schedule.cursor_at)


def _dispositions(schedule: Schedule, now: int) -> Iterator[_Passed | int]:
    """Occurrences to fire, overlap aside, and ranges to pass over, in time order."""
    trigger, policy = schedule.trigger, schedule.policy
    first = trigger.after(schedule.cursor_at)  # `next_at` may have been found by other zone data
    if first is None or first > now:
        return
    fresh_from = max(now - policy.misfire_ms, schedule.cursor_at)
    if first <= fresh_from:
        old = _too_old(schedule, now, fresh_from)
        yield old
        yield from _missed(trigger, policy, old.end, fresh_from, now)
    else:
        yield first
        fresh_from = first
    yield from occurrences(trigger, fresh_from, now)


def _too_old(schedule: Schedule, now: int, fresh_from: int) -> _Passed:
    """What lies before the window or the start deadline."""
    policy = schedule.policy
    bounds = [(now - policy.window_ms, SkipReason.WINDOW)]
    if policy.start_deadline_ms is not None:
        bounds.append((now - policy.start_deadline_ms, SkipReason.MISSED_START))
    bound, reason = max(bounds)
    return _Passed(schedule.cursor_at, max(min(bound, fresh_from), schedule.cursor_at), reason)


def _missed(trigger: Trigger, policy: Policy, start: int, end: int, now: int) -> Iterator[_Passed | int]:
    """Those in (start, end], which nobody was there to fire in time."""
    match policy.catch_up:
        case CatchUp.SKIP:
            yield _Passed(start, end, SkipReason.MISFIRE)
        case CatchUp.LATEST:
            # A newer occurrence that is on time runs anyway: the missed ones have nothing to add.
            newest = trigger.last(start, end) if trigger.last(end, now) is None else None
            yield _Passed(start, end if newest is None else newest - 1, SkipReason.MISFIRE)
            if newest is not None:
                yield newest
        case CatchUp.EARLIEST:
            oldest = trigger.after(start)
            if oldest is not None and oldest <= end:
                yield oldest
                yield _Passed(oldest, end, SkipReason.MISFIRE)
        case CatchUp.ALL:
            kept_from = _newest(trigger, start, end, policy.max_runs)
            yield _Passed(start, kept_from, SkipReason.MAXIMUM)
            yield from occurrences(trigger, kept_from, end)


def _newest(trigger: Trigger, start: int, end: int, keep: int) -> int:
    """The first instant from `start` on after which at most `keep` occurrences lie, found by halving."""
    return start + bisect_left(range(start, end), True, key=lambda moment: trigger.count(moment, end) <= keep)


def occurrences(trigger: Trigger, start: int, end: int) -> Iterator[int]:
    """The occurrences in (start, end]."""
    moment = trigger.after(start)
    while moment is not None and moment <= end:
        yield moment
        moment = trigger.after(moment)


def overlap(policy: Policy, live: tuple[str, ...], newest: bool = True) -> tuple[str, str]:
    """(reason to skip, run to wait for) of one more run while `live` ones are not over; both may be empty."""
    if policy.overlap is Overlap.CANCEL_OTHER and not newest:
        # The newest one of a batch would cancel it at once.
        return SkipReason.OVERLAP, ""
    if not live:
        return "", ""
    match policy.overlap:
        case Overlap.ALLOW:
            return "", ""
        case Overlap.SKIP:
            return SkipReason.OVERLAP, ""
        case Overlap.CANCEL_OTHER:
            return "", live[-1]
        case Overlap.BUFFER_ONE:
            return (SkipReason.BUFFER_FULL, "") if len(live) > 1 else ("", live[-1])
        case Overlap.BUFFER_ALL:
            return (SkipReason.BUFFER_FULL, "") if len(live) > BUFFER_LIMIT else ("", live[-1])


def started(schedule: Schedule, now: int, past: bool = False) -> Schedule:
    """A new schedule, accounted for from now on.

    Raises `Invalid` where it can never fire, such as a past once; not with `past`, for code outlives its instants.
    """
    next_at = schedule.trigger.after(now)
    if next_at is None and not past:
        raise Invalid("schedule", "it would never fire: its last instant is in the past")
    return replace(
        schedule,
        cursor_at=now,
        accounted_from=now,
        next_at=None if schedule.paused else next_at,
        created_at=now,
        updated_at=now,
    )


def paused(schedule: Schedule, why: str, now: int) -> Schedule:
    """The schedule at rest: nothing fires, its cursor stays."""
    return replace(schedule, paused=why or "paused", next_at=None, updated_at=max(schedule.updated_at, now))


def stuck(schedule: Schedule, error: InvalidTrigger, now: int) -> Schedule:
    """The schedule at rest until its trigger can be asked again: this machine does not know its time zone."""
    return replace(schedule, paused=f"its trigger cannot be asked: {error}", next_at=now + STUCK_MS)


def resumed(schedule: Schedule, now: int, catch_up: bool = False) -> tuple[Schedule, tuple[Skip, ...]]:
    """The schedule firing again: from now, what passed meanwhile skipped as `paused`; or by its catch-up policy."""
    if catch_up:
        next_at, updated_at = schedule.trigger.after(schedule.cursor_at), max(schedule.updated_at, now)
        return replace(schedule, paused="", next_at=next_at, updated_at=updated_at), ()
    moved, skips = _moved(schedule, now, SkipReason.PAUSED)
    return replace(moved, paused="", next_at=schedule.trigger.after(moved.cursor_at)), skips


def edited(schedule: Schedule, wanted: Schedule, now: int, past: bool = False) -> tuple[Schedule, tuple[Skip, ...]]:
    """`schedule` changed to `wanted`'s definition: a new revision from now on. The past is never fired again.

    Raises `Invalid` where no occurrence is left, not with `past`.
    """
    rest = "" if schedule.stuck else schedule.paused
    moved, skips = _moved(schedule, now, SkipReason.PAUSED if rest else SkipReason.EDITED)
    next_at = wanted.trigger.after(moved.cursor_at)
    if next_at is None and not past:
        raise Invalid("schedule", "it would never fire again: its last instant is in the past")
    defined = {name: getattr(wanted, name) for name in (*TIMED, "app", "version", "overrides")}
    revision = schedule.revision + any(getattr(schedule, name) != defined[name] for name in TIMED)
    fires_at = None if rest else next_at
    return replace(moved, **defined, revision=revision, paused=rest, next_at=fires_at), skips


def _moved(schedule: Schedule, now: int, reason: str) -> tuple[Schedule, tuple[Skip, ...]]:
    """The cursor at now, what it passed over booked and closed.

    The instant of the change is never before the cursor, however clocks differ: what lies up to it has been answered
    for by the definition of before, and the account must not look for it by that of after.
    """
    ledger = _Ledger(schedule)
    with suppress(InvalidTrigger):  # what an unknown zone would have had it fire nobody can say
        ledger.skip(schedule.cursor_at, now, reason)
    ledger.close()
    cursor = max(schedule.cursor_at, now)
    after = replace(
        schedule,
        cursor_at=cursor,
        skip=None,
        skipped=schedule.skipped + ledger.skipped,
        updated_at=max(schedule.updated_at, cursor),
    )
    return after, tuple(ledger.closed)


def preview(schedule: Schedule, start: int, count: int) -> list[int]:
    """The next `count` nominal instants after `start`."""
    return list(islice(occurrences(schedule.trigger, start, RANGE_END), count))


def upcoming(schedule: Schedule, now: int, count: int) -> list[int]:
    """The next `count` instants at which it will fire; none while it is paused."""
    return [] if schedule.paused else preview(schedule, max(now, schedule.cursor_at), count)
