"""Cron a second time, slow and obvious, sharing nothing with the implementation but the notation.

A field is a set of numbers, a day is asked question by question, and time is walked tick by tick (see windows.py).
"""

import calendar
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache, cached_property, lru_cache

MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
KINDS_OF_YEARS = {(date(year, 1, 1).weekday(), calendar.isleap(year)): year for year in range(1970, 1998)}.values()
"""One each that begins on a Monday, Tuesday and so on, with a leap day and without."""
MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * SUN",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


def number(text: str) -> int:
    if text in MONTHS:
        return MONTHS.index(text) + 1
    return WEEKDAYS.index(text) if text in WEEKDAYS else int(text)


def walked(first: int, last: int, low: int, high: int) -> list[int]:
    """From first up to last, starting over at low after high."""
    found = [first]
    while found[-1] != last:
        found.append(found[-1] + 1 if found[-1] < high else low)
    return found


@lru_cache(maxsize=10_000)
def listed(text: str, low: int, high: int) -> set[int]:
    """The numbers of a field without letters of its own."""
    found: set[int] = set()
    for part in text.split(","):
        base, _, step = part.partition("/")
        if base == "*":
            numbers = walked(low, high, low, high)
        elif "-" in base:
            first, last = map(number, base.split("-"))
            whole_week = (low, high, first, last) == (0, 6, 0, 7)
            numbers = [*range(7), 0] if whole_week else walked(wrap(first, high), wrap(last, high), low, high)
        else:
            first = wrap(number(base), high)
            numbers = walked(first, high if step else first, low, high)
        found.update(numbers[:: int(step or "1")])
    return found


def wrap(value: int, high: int) -> int:
    """Sunday is 7 as well."""
    return 0 if value == 7 and high == 6 else value


@lru_cache(maxsize=10_000)
def month_days(year: int, month: int) -> list[date]:
    return [date(year, month, n) for n in range(1, calendar.monthrange(year, month)[1] + 1)]


@lru_cache(maxsize=10_000)
def workdays(year: int, month: int) -> list[date]:
    return [day for day in month_days(year, month) if day.weekday() < 5]


@lru_cache(maxsize=10_000)
def nearest(year: int, month: int, wanted: int) -> date:
    return min(workdays(year, month), key=lambda one: abs(one.day - wanted))


@cache
def days(year: int) -> list[date]:
    return [day for month in range(1, 13) for day in month_days(year, month)]


def day_of_month_matches(text: str, day: date) -> bool:
    for part in text.replace("?", "*").split(","):
        if part == "L":
            fits = (day + timedelta(days=1)).day == 1
        elif part == "LW":
            fits = day == workdays(day.year, day.month)[-1]
        elif part.endswith("W"):
            wanted = int(part[:-1])
            fits = wanted <= len(month_days(day.year, day.month)) and day == nearest(day.year, day.month, wanted)
        else:
            fits = day.day in listed(part, 1, 31)
        if fits:
            return True
    return False


def weekday_matches(text: str, day: date) -> bool:
    own = (day.weekday() + 1) % 7
    for part in text.replace("?", "*").split(","):
        if "#" in part:
            name, n = part.split("#")
            fits = own == wrap(number(name), 6) and (day.day + 6) // 7 == int(n)
        elif part.endswith("L"):
            next_week = day + timedelta(days=7)
            fits = own == wrap(number(part[:-1]), 6) and next_week.month != day.month
        else:
            fits = own in listed(part, 0, 6)
        if fits:
            return True
    return False


@dataclass(frozen=True)
class SlowCron:
    """One expression taken apart; `match_all_days` joins the day fields by `and`."""

    expression: str
    match_all_days: bool = False

    @cached_property
    def texts(self) -> list[str]:
        words = MACROS.get(self.expression, self.expression).upper().split()
        return words if len(words) == 6 else ["0", *words]

    def seconds(self) -> set[int]:
        return listed(self.texts[0], 0, 59)

    def minutes(self) -> set[int]:
        return listed(self.texts[1], 0, 59)

    def hours(self) -> set[int]:
        return listed(self.texts[2], 0, 23)

    def day_matches(self, day: date) -> bool:
        _, _, _, month_day, month, weekday = self.texts
        if day.month not in listed(month, 1, 12):
            return False
        by_month, by_week = day_of_month_matches(month_day, day), weekday_matches(weekday, day)
        if self.match_all_days or month_day[0] in "*?" or weekday[0] in "*?":
            return by_month and by_week
        return by_month or by_week

    def follows_real_time(self) -> bool:
        """Runs hourly or finer, so clock changes neither move nor drop its fires."""
        second, minute, hour = self.texts[:3]
        wildcards = any(sign in second + minute + hour for sign in "*/")
        everything = len(self.seconds()) == 60 or len(self.minutes()) == 60 or len(self.hours()) == 24
        return wildcards or everything

    def ever_matches(self) -> bool:
        """Whether any day of a year of each kind does; these hold every month length with each weekday on its first."""
        return any(self.day_matches(day) for year in KINDS_OF_YEARS for day in days(year))
