"""Triggers from what is stored (JSON values) and from what people type (text)."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from rota.domain.errors import InvalidTrigger
from rota.domain.triggers.base import Trigger, check_text, shown
from rota.domain.triggers.combine import MAX_DEPTH, AllOf, AnyOf, Except
from rota.domain.triggers.cron import Cron
from rota.domain.triggers.interval import Interval
from rota.domain.triggers.once import Once
from rota.domain.zones import zone


class _Kind(NamedTuple):
    make: Callable[..., Trigger]
    needed: frozenset[str]
    optional: frozenset[str] = frozenset()


_KINDS = {
    "once": _Kind(Once, frozenset({"at"})),
    "interval": _Kind(Interval, frozenset({"every_ms"}), frozenset({"anchor_at"})),
    "cron": _Kind(Cron, frozenset({"expression"}), frozenset({"timezone", "gap", "fold", "day_match"})),
    "any_of": _Kind(AnyOf, frozenset({"triggers"})),
    "all_of": _Kind(AllOf, frozenset({"triggers"})),
    "except": _Kind(Except, frozenset({"base", "without"})),
}
_NESTED = {"base", "without"}

_UNITS_MS = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 1),
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1_000),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60_000),
    **dict.fromkeys(("h", "hour", "hours"), 3_600_000),
    **dict.fromkeys(("d", "day", "days"), 86_400_000),
    **dict.fromkeys(("w", "week", "weeks"), 604_800_000),
}
_LENGTH = re.compile(r"([0-9]{1,15})([a-z]+)")
_LENGTHS = re.compile(rf"({_LENGTH.pattern})+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def from_json(value: Mapping[str, object]) -> Trigger:
    """The trigger that ``to_json`` wrote down.

    Raises InvalidTrigger for unknown kinds, missing and unknown members, and values that the kind refuses.
    """
    return _from_json(value, MAX_DEPTH)


def parse(text: str, timezone: str = "UTC") -> Trigger:
    """The trigger that people mean: a cron expression, ``@daily``, ``every 1h30m`` or ``at 2026-12-24T18:00``.

    Cron and ``at`` follow the wall clock of the zone (``at`` with an offset of its own follows that); ``every`` is
    elapsed time, aligned to the epoch. Raises InvalidTrigger.
    """
    check_text("trigger", text)
    word, _, rest = text.strip().partition(" ")
    match word.lower():
        case "every":
            return Interval(_length(rest))
        case "at":
            return _once(rest.strip(), timezone)
        case _:
            return Cron(text.strip(), timezone)


def _from_json(value: object, levels: int) -> Trigger:
    if not isinstance(value, Mapping):
        raise InvalidTrigger("trigger", f"{shown(value)} is not an object; write one with a kind")
    if levels < 0:
        raise InvalidTrigger("trigger", f"is nested too deeply; combine at most {MAX_DEPTH} levels")
    name = value.get("kind")
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise InvalidTrigger("kind", f"{shown(name)} is unknown; write one of {', '.join(_KINDS)}")
    given = {key: member for key, member in value.items() if key != "kind"}
    for key in kind.needed - given.keys():
        raise InvalidTrigger(key, f"is missing; a trigger of kind {name} needs it")
    for key in given.keys() - kind.needed - kind.optional:
        known = ", ".join(sorted(kind.needed | kind.optional))
        raise InvalidTrigger(shown(key), f"is unknown to a trigger of kind {name}; write {known}")
    return kind.make(**{key: _member(key, member, levels) for key, member in given.items()})


def _member(key: str, value: object, levels: int) -> object:
    if key in _NESTED:
        return _from_json(value, levels - 1)
    if key != "triggers":
        return value
    if not isinstance(value, list | tuple):
        raise InvalidTrigger(key, f"{shown(value)} is not a list; write a list of triggers")
    return tuple(_from_json(one, levels - 1) for one in value)


def _length(text: str) -> int:
    """Milliseconds of `1h30m` or `90 seconds`."""
    squeezed = "".join(text.lower().split())
    remedy = 'write numbers with units, as in "every 10s", "every 1h30m" or "every 2 days"'
    if not _LENGTHS.fullmatch(squeezed):
        raise InvalidTrigger("every", f"{shown(text)} is not a length of time; {remedy}")
    total = 0
    for number, unit in _LENGTH.findall(squeezed):
        if unit not in _UNITS_MS:
            raise InvalidTrigger("every", f"{shown(unit)} is no unit (ms, s, m, h, d, w); {remedy}")
        total += int(number) * _UNITS_MS[unit]
    return total


def _once(text: str, timezone: str) -> Once:
    """An ISO 8601 time; without an offset of its own it is on the wall clock of the zone, the first of two."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        remedy = 'write it as in "at 2026-12-24T18:00"'
        raise InvalidTrigger("at", f"{shown(text)} is no date and time; {remedy}") from None
    if not 1970 <= when.year <= 2200:
        raise InvalidTrigger("at", f"{text} is out of range; write a year from 1970 to 2200")
    if when.tzinfo is not None:
        return Once(_since_epoch(when))
    wall, fraction = divmod(_since_epoch(when.replace(tzinfo=UTC)), 1000)
    instants = zone(timezone).instants(wall)
    if not instants:
        problem = f"the clocks of {timezone} skip {text}"
        raise InvalidTrigger("at", f"{problem}; write a time before or after the change")
    return Once(instants[0] * 1000 + fraction)


def _since_epoch(when: datetime) -> int:
    since = when - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
