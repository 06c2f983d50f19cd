"""Priorities as a head start in one ready order.

A ready run's rank is the instant it became ready, less the head start of its priority; lower ranks go first. Bound: a
ready run waits for no run that became ready more than the difference of their head starts (at most three hours by
default) after it. A strict queue has an endless head start: there, and only there, lower priorities can starve.
"""

from enum import IntEnum

from rota.domain.errors import Invalid

HEAD_START_MS = 3_600_000
ENDLESS_MS = 1 << 50


class Priority(IntEnum):
    """Four named levels; their numbers are the API's."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    URGENT = 3


def priority(value: object) -> Priority:
    """A priority by name or number; raises `Invalid` with the choices."""
    if isinstance(value, str) and value.upper() in Priority.__members__:
        return Priority[value.upper()]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= Priority.URGENT:
        return Priority(value)
    raise Invalid("priority", f"{value!r} is none of low (0), normal (1), high (2), urgent (3)")


def rank(ready_at: int, level: int, strict: bool = False) -> int:
    """The place in the ready order; lower goes first."""
    return ready_at - level * (ENDLESS_MS if strict else HEAD_START_MS)
