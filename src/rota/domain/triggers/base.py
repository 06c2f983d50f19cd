"""What every trigger is: a pure rule that says at which instants something is due.

Instants are milliseconds since the Unix epoch, UTC, from 1970-01-01 up to and not including 2201-01-01; a trigger
never fires outside of that range.
"""

from dataclasses import dataclass, fields
from typing import ClassVar, Protocol

from rota.domain.errors import InvalidTrigger

RANGE_END = 7_289_654_400_000  # 2201-01-01T00:00:00Z
DAY_MS = 86_400_000
TEXT_LIMIT = 200


class Trigger(Protocol):
    """A rule for instants. Pure and immutable: the same question always has the same answer.

    Ranges are half open to the left, ``(start, end]``, so that neighbouring ranges neither share nor lose a fire.
    """

    def after(self, moment: int) -> int | None:
        """The first fire strictly later than ``moment``; None if there is none up to the end of the range."""

    def last(self, start: int, end: int) -> int | None:
        """The latest fire in ``(start, end]``, found without walking from fire to fire."""

    def count(self, start: int, end: int) -> int:
        """How many fires lie in ``(start, end]``, counted without walking from fire to fire."""

    def to_json(self) -> dict[str, object]:
        """Plain JSON values from which ``from_json`` builds an equal trigger."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A trigger as a record: its JSON is its `kind` and its fields."""

    kind: ClassVar[str]

    def to_json(self) -> dict[str, object]:
        return {"kind": self.kind, **{slot.name: _plain(getattr(self, slot.name)) for slot in fields(self)}}


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value.to_json() if hasattr(value, "to_json") else value


def check_integer(field: str, value: object, low: int, high: int) -> None:
    """Raise InvalidTrigger unless the value is an integer from low to high (both included)."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidTrigger(field, f"{shown(value)} is not a whole number; write milliseconds as an integer")
    if not low <= value <= high:
        raise InvalidTrigger(field, f"{value} is out of range; write a number from {low} to {high}")


def check_text(field: str, value: object) -> None:
    """Raise InvalidTrigger unless the value is text of at most 200 characters."""
    if not isinstance(value, str):
        raise InvalidTrigger(field, f"{shown(value)} is not text; write it as a string")
    if len(value) > TEXT_LIMIT:
        raise InvalidTrigger(field, f"is {len(value)} characters long; write at most {TEXT_LIMIT}")


def shown(value: object) -> str:
    """A value as quoted in an error: escaped and short."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
