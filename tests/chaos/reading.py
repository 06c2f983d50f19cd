"""What the checkers of several invariants read out of a history."""

import json
from collections import defaultdict
from collections.abc import Iterable

from rota.domain.run import Run
from rota.domain.schedule import Schedule
from tests.chaos.history import History, Strike

SLACK_MS = 12_000
"""What a crowded machine may add to the time that taking over, taking back or starting takes."""

Violations = list[str]


def uncovered(strikes: Iterable[Strike], start: int, end: int) -> int:
    """How much of (start, end) no fault covers; a fault set wrong clocks covers as much again as they were wrong."""
    free, at = 0, start
    for one in sorted(strikes, key=lambda one: one.began):
        until = one.ended + (abs(one.ms) if one.kind == "clock" else 0)
        free += max(min(one.began, end) - at, 0)
        at = max(at, min(until, end))
    return free + max(end - at, 0)


def struck(h: History, pid: int, start: int, end: int) -> bool:
    """Whether a fault befell this process, or the store as a whole, so that its session may have lapsed; behind a
    broker also one of those that it is heard through, and a wrong clock, by which letters seem late.
    """
    return any(
        (h.behind or (one.pid in (pid, 0) and one.kind != "clock"))
        and one.began <= end
        and one.ended >= start - 2 * h.lease_ms
        for one in h.strikes
    )


def frozen(h: History, pid: int, start: int, end: int) -> bool:
    """Whether this process was frozen then: what it was about to do, it does when it wakes, and is refused for."""
    return any(
        one.pid == pid and ("freeze" in one.kind or "stops" in one.kind) and one.began <= end and one.ended >= start
        for one in h.strikes
    )


def by_id(h: History) -> dict[str, Run]:
    return {run.id: run for run in h.final.runs}


def marked(h: History) -> dict[str, list[Run]]:
    """Runs by the mark that their submission put into the payload; large payloads are elsewhere, and not looked at."""
    found = defaultdict(list)
    for run in h.final.runs:
        if run.payload and not run.schedule:
            found[json.loads(run.payload).get("op", "")].append(run)
    return found


def fixed(h: History) -> list[Schedule]:
    """Schedules that nobody changed."""
    changed = {op.subject for op in h.ops if op.verb in ("edit", "pause", "resume", "delete")}
    return [one for one in h.final.schedules if one.id not in changed]


def occurrences(schedule: Schedule, start: int, end: int) -> Iterable[int]:
    """By arithmetic of our own: all schedules of a campaign are intervals, or each second by cron."""
    period = getattr(schedule.trigger, "every_ms", 1_000)
    anchor = getattr(schedule.trigger, "anchor_at", 0)
    first = start - (start - anchor) % period + period
    return range(first, end + 1, period)


def skipped(h: History, schedule: Schedule) -> list[tuple[int, int]]:
    ranges = [one for one in h.final.skips if one.schedule == schedule.id] + ([schedule.skip] if schedule.skip else [])
    return [(one.first_at, one.last_at) for one in ranges]
