"""Stretches of time walked tick by tick through a zone, and which ticks a cron expression fires on.

A set of ticks is one number: bit k stands for the k-th tick. `window.wall.hours[2]` are the ticks at which the wall
clock shows 2 something; what fires is the ticks that have a right minute and a right hour and so on.
"""

from collections.abc import Hashable, Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TypeVar
from zoneinfo import ZoneInfo

from tests.oracle.slow_cron import SlowCron

Value = TypeVar("Value", bound=Hashable)

ONE = ord("1")


class Ticks:
    """Wall times, one a tick, sorted by what the clock shows."""

    def __init__(self, walls: list[datetime]) -> None:
        self.seconds = positions([wall.second for wall in walls])
        self.minutes = positions([wall.minute for wall in walls])
        self.hours = positions([wall.hour for wall in walls])
        self.dates = positions([wall.date() for wall in walls])

    def matching(self, cron: SlowCron) -> int:
        days = {day for day in self.dates if cron.day_matches(day)}
        return (
            union(self.seconds, cron.seconds())
            & union(self.minutes, cron.minutes())
            & union(self.hours, cron.hours())
            & union(self.dates, days)
        )


class Window:
    """`ticks` instants from `start` (seconds since the epoch), each `step` seconds after the one before."""

    def __init__(self, zone: str, start: int, ticks: int, step: int) -> None:
        self.zone, self.start, self.ticks, self.step = zone, start, ticks, step
        info = ZoneInfo(zone)
        walls = [datetime.fromtimestamp(start + step * k, info) for k in range(-1, ticks)]
        shown = [wall.replace(tzinfo=None) for wall in walls]
        tick = timedelta(seconds=step)
        self.wall = Ticks(shown[1:])
        self.second_time = positions([wall.fold for wall in walls[1:]]).get(1, 0)
        self.gaps: dict[int, Ticks] = {}
        self.changes: list[datetime] = []
        for k, (before, now) in enumerate(pairwise(shown)):
            if now - before != tick:
                self.changes.append(now)
            if now - before > tick:  # the clock jumped: these times did not exist
                missing = [before + tick * n for n in range(1, (now - before) // tick)]
                self.gaps[k] = Ticks(missing)

    @property
    def end(self) -> int:
        """The last tick, in seconds since the epoch."""
        return self.start + self.step * (self.ticks - 1)

    def fires(self, cron: SlowCron, gap: str | None, fold: str | None) -> int:
        """The ticks on which it fires, by the policies given or else by the default of its sort."""
        gap = gap or ("skip" if cron.follows_real_time() else "shift")
        fold = fold or ("both" if cron.follows_real_time() else "first")
        found = self.wall.matching(cron)
        if fold == "first":
            found &= ~self.second_time
        if gap == "shift":
            for k, missing in self.gaps.items():
                if missing.matching(cron):
                    found |= 1 << k
        return found

    def instants(self, fires: int, most: int) -> list[int]:
        """The first fires of a set of ticks, as ms since the epoch."""
        found: list[int] = []
        while fires and len(found) < most:
            k = (fires & -fires).bit_length() - 1
            found.append((self.start + k * self.step) * 1000)
            fires &= fires - 1
        return found

    def within(self, fires: int, start: int, end: int) -> int:
        """Only the ticks in (start, end], given as ms since the epoch."""
        first = start // 1000 // self.step - self.start // self.step + 1
        stop = end // 1000 // self.step - self.start // self.step + 1
        fires = fires >> max(0, first) << max(0, first)
        return fires & ((1 << max(0, stop)) - 1)


def positions(values: list[Value]) -> dict[Value, int]:
    """For each value, the set of ticks that have it."""
    marks: dict[Value, bytearray] = {}
    for k, value in enumerate(reversed(values)):
        mark = marks.get(value)
        if mark is None:
            mark = marks[value] = bytearray(b"0" * len(values))
        mark[k] = ONE
    return {value: int(mark, 2) for value, mark in marks.items()}


def union(sets: dict[Value, int], wanted: Iterable[Value]) -> int:
    found = 0
    for value in wanted:
        found |= sets.get(value, 0)
    return found
