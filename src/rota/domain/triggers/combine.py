"""Triggers made of triggers: any of several, all of several, one without another.

A combination is asked in two steps. Its members give a bound, which costs one question to each, then the UTC day of
that bound is looked at as a whole: the fires of a day are the bits of one number, and combining them is `|`, `&`
and `& ~`. So even members that fire every second are combined day by day, never fire by fire. A search looks at no
more than `HORIZON_DAYS` days on which something could fire and answers None then: over five years if that is
every day, centuries if it is once a year.

Members fire on full seconds. An instant between them would never equal one of another member, which makes an
exception useless without saying so; such members are refused.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rota.domain.errors import InvalidTrigger
from rota.domain.triggers.base import DAY_MS, RANGE_END, Trigger, shown
from rota.domain.triggers.interval import Interval
from rota.domain.triggers.once import Once

HORIZON_DAYS = 2_000
MAX_MEMBERS = 20
MAX_DEPTH = 5


class _Combined(ABC):
    """The questions of a trigger, answered by the bounds and the days of a subclass."""

    __slots__ = ()

    @abstractmethod
    def members(self) -> tuple[Trigger, ...]:
        """The triggers it is made of."""

    @abstractmethod
    def soonest(self, moment: int) -> int | None:
        """A lower bound of the first fire after ``moment``; None if there is none."""

    @abstractmethod
    def latest(self, start: int, end: int) -> int | None:
        """An upper bound of the latest fire in ``(start, end]``; None if there is none."""

    @abstractmethod
    def seconds_on(self, day: int) -> int:
        """The fires of a UTC day (counted from the epoch) as bits: bit k is the k-th second of the day."""

    @abstractmethod
    def to_json(self) -> dict[str, object]:
        """Plain JSON values, those of the members inside."""

    def after(self, moment: int) -> int | None:
        """The first fire strictly later than ``moment``; None also after `HORIZON_DAYS` days without one."""
        for _ in range(HORIZON_DAYS):
            bound = self.soonest(moment)
            if bound is None:
                return None
            day = bound // DAY_MS
            bits = self._seconds_within(day, moment, RANGE_END)
            if bits:
                return day * DAY_MS + ((bits & -bits).bit_length() - 1) * 1000
            moment = (day + 1) * DAY_MS - 1
        return None

    def last(self, start: int, end: int) -> int | None:
        """The latest fire in ``(start, end]``; None also after `HORIZON_DAYS` days without one."""
        for _ in range(HORIZON_DAYS):
            bound = self.latest(start, end)
            if bound is None:
                return None
            day = bound // DAY_MS
            bits = self._seconds_within(day, start, end)
            if bits:
                return day * DAY_MS + (bits.bit_length() - 1) * 1000
            end = day * DAY_MS - 1
        return None

    def count(self, start: int, end: int) -> int:
        """How many fires lie in ``(start, end]``: day by day, those without any possible fire left out."""
        found = 0
        bound = self.soonest(start)
        while bound is not None and bound <= end:
            day = bound // DAY_MS
            found += self._seconds_within(day, start, end).bit_count()
            bound = self.soonest((day + 1) * DAY_MS - 1)
        return found

    def _seconds_within(self, day: int, start: int, end: int) -> int:
        """The bits of a day, only those in ``(start, end]``."""
        bits = self.seconds_on(day)
        skipped = start // 1000 + 1 - day * (DAY_MS // 1000)
        wanted = end // 1000 + 1 - day * (DAY_MS // 1000)
        if skipped > 0:
            bits = bits >> skipped << skipped
        return bits & ((1 << max(0, wanted)) - 1) if wanted < DAY_MS // 1000 else bits


@dataclass(frozen=True, slots=True)
class AnyOf(_Combined):
    """Fires whenever one of its triggers does; once if several fire at the same instant. Raises InvalidTrigger."""

    triggers: Sequence[Trigger]

    def __post_init__(self) -> None:
        object.__setattr__(self, "triggers", tuple(self.triggers))
        _check("triggers", self)

    def members(self) -> tuple[Trigger, ...]:
        return tuple(self.triggers)

    def soonest(self, moment: int) -> int | None:
        return min((fire for one in self.triggers if (fire := _soonest(one, moment)) is not None), default=None)

    def latest(self, start: int, end: int) -> int | None:
        found = (_latest(one, start, end) for one in self.triggers)
        return max((fire for fire in found if fire is not None), default=None)

    def seconds_on(self, day: int) -> int:
        bits = 0
        for one in self.triggers:
            bits |= _seconds_on(one, day)
        return bits

    def to_json(self) -> dict[str, object]:
        """``{"kind": "any_of", "triggers": [...]}``."""
        return {"kind": "any_of", "triggers": [one.to_json() for one in self.triggers]}


@dataclass(frozen=True, slots=True)
class AllOf(_Combined):
    """Fires at the instants at which all of its triggers do. Raises InvalidTrigger."""

    triggers: Sequence[Trigger]

    def __post_init__(self) -> None:
        object.__setattr__(self, "triggers", tuple(self.triggers))
        _check("triggers", self)

    def members(self) -> tuple[Trigger, ...]:
        return tuple(self.triggers)

    def soonest(self, moment: int) -> int | None:
        found = [_soonest(one, moment) for one in self.triggers]
        return None if None in found else max(fire for fire in found if fire is not None)

    def latest(self, start: int, end: int) -> int | None:
        found = [_latest(one, start, end) for one in self.triggers]
        return None if None in found else min(fire for fire in found if fire is not None)

    def seconds_on(self, day: int) -> int:
        bits = -1
        for one in self.triggers:
            bits &= _seconds_on(one, day)
            if not bits:
                break
        return bits

    def to_json(self) -> dict[str, object]:
        """``{"kind": "all_of", "triggers": [...]}``."""
        return {"kind": "all_of", "triggers": [one.to_json() for one in self.triggers]}


@dataclass(frozen=True, slots=True)
class Except(_Combined):
    """Fires when `base` does, but not at instants at which `without` does too. Raises InvalidTrigger."""

    base: Trigger
    without: Trigger

    def __post_init__(self) -> None:
        _check("without", self)

    def members(self) -> tuple[Trigger, ...]:
        return self.base, self.without

    def soonest(self, moment: int) -> int | None:
        return _soonest(self.base, moment)

    def latest(self, start: int, end: int) -> int | None:
        return _latest(self.base, start, end)

    def seconds_on(self, day: int) -> int:
        bits = _seconds_on(self.base, day)
        return bits & ~_seconds_on(self.without, day) if bits else 0

    def to_json(self) -> dict[str, object]:
        """``{"kind": "except", "base": {...}, "without": {...}}``."""
        return {"kind": "except", "base": self.base.to_json(), "without": self.without.to_json()}


def _soonest(trigger: Trigger, moment: int) -> int | None:
    return trigger.soonest(moment) if isinstance(trigger, _Combined) else trigger.after(moment)


def _latest(trigger: Trigger, start: int, end: int) -> int | None:
    return trigger.latest(start, end) if isinstance(trigger, _Combined) else trigger.last(start, end)


def _seconds_on(trigger: Trigger, day: int) -> int:
    """The fires of a UTC day as bits; a trigger that does not know them itself is asked fire by fire."""
    known: Callable[[int], int] | None = getattr(trigger, "seconds_on", None)
    if known is not None:
        return known(day)
    bits = 0
    fire = trigger.after(day * DAY_MS - 1)
    while fire is not None and fire < (day + 1) * DAY_MS:
        bits |= 1 << fire % DAY_MS // 1000
        fire = trigger.after(fire)
    return bits


def _check(field: str, combination: _Combined) -> None:
    """Refuse combinations that are empty, too large or too deep, and members between full seconds."""
    if not combination.members():
        raise InvalidTrigger(field, "is empty; write at least one trigger")
    if _depth(combination) > MAX_DEPTH:
        raise InvalidTrigger(field, f"is nested too deeply; combine at most {MAX_DEPTH} levels")
    leaves = list(_leaves(combination))
    if len(leaves) > MAX_MEMBERS:
        raise InvalidTrigger(field, f"has {len(leaves)} triggers; combine at most {MAX_MEMBERS}")
    for leaf in leaves:
        fraction = leaf.at % 1000 if isinstance(leaf, Once) else 0
        if isinstance(leaf, Interval):
            fraction = leaf.every_ms % 1000 or leaf.anchor_at % 1000
        if fraction:
            raise InvalidTrigger(field, f"{shown(leaf)} fires between full seconds; write multiples of 1000 ms")


def _leaves(trigger: Trigger) -> Iterator[Trigger]:
    if isinstance(trigger, _Combined):
        for member in trigger.members():
            yield from _leaves(member)
    else:
        yield trigger


def _depth(trigger: Trigger) -> int:
    return 1 + max(map(_depth, trigger.members())) if isinstance(trigger, _Combined) else 0
