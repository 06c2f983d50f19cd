"""Lengths of time as people write them: `90s`, `1h30m`, `1.5h`, `2 days`, `500ms`."""

import re

UNITS_MS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
LONGEST_MS = 3_653 * UNITS_MS["d"]
"""Ten years, the leap days among them."""

_WORDS = ("weeks?|w", "days?|d", "hours?|h", "minutes?|min|m", "seconds?|sec|s", "milliseconds?|ms")
_PART = r"(?:([0-9]{1,15}(?:\.[0-9]{1,9})?) *(?:%s) *)?"
_LENGTH = re.compile(" *" + "".join(_PART % words for words in _WORDS))


def length_ms(text: str) -> float | None:
    """Milliseconds, perhaps not whole; None for what is no length of time. Larger units come first, each once."""
    found = _LENGTH.fullmatch(text)
    if not found or not text.strip():
        return None
    return sum(float(number) * unit for number, unit in zip(found.groups(), UNITS_MS.values(), strict=True) if number)
