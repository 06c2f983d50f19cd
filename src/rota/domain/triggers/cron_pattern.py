"""What a cron expression matches on a clock that never changes: no zone, no daylight saving.

Wall seconds count from 1970-01-01T00:00:00 of that clock, days from 1970-01-01; ranges are ``low <= wall < stop``.
Days are found by the bits of a month (bit 0 is its first day), times of day by their rank, so neither is walked
one by one.
"""

from bisect import bisect_left
from calendar import monthrange
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date
from functools import cache, cached_property, lru_cache, reduce
from operator import or_

from rota.domain.errors import InvalidTrigger
from rota.domain.triggers import cron_fields
from rota.domain.triggers.base import shown

DAY = 86_400

_EPOCH = date(1970, 1, 1).toordinal()
_month = cache(monthrange)  # weekday of the first day, length


class Pattern:
    """The wall seconds that an expression matches. Raises InvalidTrigger if that is none, in any year.

    `day_match` says whether day of month and weekday must match both (`and`) or either (`or`) if both are restricted.
    `running` says whether second, minute or hour has a wildcard or step, or lists every value.
    """

    def __init__(self, expression: str, day_match: str) -> None:
        second, minute, hour, day, month, weekday = cron_fields.split(expression)
        seconds, minutes = cron_fields.SECOND.numbers(second), cron_fields.MINUTE.numbers(minute)
        self._hours = cron_fields.HOUR.numbers(hour)
        self._in_hour = [60 * minute + second for minute in minutes for second in seconds]
        self._in_day = len(self._hours) * len(self._in_hour)
        self._months = cron_fields.MONTH.numbers(month)
        self._dates, self._weekdays = cron_fields.DAY.names(day), cron_fields.WEEKDAY.names(weekday)
        self._both = day_match == "and" or day[0] in "*?" or weekday[0] in "*?"
        self._masks: dict[tuple[int, int], int] = {}
        wildcard = any("*" in text or "/" in text for text in (second, minute, hour))
        self.running = wildcard or max(len(seconds), len(minutes)) == 60 or len(self._hours) == 24
        # All sorts of month occur within 28 years.
        if not any(self._mask(*_month(year, month)) for year in range(2000, 2028) for month in self._months):
            problem = f"no year has a date for {shown(expression)}"
            raise InvalidTrigger("day-of-month", f"{problem}; write a day that the month has, or L for its last day")

    def first(self, low: int, stop: int) -> int | None:
        """The first match of a range."""
        day, time = divmod(low, DAY)
        rank = self._rank(time)
        if rank == self._in_day:
            day, rank = day + 1, 0
        for start, days in self._matching_days(day, (stop - 1) // DAY + 1):
            found = start + (days & -days).bit_length() - 1
            wall = found * DAY + self._time(rank if found == day else 0)
            return wall if wall < stop else None
        return None

    def last(self, low: int, stop: int) -> int | None:
        """The latest match of a range."""
        day, time = divmod(stop, DAY)
        rank = self._rank(time)
        if rank == 0:
            day, rank = day - 1, self._in_day
        for start, days in reversed(list(self._matching_days(low // DAY, day + 1))):
            found = start + days.bit_length() - 1
            wall = found * DAY + self._time((rank if found == day else self._in_day) - 1)
            return wall if wall >= low else None
        return None

    def count(self, low: int, stop: int) -> int:
        """How many matches lie in a range; stop is not before low."""
        (first, early), (final, late) = divmod(low, DAY), divmod(stop, DAY)
        found = self._count_days(first, final) * self._in_day
        found -= self._count_days(first, first + 1) * self._rank(early)
        return found + self._count_days(final, final + 1) * self._rank(late)

    def bits(self, low: int, stop: int) -> int:
        """The matches of a range as bits: bit k is wall second ``low + k``."""
        found = 0
        for day in range(low // DAY, (stop - 1) // DAY + 1):
            if self._count_days(day, day + 1):
                midnight = day * DAY - low
                found |= self._times << midnight if midnight >= 0 else self._times >> -midnight
        return found & ((1 << stop - low) - 1)

    def _rank(self, time: int) -> int:
        """How many matching times of a day are earlier."""
        hour, rest = divmod(time, 3600)
        rank = bisect_left(self._hours, hour) * len(self._in_hour)
        return rank + bisect_left(self._in_hour, rest) if hour in self._hours else rank

    def _time(self, rank: int) -> int:
        """The matching time of day with a rank."""
        hour, rest = divmod(rank, len(self._in_hour))
        return self._hours[hour] * 3600 + self._in_hour[rest]

    @cached_property
    def _times(self) -> int:
        """The matching times of a day as bits."""
        in_hour = sum(1 << second for second in self._in_hour)
        return sum(in_hour << 3600 * hour for hour in self._hours)

    def _count_days(self, first: int, stop: int) -> int:
        return sum(days.bit_count() for _, days in self._matching_days(first, stop))

    def _matching_days(self, first: int, stop: int) -> Iterator[tuple[int, int]]:
        """The matching days in ``first <= day < stop``: by month, its first day and the bits, if there are any."""
        when = date.fromordinal(first + _EPOCH)
        year, month, start = when.year, when.month, first - when.day + 1
        while start < stop:
            weekday, length = _month(year, month)
            if month in self._months:
                days = self._mask(weekday, length)
                if start < first:
                    days = days >> first - start << first - start
                if start + length > stop:
                    days &= (1 << stop - start) - 1
                if days:
                    yield start, days
            start += length
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)

    def _mask(self, weekday: int, length: int) -> int:
        """The matching days of any month with this weekday (Monday = 0) on its first day and this length."""
        shape = (weekday, length)
        if shape not in self._masks:
            dates, weekdays = _named_days(*shape)
            by_date = reduce(or_, (dates.get(name, 0) for name in self._dates))
            by_weekday = reduce(or_, (weekdays.get(name, 0) for name in self._weekdays))
            self._masks[shape] = by_date & by_weekday if self._both else by_date | by_weekday
        return self._masks[shape]


@cache
def _named_days(first_weekday: int, length: int) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """The days of a month by the names that the two day fields have for them: `15`, `15W`, `L` and `5`, `5#2`, `5L`."""
    # Of names that several days set, such as `L`, the last day keeps them.
    dates: dict[str, int] = {}
    weekdays: dict[str, int] = defaultdict(int)
    for day in range(1, length + 1):
        weekday = (first_weekday + day) % 7
        workday = day
        if weekday == 6:
            workday += -1 if day > 1 else 2
        if weekday == 0:
            workday += 1 if day < length else -2
        dates[f"{day}W"] = dates["LW"] = 1 << workday - 1
        dates[f"{day}"] = dates["L"] = 1 << day - 1
        weekdays[f"{weekday}"] |= 1 << day - 1
        weekdays[f"{weekday}#{(day + 6) // 7}"] = weekdays[f"{weekday}L"] = 1 << day - 1
    return dates, weekdays


pattern = lru_cache(maxsize=4096)(Pattern)
"""The pattern of an expression, kept for the next asker."""
