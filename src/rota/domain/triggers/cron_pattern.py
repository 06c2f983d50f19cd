"""What a cron expression matches on a clock that never changes: no zone, no daylight saving.

Wall seconds count from 1970-01-01T00:00:00 of that clock, days from 1970-01-01. Days are found by the bits of a
month (bit 0 is its first day), times of day by their rank, so neither is walked one by one.
"""

from bisect import bisect_left
from datetime import date
from functools import cached_property, lru_cache

from rota.domain.errors import InvalidTrigger
from rota.domain.triggers.base import shown
from rota.domain.triggers.cron_fields import Fields, read

DAY = 86_400

_EPOCH = date(1970, 1, 1).toordinal()
_FIRST_YEAR, _LAST_YEAR = 1969, 2201  # one more on both sides, for clocks west and east of UTC
_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class Pattern:
    """The wall seconds that an expression matches.

    `match_all_days` asks for day of month and weekday where both are restricted, instead of either.
    """

    def __init__(self, fields: Fields, match_all_days: bool) -> None:
        self.running = fields.running
        self._fields = fields
        self._both = match_all_days or fields.any_day or fields.any_weekday
        self._masks: dict[tuple[int, int], int] = {}
        self._hours, self._minutes, self._seconds = fields.hours, fields.minutes, fields.seconds
        self._in_hour = len(self._minutes) * len(self._seconds)
        self._in_day = len(self._hours) * self._in_hour

    def next(self, wall: int) -> int | None:
        """The first match at or after a wall second."""
        day, time = divmod(wall, DAY)
        found = self._next_day(day)
        if found == day:
            rank = self._rank(time)
            if rank < self._in_day:
                return day * DAY + self._time(rank)
            found = self._next_day(day + 1)
        return None if found is None else found * DAY + self._time(0)

    def previous(self, wall: int) -> int | None:
        """The latest match at or before a wall second."""
        day, time = divmod(wall, DAY)
        found = self._previous_day(day)
        if found == day:
            rank = self._rank(time + 1)
            if rank > 0:
                return day * DAY + self._time(rank - 1)
            found = self._previous_day(day - 1)
        return None if found is None else found * DAY + self._time(self._in_day - 1)

    def count(self, start: int, stop: int) -> int:
        """How many matches lie in ``start <= wall < stop``, where stop is not before start."""
        (first, early), (final, late) = divmod(start, DAY), divmod(stop, DAY)
        whole = self._count_days(first, final) * self._in_day
        before = self._rank(early) if self._has_day(first) else 0
        return whole - before + (self._rank(late) if late and self._has_day(final) else 0)

    def bits(self, start: int, stop: int) -> int:
        """The matches in ``start <= wall < stop`` as bits: bit k is wall second ``start + k``."""
        found = 0
        for day in range(start // DAY, (stop - 1) // DAY + 1):
            if self._has_day(day):
                midnight = day * DAY - start
                found |= self._times << midnight if midnight >= 0 else self._times >> -midnight
        return found & ((1 << stop - start) - 1)

    def can_match(self) -> bool:
        """False if no month of any year has a matching day."""
        lengths = {length for month in self._fields.months for length in _possible_lengths(month)}
        return any(self._mask(length, weekday) for length in lengths for weekday in range(7))

    # Times of a day, by rank: the n-th of the sorted matches.

    def _rank(self, time: int) -> int:
        """How many matching times of a day are earlier."""
        hour, rest = divmod(time, 3600)
        minute, second = divmod(rest, 60)
        place = bisect_left(self._hours, hour)
        rank = place * self._in_hour
        if place < len(self._hours) and self._hours[place] == hour:
            place = bisect_left(self._minutes, minute)
            rank += place * len(self._seconds)
            if place < len(self._minutes) and self._minutes[place] == minute:
                rank += bisect_left(self._seconds, second)
        return rank

    def _time(self, rank: int) -> int:
        """The matching time of day with a rank."""
        hour, rest = divmod(rank, self._in_hour)
        minute, second = divmod(rest, len(self._seconds))
        return self._hours[hour] * 3600 + self._minutes[minute] * 60 + self._seconds[second]

    @cached_property
    def _times(self) -> int:
        """The matching times of a day as bits."""
        minute = sum(1 << second for second in self._seconds)
        hour = sum(minute << 60 * number for number in self._minutes)
        return sum(hour << 3600 * number for number in self._hours)

    # Days, by the bits of their month.

    def _next_day(self, day: int) -> int | None:
        year, month, skipped, mask = self._month_of(day)
        mask = mask >> skipped << skipped
        while not mask:
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)
            if year > _LAST_YEAR:
                return None
            mask = self._month(year, month)
        return date(year, month, 1).toordinal() - _EPOCH + (mask & -mask).bit_length() - 1

    def _previous_day(self, day: int) -> int | None:
        year, month, skipped, mask = self._month_of(day)
        mask &= (2 << skipped) - 1
        while not mask:
            year, month = (year, month - 1) if month > 1 else (year - 1, 12)
            if year < _FIRST_YEAR:
                return None
            mask = self._month(year, month)
        return date(year, month, 1).toordinal() - _EPOCH + mask.bit_length() - 1

    def _count_days(self, first: int, stop: int) -> int:
        """How many matching days lie in ``first <= day < stop``."""
        year, month, skipped, mask = self._month_of(first)
        end_year, end_month, end_skipped, end_mask = self._month_of(stop)
        found = -(mask & (1 << skipped) - 1).bit_count()
        while (year, month) != (end_year, end_month):
            found += mask.bit_count()
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)
            mask = self._month(year, month)
        return found + (end_mask & (1 << end_skipped) - 1).bit_count()

    def _has_day(self, day: int) -> bool:
        _, _, skipped, mask = self._month_of(day)
        return bool(mask >> skipped & 1)

    def _month_of(self, day: int) -> tuple[int, int, int, int]:
        """Year, month, days of the month before the day, and the bits of the month."""
        when = date.fromordinal(day + _EPOCH)
        return when.year, when.month, when.day - 1, self._month(when.year, when.month)

    def _month(self, year: int, month: int) -> int:
        if month not in self._fields.months:
            return 0
        leap_day = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        return self._mask(_LENGTHS[month - 1] + leap_day, date(year, month, 1).isoweekday() % 7)

    def _mask(self, length: int, first_weekday: int) -> int:
        """The bits of any month with this length and this weekday (Sunday = 0) on its first day."""
        key = (length, first_weekday)
        if key not in self._masks:
            by_date = _by_date(self._fields, length, first_weekday)
            by_weekday = _by_weekday(self._fields, length, first_weekday)
            self._masks[key] = by_date & by_weekday if self._both else by_date | by_weekday
        return self._masks[key]


def _by_date(fields: Fields, length: int, first_weekday: int) -> int:
    found = {day for day in fields.days if day <= length}
    found |= {_nearest_workday(day, length, first_weekday) for day in fields.nearest if day <= length}
    if fields.last_day:
        found.add(length)
    if fields.last_workday:
        found.add(_nearest_workday(length, length, first_weekday))
    return sum(1 << day - 1 for day in found)


def _by_weekday(fields: Fields, length: int, first_weekday: int) -> int:
    """The n-th of a weekday is its first plus n - 1 weeks, if the month is long enough."""

    def first(weekday: int) -> int:
        return (weekday - first_weekday) % 7 + 1

    found = {day for weekday in fields.weekdays for day in range(first(weekday), length + 1, 7)}
    found |= {first(weekday) + 7 * n - 7 for weekday, n in fields.nth if first(weekday) + 7 * n - 7 <= length}
    found |= {max(range(first(weekday), length + 1, 7)) for weekday in fields.last}
    return sum(1 << day - 1 for day in found)


def _nearest_workday(day: int, length: int, first_weekday: int) -> int:
    """The day itself if Monday to Friday, else the nearest such day within the month."""
    weekday = (first_weekday + day - 1) % 7
    if weekday == 6:
        return day - 1 if day > 1 else day + 2
    if weekday == 0:
        return day + 1 if day < length else day - 2
    return day


def _possible_lengths(month: int) -> tuple[int, ...]:
    return (28, 29) if month == 2 else (_LENGTHS[month - 1],)


@lru_cache(maxsize=4096)
def pattern(expression: str, day_match: str) -> Pattern:
    """The pattern of an expression, kept for the next asker. Raises InvalidTrigger if it cannot ever match."""
    made = Pattern(read(expression), match_all_days=day_match == "and")
    if not made.can_match():
        raise InvalidTrigger(
            "day-of-month",
            f"no year has a date for {shown(expression)}; write a day that the month has, or L for its last day",
        )
    return made
