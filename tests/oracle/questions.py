"""Random questions about cron, drawn from a seed: an expression, a zone, policies, and where to look."""

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from random import Random
from zoneinfo import ZoneInfo

from tests.oracle.slow_cron import MACROS, MONTHS, WEEKDAYS
from tests.oracle.windows import Window

# Years in which the clocks did something worth a look, always asked about.
ZONES = {
    "UTC": (1970, 2026),
    "Europe/Berlin": (1980, 2026, 2199),
    "America/New_York": (1974, 2026, 2150),
    "Australia/Lord_Howe": (1981, 2026),
    "America/Santiago": (2014, 2022, 2026),
    "Africa/Cairo": (2010, 2014, 2026),
    "Asia/Beirut": (2023, 2026),
    "Africa/Casablanca": (2018, 2026, 2031),
    "Europe/Dublin": (1971, 2026),
    "Antarctica/Troll": (2005, 2026),
    "Pacific/Apia": (2010, 2011, 2020),
    "Asia/Kathmandu": (1986, 2026),
}
# A change of 44 minutes and 30 seconds: walked by the second only.
ODD_ZONE = "Africa/Monrovia"
ODD_YEAR = 1972

DAY = 86_400


@dataclass(frozen=True)
class Question:
    expression: str
    gap: str | None
    fold: str | None
    day_match: str
    start: int
    """Ask for the fires after this moment (ms)."""
    end: int
    """Count the fires from start to this moment (ms)."""


def changes(zone: str, year: int) -> list[int]:
    """The full hours of a year (seconds since the epoch) before which the offset changed."""
    info = ZoneInfo(zone)
    first = int(datetime(year, 1, 1, tzinfo=ZoneInfo("UTC")).timestamp())
    hours = range(first, first + 366 * DAY, 3600)
    offsets = [datetime.fromtimestamp(hour, info).utcoffset() for hour in hours]
    return [hours[k + 1] for k, (before, now) in enumerate(pairwise(offsets)) if before != now]


def windows(zone: str, random: Random) -> list[Window]:
    """What is walked of a zone: days around each change of its years, hours by the second, a season, a quiet time."""
    found = []
    if zone == ODD_ZONE:
        return [Window(zone, change - 4 * 3600, 9 * 3600, 1) for change in changes(zone, ODD_YEAR)]
    for year in ZONES[zone]:
        for change in changes(zone, year):
            start = change - random.randrange(2 * DAY, 6 * DAY) // 60 * 60
            found.append(Window(zone, max(0, start), 8 * 1440, 60))
            found.append(Window(zone, change - random.randrange(1, 5) * 3600, 6 * 3600, 1))
        start = int(datetime(year, random.randrange(1, 13), 1, tzinfo=ZoneInfo("UTC")).timestamp())
        found.append(Window(zone, start, 40 * 1440, 60))
        found.append(Window(zone, start, 4 * 3600, 1))
    return found


def question(window: Window, random: Random) -> Question:
    by_second = window.step == 1
    ticks = sorted(random.randrange(-1, window.ticks) for _ in "ab")
    start, end = (window.start * 1000 + k * window.step * 1000 for k in ticks)
    return Question(
        expression=expression(window, random, by_second),
        gap=random.choice((None, None, "shift", "skip")),
        fold=random.choice((None, None, "first", "both")),
        day_match=random.choice(("or", "or", "and")),
        start=start + random.choice((0, 0, -1, 1, 500)),
        end=end + random.choice((0, 0, 1, 999)),
    )


def expression(window: Window, random: Random, by_second: bool) -> str:
    """Half of the numbers are those of an hour near a change, so that most expressions have something to show."""
    if random.random() < 0.02:
        return random.choice(list(MACROS))
    near = random.choice(window.changes or list(window.wall.dates))
    hour = getattr(near, "hour", random.randrange(24))
    fields = [
        field(random, 0, 59, [0, 30, random.randrange(60)]),
        field(random, 0, 23, [(hour + n) % 24 for n in (-2, -1, -1, 0, 0, 1)]),
        field(random, 1, 31, [near.day, min(near.day + 1, 31)], star=0.6, extra=("L", "LW", f"{near.day}W", "?")),
        field(random, 1, 12, [near.month], star=0.75, names=MONTHS),
        field(random, 0, 6, [near.isoweekday() % 7], star=0.6, names=WEEKDAYS, extra=weekday_words(random)),
    ]
    if by_second:
        fields.insert(0, field(random, 0, 59, [0, random.randrange(60)], star=0.3))
        if random.random() < 0.3:
            del fields[0]
    text = " ".join(fields)
    return text if random.random() < 0.9 else text.lower()


def weekday_words(random: Random) -> tuple[str, ...]:
    day = random.choice([*"01234567", *WEEKDAYS])
    return (f"{day}#{random.randrange(1, 6)}", f"{day}L", "7", "0-7", "5-7", "SAT-SUN", "FRI-MON", "?")


def field(
    random: Random,
    low: int,
    high: int,
    liked: list[int],
    star: float = 0.2,
    names: list[str] | None = None,
    extra: tuple[str, ...] = (),
) -> str:
    if random.random() < star:
        return "*"
    if extra and random.random() < 0.3:
        return random.choice(extra)
    parts = [part(random, low, high, liked, names) for _ in range(random.choice((1, 1, 1, 2, 3)))]
    return ",".join(parts)


def part(random: Random, low: int, high: int, liked: list[int], names: list[str] | None) -> str:
    size = high - low + 1

    def one() -> int:
        return random.choice(liked) if random.random() < 0.6 else random.randint(low, high)

    def written(value: int) -> str:
        return names[value - low] if names and random.random() < 0.5 else str(value)

    first, last = one(), one()
    span = (last - first) % size + 1
    shape = random.random()
    if shape < 0.15:
        return f"*/{random.randint(1, size)}"
    if shape < 0.6:
        return written(first)
    if shape < 0.8:
        return f"{written(first)}-{written(last)}"
    if shape < 0.9:
        return f"{written(first)}-{written(last)}/{random.randint(1, span)}"
    return f"{written(first)}/{random.randint(1, high - first + 1)}"
