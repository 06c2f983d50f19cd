"""Reading a cron expression: text to numbers, or an error that says which field, what is wrong and what to write.

    second (0-59, optional, first)  minute (0-59)  hour (0-23)  day-of-month (1-31)  month (1-12)  weekday (0-7)

Everywhere: `*`, numbers, lists `1,2`, ranges `1-5` and wrapped ranges `22-2`, steps `*/5`, `10-40/5`, `10/5` (from
10 on). Months and weekdays have names (JAN, mon), 0 and 7 are Sunday, `?` is `*` in both day fields. Day of month
knows `L` (last day), `LW` (last Monday-to-Friday) and `15W` (Monday-to-Friday nearest to the 15th within the
month); weekday knows `5#2` (second Friday) and `5L` (last Friday).
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

from rota.domain.errors import InvalidTrigger
from rota.domain.triggers.base import check_text, shown

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_NUMBER = re.compile(r"[0-9]{1,9}")
_NEAREST = re.compile(r"([0-9]{1,2})W")
_NTH = re.compile(r"([0-9A-Z]{1,3})#([0-9]{1,9})")
_LAST = re.compile(r"([0-9A-Z]{1,3})L")


class _Field(NamedTuple):
    name: str
    low: int
    size: int
    names: dict[str, int]
    example: str

    @property
    def high(self) -> int:
        return self.low + self.size - 1

    def number(self, text: str) -> int:
        """A number or name of this field; weekday 7 stays 7 so that 5-7 is a range."""
        if text in self.names:
            return self.names[text]
        if not _NUMBER.fullmatch(text):
            raise self.refuse(f"{shown(text)} is not understood")
        value, highest = int(text), self.high + (self.name == "weekday")
        if not self.low <= value <= highest:
            raise self.refuse(f"{value} is outside of {self.low}-{highest}")
        return value

    def refuse(self, problem: str) -> InvalidTrigger:
        return InvalidTrigger(self.name, f"{problem}; write {self.example}")

    def values(self, part: str) -> list[int]:
        """The numbers of one element of a list, in the order of the range."""
        base, slash, step = part.partition("/")
        if base == "*":
            values = list(range(self.low, self.high + 1))
        else:
            start, dash, end = base.partition("-")
            first = self.number(start)
            last = self.number(end) if dash else self.high if slash else first
            values = self._range(first, last)
        return values[:: self._step(step, values)] if slash else values

    def _range(self, first: int, last: int) -> list[int]:
        if first > self.high:  # Sunday as 7, at the start of a range
            first, last = first - self.size, last % self.size
        if last < first:
            last += self.size
        return [(value - self.low) % self.size + self.low for value in range(first, last + 1)]

    def _step(self, text: str, values: list[int]) -> int:
        if not _NUMBER.fullmatch(text) or int(text) == 0:
            raise self.refuse(f"step {shown(text)} is not a number from 1 on")
        if int(text) > len(values):
            raise self.refuse(f"step {int(text)} is larger than the range it divides ({len(values)} values)")
        return int(text)


_SECOND = _Field("second", 0, 60, {}, "0-59, a list 0,30, a range 0-29 or a step */15")
_MINUTE = _Field("minute", 0, 60, {}, "0-59, a list 0,30, a range 0-29 or a step */15")
_HOUR = _Field("hour", 0, 24, {}, "0-23, a list 8,20, a range 22-2 or a step */6")
_DAY = _Field("day-of-month", 1, 31, {}, "1-31, a list 1,15, a range 1-7, a step */2, L, LW or 15W")
_MONTH = _Field("month", 1, 12, {name: n for n, name in enumerate(_MONTHS, 1)}, "1-12 or JAN-DEC")
_WEEKDAY = _Field(
    "weekday",
    0,
    7,
    {name: n for n, name in enumerate(_WEEKDAYS)},
    "0-7 or SUN-SAT (0 and 7 are Sunday), 5#2 for the second Friday or 5L for the last",
)


@dataclass(frozen=True, slots=True)
class Fields:
    """What an expression says. Numbers are sorted; weekdays count from Sunday = 0."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    nearest: tuple[int, ...]
    """Days n of `nW`."""
    last_day: bool
    last_workday: bool
    any_day: bool
    """Day of month starts with `*` or is `?`."""
    months: frozenset[int]
    weekdays: tuple[int, ...]
    nth: tuple[tuple[int, int], ...]
    """(weekday, n) of `weekday#n`."""
    last: tuple[int, ...]
    """Weekdays of `5L`."""
    any_weekday: bool
    """Weekday starts with `*` or is `?`."""
    running: bool
    """Second, minute or hour has a wildcard or step, or lists every value: follows real time over clock changes."""


def read(expression: str) -> Fields:
    """The fields of a cron expression. Raises InvalidTrigger."""
    second, minute, hour, day, month, weekday = _split(expression)
    seconds, minutes, hours = _simple(_SECOND, second), _simple(_MINUTE, minute), _simple(_HOUR, hour)
    days, nearest, last_day, last_workday = _days(day)
    weekdays, nth, last = _weekdays(weekday)
    return Fields(
        seconds=seconds,
        minutes=minutes,
        hours=hours,
        days=days,
        nearest=nearest,
        last_day=last_day,
        last_workday=last_workday,
        any_day=day.startswith(("*", "?")),
        months=frozenset(_simple(_MONTH, month)),
        weekdays=weekdays,
        nth=nth,
        last=last,
        any_weekday=weekday.startswith(("*", "?")),
        running=any("*" in text or "/" in text for text in (second, minute, hour))
        or max(len(seconds), len(minutes)) == _MINUTE.size
        or len(hours) == _HOUR.size,
    )


def _split(expression: str) -> list[str]:
    """Six texts in capitals, seconds first."""
    check_text("expression", expression)
    known = "write minute hour day-of-month month weekday, with seconds before them if wanted"
    words = expression.split()
    if len(words) == 1 and words[0].startswith("@"):
        if words[0].lower() not in MACROS:
            raise InvalidTrigger("expression", f"{shown(words[0])} is unknown; write {', '.join(MACROS)}")
        words = MACROS[words[0].lower()].split()
    if len(words) not in {5, 6}:
        count = "1 field" if len(words) == 1 else f"{len(words)} fields"
        advice = " (a year as in Quartz does not exist here)" if len(words) == 7 else ""
        raise InvalidTrigger("expression", f"{shown(expression)} has {count} instead of 5 or 6{advice}; {known}")
    return [word.upper() for word in (["0", *words] if len(words) == 5 else words)]


def _parts(field: _Field, text: str) -> list[str]:
    parts = text.split(",")
    if "" in parts:
        raise field.refuse(f"{shown(text)} has an empty element")
    if "?" in parts:
        raise field.refuse(f"? stands alone and only in the day fields, not as {shown(text)}")
    return parts


def _simple(field: _Field, text: str) -> tuple[int, ...]:
    return tuple(sorted({value for part in _parts(field, text) for value in field.values(part)}))


def _days(text: str) -> tuple[tuple[int, ...], tuple[int, ...], bool, bool]:
    values: set[int] = set()
    nearest: set[int] = set()
    parts = _parts(_DAY, "*" if text == "?" else text)
    for part in parts:
        if match := _NEAREST.fullmatch(part):
            nearest.add(_DAY.number(match[1]))
        elif part not in {"L", "LW"}:
            values.update(_DAY.values(part))
    return tuple(sorted(values)), tuple(sorted(nearest)), "L" in parts, "LW" in parts


def _weekdays(text: str) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...], tuple[int, ...]]:
    values: set[int] = set()
    nth: set[tuple[int, int]] = set()
    last: set[int] = set()
    for part in _parts(_WEEKDAY, "*" if text == "?" else text):
        if match := _NTH.fullmatch(part):
            if not 1 <= int(match[2]) <= 5:
                raise _WEEKDAY.refuse(f"{shown(part)} asks for week {int(match[2])} of a month, which has 1 to 5")
            nth.add((_WEEKDAY.number(match[1]) % 7, int(match[2])))
        elif match := _LAST.fullmatch(part):
            last.add(_WEEKDAY.number(match[1]) % 7)
        elif part == "L":
            raise _WEEKDAY.refuse("L alone has no one meaning")
        else:
            values.update(_WEEKDAY.values(part))
    return tuple(sorted(values)), tuple(sorted(nth)), tuple(sorted(last))
