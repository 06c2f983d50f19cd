"""Lengths of time as people write them (`90s`, `1h30m`, `1.5h`, `2 days`, `500ms`), and instants."""

import re
from datetime import UTC, datetime, timedelta

from rota.domain.errors import Invalid

UNITS_MS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
LONGEST_MS = 3_653 * UNITS_MS["d"]
"""Ten years, the leap days among them."""
MILLISECOND = timedelta(milliseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_WORDS = ("weeks?|w", "days?|d", "hours?|h", "minutes?|min|m", "seconds?|sec|s", "milliseconds?|ms")
_PART = r"(?:([0-9]{1,15}(?:\.[0-9]{1,9})?) *(?:%s) *)?"
_LENGTH = re.compile(" *" + "".join(_PART % words for words in _WORDS))


def length_ms(text: str) -> float | None:
    """Milliseconds, perhaps not whole; None for what is no length of time. Larger units come first, each once."""
    found = _LENGTH.fullmatch(text)
    if not found or not text.strip():
        return None
    return sum(float(number) * unit for number, unit in zip(found.groups(), UNITS_MS.values(), strict=True) if number)


def to_ms(value: float | timedelta | str, field: str) -> int:
    """Whole milliseconds of seconds (a number), a timedelta, or text such as `90s`, `1h30m`, `500ms`.

    What is more than nothing is at least 1. Raises `Invalid` for anything else, and under 0 or over ten years.
    """
    length = _length(value)
    if length is None:
        advice = "write 90s, 1h30m or 500ms, or a number of seconds"
        raise Invalid(field, f"{value!r:.60} is not a length of time; {advice}")
    if not 0 <= length <= LONGEST_MS:
        raise Invalid(field, f"{value!r:.60} is not between 0 and ten years")
    return max(round(length), int(length > 0))


def to_limit_ms(value: float | timedelta | str | None, field: str) -> int | None:
    """`to_ms` for a limit: None is none. Raises `Invalid` for 0 too, which would leave no time at all."""
    if value is None:
        return None
    length = to_ms(value, field)
    if not length:
        raise Invalid(field, "0 leaves no time; None means no limit")
    return length


def to_instant(value: object, field: str) -> int:
    """Milliseconds since the epoch of a datetime with a time zone. Raises `Invalid` for anything else."""
    if not isinstance(value, datetime):
        raise Invalid(field, f"{value!r:.60} is no datetime; lengths of time are for delay")
    if value.utcoffset() is None:
        advice = 'give it one, as in datetime(2026, 12, 24, 18, tzinfo=ZoneInfo("Europe/Berlin"))'
        raise Invalid(field, f"{value} has no time zone; {advice}")
    return (value - EPOCH) // MILLISECOND


def _length(value: object) -> float | None:
    """Milliseconds, perhaps not whole; None for what is no length of time."""
    match value:
        case bool():
            return None
        case int() | float():
            return value * 1_000
        case timedelta():
            return value / MILLISECOND
        case str():
            return length_ms(value)
    return None
