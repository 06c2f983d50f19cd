"""The time policy: which occurrences become runs, which become skips, and when to look again. Pure.

`plan` disposes of every occurrence between the schedule's cursor and now: each gets one run or lies in one range of
skips with a reason. It never walks missed occurrences one by one: ranges are counted by the trigger.
"""

from dataclasses import replace
from typing import NamedTuple

from rota.domain.errors import Invalid
from rota.domain.ids import RunId, occurrence_id
from rota.domain.schedule import BUFFER_LIMIT, TIMED, CatchUp, Overlap, Schedule, Skip, SkipReason

FIRE_LIMIT = 20
"""Runs of one schedule made in one commit; more follow in the next."""


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


def plan(schedule: Schedule, now: int, live: tuple[str, ...]) -> Plan:
    """Dispose of all occurrences in (cursor, now]. `live`: those of `schedule.open` that are not over, oldest first."""
    ledger = _Ledger(schedule)
    wanted = _wanted(schedule, now, ledger)
    fires: list[Fire] = []
    cancels: tuple[str, ...] = ()
    for nominal_at in wanted:
        refusal, waits_for = _overlap(schedule, live, nominal_at == wanted[-1])
        if refusal:
            ledger.skip(nominal_at - 1, nominal_at, refusal)
            continue
        ledger.close()
        if waits_for and schedule.policy.overlap is Overlap.CANCEL_OTHER:
            cancels = live
        fires.append(Fire(nominal_at, waits_for))
        live = (*live, occurrence_id(schedule.id, nominal_at))
    cursor = wanted[-1] if len(wanted) == FIRE_LIMIT else now
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


def _wanted(schedule: Schedule, now: int, ledger: _Ledger) -> tuple[int, ...]:
    """Occurrences to fire, overlap aside, oldest first, at most FIRE_LIMIT; the missed ones not to fire are booked."""
    first, trigger, policy = schedule.next_at, schedule.trigger, schedule.policy
    if first is None or first > now:
        return ()
    fresh_from = now - policy.misfire_ms
    if first > fresh_from:
        return _list(schedule, schedule.cursor_at, now)
    start = _too_old(schedule, now, ledger)
    latest = trigger.last(start, now)
    if latest is None:
        return ()
    if policy.catch_up is CatchUp.ALL:
        return _list(schedule, _newest(schedule, start, fresh_from, ledger), now)
    made_up = _made_up(schedule, start, fresh_from, latest)
    if made_up is None:
        ledger.skip(start, fresh_from, SkipReason.MISFIRE)
        return _list(schedule, fresh_from, now)
    ledger.skip(start, made_up - 1, SkipReason.MISFIRE)
    if policy.catch_up is CatchUp.EARLIEST:
        # Its run comes first in time, the skips after it; the next look books them, for the cursor stands at it.
        return _one_then_rest(schedule, made_up, fresh_from, now, ledger)
    return (made_up, *_list(schedule, max(fresh_from, made_up), now)[: FIRE_LIMIT - 1])


def _too_old(schedule: Schedule, now: int, ledger: _Ledger) -> int:
    """Books what lies before the window or the start deadline; the start of what may still be fired."""
    policy = schedule.policy
    bounds = [(now - policy.window_ms, SkipReason.WINDOW)]
    if policy.start_deadline_ms is not None:
        bounds.append((now - policy.start_deadline_ms, SkipReason.MISSED_START))
    bound, reason = max(bounds)
    bound = min(bound, now - policy.misfire_ms)
    if bound <= schedule.cursor_at:
        return schedule.cursor_at
    ledger.skip(schedule.cursor_at, bound, reason)
    return bound


def _made_up(schedule: Schedule, start: int, fresh_from: int, latest: int) -> int | None:
    """The one missed occurrence that `latest` or `earliest` fires, None if none."""
    match schedule.policy.catch_up:
        case CatchUp.LATEST:
            # A newer occurrence that is on time runs anyway: the missed ones have nothing to add.
            return latest if latest <= fresh_from else None
        case CatchUp.EARLIEST:
            first = schedule.trigger.after(start)
            return first if first is not None and first <= fresh_from else None
        case _:
            return None


def _one_then_rest(schedule: Schedule, made_up: int, fresh_from: int, now: int, ledger: _Ledger) -> tuple[int, ...]:
    rest = _list(schedule, fresh_from, now)[: FIRE_LIMIT - 1]
    ledger.close()
    ledger.skip(made_up, fresh_from, SkipReason.MISFIRE)
    return (made_up, *rest)


def _newest(schedule: Schedule, start: int, end: int, ledger: _Ledger) -> int:
    """Books all missed but the newest `max_runs`; the instant after which the kept ones lie."""
    trigger, keep = schedule.trigger, max(schedule.policy.max_runs, 1)
    if trigger.count(start, end) <= keep:
        return start
    oldest = end + 1
    for _ in range(keep):
        oldest = trigger.last(start, oldest - 1) or oldest
    ledger.skip(start, oldest - 1, SkipReason.MAXIMUM)
    return oldest - 1


def _list(schedule: Schedule, start: int, end: int) -> tuple[int, ...]:
    """The first FIRE_LIMIT occurrences in (start, end]."""
    found: list[int] = []
    moment = schedule.trigger.after(start)
    while moment is not None and moment <= end and len(found) < FIRE_LIMIT:
        found.append(moment)
        moment = schedule.trigger.after(moment)
    return tuple(found)


def _overlap(schedule: Schedule, live: tuple[str, ...], newest: bool) -> tuple[str, str]:
    """(reason to skip, run to wait for) of one more occurrence while `live` runs are not over; both may be empty."""
    if not live:
        return "", ""
    match schedule.policy.overlap:
        case Overlap.ALLOW:
            return "", ""
        case Overlap.SKIP:
            return SkipReason.OVERLAP, ""
        case Overlap.CANCEL_OTHER:
            return ("", live[-1]) if newest else (SkipReason.OVERLAP, "")
        case Overlap.BUFFER_ONE:
            return (SkipReason.BUFFER_FULL, "") if len(live) > 1 else ("", live[-1])
        case Overlap.BUFFER_ALL:
            return (SkipReason.BUFFER_FULL, "") if len(live) > BUFFER_LIMIT else ("", live[-1])


def started(schedule: Schedule, now: int) -> Schedule:
    """A new schedule, accounted for from now on. Raises `Invalid` where it can never fire, such as a past once."""
    next_at = schedule.trigger.after(now)
    if next_at is None:
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
    return replace(schedule, paused=why or "paused", next_at=None, updated_at=now)


def resumed(schedule: Schedule, now: int, catch_up: bool = False) -> tuple[Schedule, tuple[Skip, ...]]:
    """The schedule firing again: from now, what passed meanwhile skipped as `paused`; or by its catch-up policy."""
    if catch_up:
        return replace(schedule, paused="", next_at=schedule.trigger.after(schedule.cursor_at), updated_at=now), ()
    moved, skips = _moved(schedule, now, SkipReason.PAUSED)
    return replace(moved, paused="", next_at=schedule.trigger.after(now)), skips


def edited(schedule: Schedule, wanted: Schedule, now: int) -> tuple[Schedule, tuple[Skip, ...]]:
    """`schedule` changed to `wanted`'s definition: a new revision from now on. The past is never fired again."""
    moved, skips = _moved(schedule, now, SkipReason.PAUSED if schedule.paused else SkipReason.EDITED)
    next_at = wanted.trigger.after(now)
    if next_at is None:
        raise Invalid("schedule", "it would never fire again: its last instant is in the past")
    after = replace(
        wanted,
        revision=schedule.revision + any(getattr(schedule, name) != getattr(wanted, name) for name in TIMED),
        paused=schedule.paused,
        next_at=None if schedule.paused else next_at,
        cursor_at=moved.cursor_at,
        accounted_from=schedule.accounted_from,
        skip=None,
        open=schedule.open,
        fired=schedule.fired,
        skipped=moved.skipped,
        created_at=schedule.created_at,
        updated_at=now,
    )
    return after, skips


def _moved(schedule: Schedule, now: int, reason: str) -> tuple[Schedule, tuple[Skip, ...]]:
    """The cursor at now, what it passed over booked and closed."""
    ledger = _Ledger(schedule)
    ledger.skip(schedule.cursor_at, now, reason)
    ledger.close()
    after = replace(
        schedule,
        cursor_at=max(schedule.cursor_at, now),
        skip=None,
        skipped=schedule.skipped + ledger.skipped,
        updated_at=now,
    )
    return after, tuple(ledger.closed)


def preview(schedule: Schedule, start: int, count: int) -> list[int]:
    """The next `count` nominal instants after `start`."""
    found: list[int] = []
    moment: int | None = start
    while len(found) < count and (moment := schedule.trigger.after(moment)) is not None:
        found.append(moment)
    return found


def run_id(schedule: Schedule, fire: Fire) -> RunId:
    """The id of an occurrence's run."""
    return occurrence_id(schedule.id, fire.nominal_at)
