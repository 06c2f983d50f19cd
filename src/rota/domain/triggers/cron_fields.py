"""Reading a cron expression: text to numbers, or an error that says which field, what is wrong and what to write.

    second (0-59, optional, first)  minute (0-59)  hour (0-23)  day-of-month (1-31)  month (1-12)  weekday (0-7)

Everywhere: `*`, numbers, lists `1,2`, ranges `1-5` and wrapped ranges `22-2`, steps `*/5`, `10-40/5`, `10/5` (from
10 on). Months and weekdays have names (JAN, mon), 0 and 7 are Sunday, `?` is `*` in both day fields. Day of month
knows `L` (last day), `LW` (last Monday-to-Friday) and `15W` (Monday-to-Friday nearest to the 15th within the
month); weekday knows `5#2` (second Friday) and `5L` (last Friday).
"""

import re
from typing import NamedTuple

from rota.domain.errors import InvalidTrigger
from rota.domain.triggers.base import shown

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_NUMBER = re.compile(r"[0-9]{1,9}")


class Field(NamedTuple):
    """One field of an expression; all texts are in capitals."""

    name: str
    low: int
    high: int
    example: str
    words: str = ""
    """Names of its numbers, from the lowest on, with blanks between."""
    special: str = ""
    """A regular expression for what only this field knows: a number and a suffix, or neither."""

    def numbers(self, text: str) -> list[int]:
        """All numbers that a text stands for, sorted. Raises InvalidTrigger."""
        return sorted({value for part in text.split(",") for value in self._values(part)})

    def names(self, text: str) -> set[str]:
        """What a text for days stands for: numbers, and names such as `15W` or `5#2`. Raises InvalidTrigger."""
        found: set[str] = set()
        for part in ("*" if text == "?" else text).split(","):
            special = re.fullmatch(self.special, part)
            number, suffix = special.groups() if special else (part, "")
            found.update([part] if number is None else [f"{value}{suffix}" for value in self._values(number)])
        return found

    def _values(self, part: str) -> list[int]:
        """The numbers of one element of a list, in the order of the range."""
        base, slash, step = part.partition("/")
        first, last = self.low, self.high
        if base != "*":
            start, dash, end = base.partition("-")
            first = self._number(start)
            last = self._number(end) if dash else self.high if slash else first
        size = self.high - self.low + 1
        if first > self.high:  # Sunday as 7, at the start of a range
            first, last = first - size, last % size
        if last < first:
            last += size
        values = [(value - self.low) % size + self.low for value in range(first, last + 1)]
        if not slash:
            return values
        if not _NUMBER.fullmatch(step) or not 1 <= int(step) <= len(values):
            raise self._refusal(f"step {shown(step)} is not a number from 1 to {len(values)}, the values it divides")
        return values[:: int(step)]

    def _number(self, text: str) -> int:
        """A number or name; weekday 7 stays 7 so that 5-7 is a range."""
        words = self.words.split()
        if text in words:
            return words.index(text) + self.low
        if not _NUMBER.fullmatch(text):
            raise self._refusal(f"{shown(text)} is not understood")
        highest = self.high + (self.name == "weekday")
        if not self.low <= int(text) <= highest:
            raise self._refusal(f"{int(text)} is outside of {self.low}-{highest}")
        return int(text)

    def _refusal(self, problem: str) -> InvalidTrigger:
        return InvalidTrigger(self.name, f"{problem}; write {self.example}")


SECOND = Field("second", 0, 59, "0-59, a list 0,30, a range 0-29 or a step */15")
MINUTE = SECOND._replace(name="minute")
HOUR = Field("hour", 0, 23, "0-23, a list 8,20, a range 22-2 or a step */6")
DAY = Field("day-of-month", 1, 31, "1-31, a list 1,15, a range 1-7, a step */2, L, LW or 15W", "", r"([0-9]+)(W)|LW?")
MONTH = Field("month", 1, 12, "1-12 or JAN-DEC", "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC")
WEEKDAY = Field(
    "weekday",
    0,
    6,
    "0-7 or SUN-SAT (0 and 7 are Sunday), 5#2 for the second Friday (1 to 5) or 5L for the last",
    "SUN MON TUE WED THU FRI SAT",
    r"([0-9A-Z]+)(#[1-5]|L)",
)


def split(expression: str) -> list[str]:
    """The texts of the six fields in capitals, seconds first. Raises InvalidTrigger."""
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
