"""Triggers made of triggers: any of several, all of several, one without another.

A combination is asked in two steps. Its members give a bound, which costs one question to each, then the UTC day of
that bound (counted from the epoch) is looked at as a whole: its fires are the bits of one number, bit k its k-th
second, and combining them is `|`, `&` and `& ~`. So even members that fire every second are combined day by day,
never fire by fire. A search looks at no more than `HORIZON_DAYS` days on which something could fire and answers
None then: over five years if that is every day, centuries if it is once a year.

Members fire on full seconds. An instant between them would never equal one of another member, which makes an
exception useless without saying so; such members are refused.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from itertools import islice
from operator import and_, or_

from rota.domain.errors import InvalidTrigger
from rota.domain.triggers.base import DAY_MS, RANGE_END, Rule, Trigger, shown

HORIZON_DAYS = 2_000
MAX_MEMBERS = 20
MAX_DEPTH = 5


@dataclass(frozen=True, slots=True)
class _Combined(Rule):
    """The questions of a trigger, answered by bounds and days."""

    def __post_init__(self) -> None:
        field = fields(self)[-1].name
        leaves = list(_leaves(self, field))
        if not leaves:
            raise InvalidTrigger(field, "is empty; write at least one trigger")
        if len(leaves) > MAX_MEMBERS:
            raise InvalidTrigger(field, f"has {len(leaves)} triggers; combine at most {MAX_MEMBERS}")
        for leaf in leaves:
            # All numbers of a trigger are milliseconds.
            if any(isinstance(value, int) and value % 1000 for value in leaf.to_json().values()):
                raise InvalidTrigger(field, f"{shown(leaf)} fires between full seconds; write multiples of 1000 ms")

    def after(self, moment: int) -> int | None:
        for day, bits in islice(self._days(moment, RANGE_END - 1), HORIZON_DAYS):
            if bits:
                return day * DAY_MS + ((bits & -bits).bit_length() - 1) * 1000
        return None

    def last(self, start: int, end: int) -> int | None:
        for _ in range(HORIZON_DAYS):
            bound = _latest(self, start, end)
            if bound <= start:
                break
            day = bound // DAY_MS
            bits = self._seconds_within(day, start, end)
            if bits:
                return day * DAY_MS + (bits.bit_length() - 1) * 1000
            end = day * DAY_MS - 1
        return None

    def count(self, start: int, end: int) -> int:
        return sum(bits.bit_count() for _, bits in self._days(start, min(end, RANGE_END - 1)))

    def _days(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The days on which something could fire in ``(start, end]``, with their fires in it as bits."""
        bound = _soonest(self, start)
        while bound <= end:
            day = bound // DAY_MS
            yield day, self._seconds_within(day, start, end)
            bound = _soonest(self, (day + 1) * DAY_MS - 1)

    def _seconds_within(self, day: int, start: int, end: int) -> int:
        """The fires of a day as bits, only those in ``(start, end]``."""
        midnight = day * DAY_MS
        skipped = max(0, (start - midnight) // 1000 + 1)
        wanted = (min(end, midnight + DAY_MS - 1) - midnight) // 1000 + 1
        return (_seconds_on(self, day) >> skipped << skipped) & ((1 << wanted) - 1)


@dataclass(frozen=True, slots=True)
class _Group(_Combined):
    triggers: Sequence[Trigger]

    def __post_init__(self) -> None:
        object.__setattr__(self, "triggers", tuple(self.triggers))
        _Combined.__post_init__(self)


class AnyOf(_Group):
    """Fires whenever one of its triggers does; once if several fire at the same instant. Raises InvalidTrigger."""

    __slots__ = ()
    kind = "any_of"


class AllOf(_Group):
    """Fires at the instants at which all of its triggers do. Raises InvalidTrigger."""

    __slots__ = ()
    kind = "all_of"


@dataclass(frozen=True, slots=True)
class Except(_Combined):
    """Fires when `base` does, but not at instants at which `without` does too. Raises InvalidTrigger."""

    kind = "except"
    base: Trigger
    without: Trigger


def _soonest(trigger: Trigger, moment: int) -> int:
    """A lower bound of the first fire after a moment; the end of the range if there is none."""
    match trigger:
        case AnyOf():
            return min(_soonest(one, moment) for one in trigger.triggers)
        case AllOf():
            return max(_soonest(one, moment) for one in trigger.triggers)
        case Except():
            return _soonest(trigger.base, moment)
    fire = trigger.after(moment)
    return RANGE_END if fire is None else fire


def _latest(trigger: Trigger, start: int, end: int) -> int:
    """An upper bound of the latest fire in ``(start, end]``; ``start`` if there is none."""
    match trigger:
        case AnyOf():
            return max(_latest(one, start, end) for one in trigger.triggers)
        case AllOf():
            return min(_latest(one, start, end) for one in trigger.triggers)
        case Except():
            return _latest(trigger.base, start, end)
    fire = trigger.last(start, end)
    return start if fire is None else fire


def _seconds_on(trigger: Trigger, day: int) -> int:
    """The fires of a day as bits; a trigger that does not know them itself is asked fire by fire."""
    match trigger:
        case AnyOf():
            return reduce(or_, (_seconds_on(one, day) for one in trigger.triggers))
        case AllOf():
            return reduce(and_, (_seconds_on(one, day) for one in trigger.triggers))
        case Except():
            return _seconds_on(trigger.base, day) & ~_seconds_on(trigger.without, day)
    known: Callable[[int], int] | None = getattr(trigger, "seconds_on", None)
    if known is not None:
        return known(day)
    bits = 0
    fire = trigger.after(day * DAY_MS - 1)
    while fire is not None and fire < (day + 1) * DAY_MS:
        bits |= 1 << fire % DAY_MS // 1000
        fire = trigger.after(fire)
    return bits


def _leaves(trigger: Trigger, field: str, depth: int = 0) -> Iterator[Trigger]:
    """What is combined in the end."""
    match trigger:
        case AnyOf() | AllOf():
            members = trigger.triggers
        case Except():
            members = trigger.base, trigger.without
        case _:
            yield trigger
            return
    if depth == MAX_DEPTH:
        raise InvalidTrigger(field, f"is nested too deeply; combine at most {MAX_DEPTH} levels")
    for member in members:
        yield from _leaves(member, field, depth + 1)
