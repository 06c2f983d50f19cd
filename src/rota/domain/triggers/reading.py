"""Triggers from what is stored (JSON values) and from what people type (text)."""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from typing import Any

from rota.domain.durations import EPOCH, MILLISECOND, length_ms
from rota.domain.errors import InvalidTrigger
from rota.domain.triggers.base import Trigger, check_text, shown
from rota.domain.triggers.combine import MAX_DEPTH, AllOf, AnyOf, Except
from rota.domain.triggers.cron import Cron
from rota.domain.triggers.plain import Interval, Once
from rota.domain.zones import zone

_KINDS: dict[object, Any] = {kind.kind: kind for kind in (Once, Interval, Cron, AnyOf, AllOf, Except)}
CLOCKLESS = "is for cron text; other schedules meet no clock changes"
"""Of a time zone, gap or fold beside what follows no wall clock."""


def from_json(value: object, levels: int = MAX_DEPTH, stored: bool = False) -> Trigger:
    """The trigger that ``to_json`` wrote down, made of triggers through at most so many levels.

    A `stored` one whose time zone this machine does not know is there all the same, and raises when it is asked.
    Raises InvalidTrigger for unknown kinds, missing and unknown members, and values that the kind refuses.
    """
    if not isinstance(value, Mapping):
        raise InvalidTrigger("trigger", f"{shown(value)} is not an object; write one with a kind")
    if levels < 0:
        raise InvalidTrigger("trigger", f"is nested too deeply; combine at most {MAX_DEPTH} levels")
    name = value.get("kind")
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise InvalidTrigger("kind", f"{shown(name)} is unknown; write one of {', '.join(map(str, _KINDS))}")
    given = {key: member for key, member in value.items() if key != "kind"}
    needed = {slot.name: slot.default is MISSING for slot in fields(kind)}
    for key in needed.keys() - given.keys():
        if needed[key]:
            raise InvalidTrigger(key, f"is missing; a trigger of kind {name} needs it")
    for key in given.keys() - needed.keys():
        raise InvalidTrigger(shown(key), f"is unknown to a trigger of kind {name}; write {', '.join(needed)}")
    members = {key: _member(key, member, levels - 1, stored) for key, member in given.items()}
    made: Trigger
    try:
        made = kind(**members)
    except InvalidTrigger as error:
        if not stored or error.field != "timezone" or not isinstance(given["timezone"], str):
            raise
        made = kind(**members | {"timezone": "UTC"})
        object.__setattr__(made, "timezone", given["timezone"])
    return made


def parse(text: str, timezone: str = "UTC") -> Trigger:
    """The trigger that people mean: a cron expression, ``@daily``, ``every 1h30m`` or ``at 2026-12-24T18:00``.

    Cron and ``at`` follow the wall clock of the zone (``at`` with an offset of its own follows that); ``every`` is
    elapsed time, aligned to the epoch. Raises InvalidTrigger.
    """
    check_text("trigger", text)
    word, _, rest = text.strip().partition(" ")
    match word.lower():
        case "every":
            return _interval(rest.strip())
        case "at":
            return _once(rest.strip(), timezone)
        case _:
            return Cron(text.strip(), timezone)


def check_clock(field: str, texts: Iterable[str]) -> None:
    """Raises InvalidTrigger where that rule of wall clocks stands beside texts that are all of elapsed time."""
    if all(text.strip().partition(" ")[0].lower() == "every" for text in texts):
        raise InvalidTrigger(field, CLOCKLESS)


def _member(key: str, value: object, levels: int, stored: bool) -> object:
    if key in ("base", "without"):
        return from_json(value, levels, stored)
    if key != "triggers":
        return value
    if not isinstance(value, list | tuple):
        raise InvalidTrigger(key, f"{shown(value)} is not a list; write a list of triggers")
    return tuple(from_json(one, levels, stored) for one in value)


def _interval(text: str) -> Interval:
    length = length_ms(text.lower())
    if length is None:
        remedy = 'write numbers with units, as in "every 10s", "every 1h30m" or "every 2 days"'
        raise InvalidTrigger("every", f"{shown(text)} is not a length of time; {remedy}")
    return Interval(round(length))


def _once(text: str, timezone: str) -> Once:
    """An ISO 8601 time; without an offset of its own it is on the wall clock of the zone, the first of two."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        remedy = 'write it as in "at 2026-12-24T18:00"'
        raise InvalidTrigger("at", f"{shown(text)} is no date and time; {remedy}") from None
    if not 1970 <= when.year <= 2200:
        raise InvalidTrigger("at", f"{text} is out of range; write a year from 1970 to 2200")
    if when.tzinfo is None:
        when = when.replace(tzinfo=zone(timezone).info)
        # A time that the clocks skip comes back as another one.
        if when.astimezone(UTC).astimezone(when.tzinfo) != when:
            problem = f"the clocks of {timezone} skip {text}"
            raise InvalidTrigger("at", f"{problem}; write a time before or after the change")
    return Once((when - EPOCH) // MILLISECOND)
