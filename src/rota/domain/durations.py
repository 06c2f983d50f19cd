"""Lengths of time as people write them: `90s`, `1h30m`, `1.5h`, `2 days`, `500ms`."""

import re

_UNITS_MS = {
    "weeks?|w": 604_800_000,
    "days?|d": 86_400_000,
    "hours?|h": 3_600_000,
    "minutes?|min|m": 60_000,
    "seconds?|sec|s": 1_000,
    "milliseconds?|ms": 1,
}
_PART = r"(?:([0-9]{1,15}(?:\.[0-9]{1,9})?) *(?:%s) *)?"
_LENGTH = re.compile(" *" + "".join(_PART % unit for unit in _UNITS_MS))


def length_ms(text: str) -> float | None:
    """Milliseconds, perhaps not whole; None for what is no length of time. Larger units come first, each once."""
    found = _LENGTH.fullmatch(text)
    if not found or not text.strip():
        return None
    return sum(float(number) * unit for number, unit in zip(found.groups(), _UNITS_MS.values(), strict=True) if number)
