"""Cron: wall-clock times in a zone, with a stated rule for the hours that a clock change removes or repeats.

In a *gap* (clocks go forward) some wall times do not exist; in a *fold* (clocks go back) some exist twice.

| schedule                                                     | gap   | fold  |
|--------------------------------------------------------------|-------|-------|
| fixed: second, minute and hour are plain, as in `30 2 * * *` | shift | first |
| running: one of them has a wildcard or step, as in           |       |       |
| `*/20 * * * *`, `*/20 2 * * *`, or lists every value         | skip  | both  |

`shift` fires at the first instant after the gap, once however many times fell into it and never in addition to a
regular fire at that instant; `skip` drops them. `first` fires at the first of the two instants, `both` at both.
So fixed schedules run exactly once a day and running ones follow real time. This is what Debian's cron does for
changes under three hours; here it holds for changes of any size, also for zones that move their standard time or
skip a whole day. The OCPS 1.4 draft proposes `skip` and `first` for all: choose them per schedule.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from rota.domain.triggers.base import RANGE_END, check_choice, check_text
from rota.domain.triggers.cron_pattern import DAY, Pattern, pattern
from rota.domain.zones import Span, Zone, zone

Gap = Literal["shift", "skip"]
Fold = Literal["first", "both"]
DayMatch = Literal["or", "and"]

_LAST_SECOND = RANGE_END // 1000 - 1


@dataclass(frozen=True, slots=True)
class Cron:
    """Fires where the wall clock of `timezone` matches `expression` (5 fields, or 6 with seconds first).

    `gap` and `fold` say what happens at clock changes; None takes the default of the table above. `day_match` says
    whether day of month and weekday must match both (`and`) or either (`or`, as ever in cron) if both are
    restricted; a field that starts with `*` is not. Raises InvalidTrigger.
    """

    expression: str
    timezone: str = "UTC"
    gap: Gap | None = None
    fold: Fold | None = None
    day_match: DayMatch = "or"

    def __post_init__(self) -> None:
        check_text("expression", self.expression)
        check_text("timezone", self.timezone)
        check_choice("gap", self.gap, ("shift", "skip", None))
        check_choice("fold", self.fold, ("first", "both", None))
        check_choice("day_match", self.day_match, ("or", "and"))
        pattern(self.expression, self.day_match)
        zone(self.timezone)

    def after(self, moment: int) -> int | None:
        """The first fire strictly later than ``moment``."""
        found = self._clock().first(max(0, moment // 1000 + 1))
        return None if found is None else found * 1000

    def last(self, start: int, end: int) -> int | None:
        """The latest fire in ``(start, end]``."""
        found = self._clock().final(max(0, start // 1000 + 1), min(end // 1000, _LAST_SECOND))
        return None if found is None else found * 1000

    def count(self, start: int, end: int) -> int:
        """How many fires lie in ``(start, end]``: by matching days, with clock changes as they are."""
        return self._clock().count(max(0, start // 1000 + 1), min(end // 1000, _LAST_SECOND))

    def seconds_on(self, day: int) -> int:
        """The fires of a UTC day (counted from the epoch) as bits: bit k is the k-th second of the day."""
        return self._clock().bits(day * DAY, day * DAY + DAY - 1)

    def to_json(self) -> dict[str, object]:
        """``{"kind": "cron", "expression", "timezone", "gap", "fold", "day_match"}``; gap and fold may be null."""
        return {
            "kind": "cron",
            "expression": self.expression,
            "timezone": self.timezone,
            "gap": self.gap,
            "fold": self.fold,
            "day_match": self.day_match,
        }

    def _clock(self) -> "_Clock":
        # Looked up each time, so that reloaded zone data is used at once.
        plan = pattern(self.expression, self.day_match)
        shift = self.gap == "shift" or (self.gap is None and not plan.running)
        first = self.fold == "first" or (self.fold is None and not plan.running)
        return _Clock(plan, zone(self.timezone), shift, first)


@dataclass(slots=True)
class _Clock:
    """A pattern on the wall clock of a zone. Everything in whole seconds, ranges with both ends."""

    plan: Pattern
    zone: Zone
    shift: bool
    fold_first: bool

    def first(self, start: int) -> int | None:
        """The first fire at or after an instant."""
        at = start
        while at <= _LAST_SECOND:
            span = self.zone.span_at(at)
            if at == span.start and self._shifted(span):
                return at
            low = max(at + span.offset, self._opens(span))
            wall = self.plan.next(low)
            if wall is None:
                return None
            if wall < span.end + span.offset:
                found = wall - span.offset
                return found if found <= _LAST_SECOND else None
            at = span.end
            # Within a day of its end a fold may bring back what was passed; otherwise nothing lies before `wall`.
            if low + DAY <= span.end + span.offset:
                at = max(at, wall - 2 * DAY)
        return None

    def final(self, start: int, end: int) -> int | None:
        """The latest fire in ``start <= fire <= end``."""
        at = end
        while at >= start:
            span = self.zone.span_at(at)
            opens = self._opens(span)
            wall = self.plan.previous(at + span.offset)
            if wall is not None and wall >= opens:
                found = wall - span.offset
                return found if found >= start else None
            if self._shifted(span):
                return span.start if span.start >= start else None
            if wall is None and span.offset >= span.before:
                return None
            jump = wall is not None and at + span.offset - DAY >= opens
            at = min(span.start - 1, wall + 2 * DAY) if wall is not None and jump else span.start - 1
        return None

    def count(self, start: int, end: int) -> int:
        """How many fires lie in ``start <= fire <= end``."""
        found = 0
        for span, at, low, stop in self._pieces(start, end):
            found += self.plan.count(low, stop)
            if at == span.start and self._shifted(span):
                found += self.plan.count(at + span.offset, at + span.offset + 1) == 0
        return found

    def bits(self, start: int, end: int) -> int:
        """The fires in ``start <= fire <= end`` as bits: bit k is ``start + k``."""
        found = 0
        for span, at, low, stop in self._pieces(start, end):
            found |= self.plan.bits(low, stop) << low - span.offset - start
            if at == span.start and self._shifted(span):
                found |= 1 << at - start
        return found

    def _pieces(self, start: int, end: int) -> Iterator[tuple[Span, int, int, int]]:
        """The range cut where the offset changes: span, first instant, and from which to which wall second."""
        at = start
        while at <= end:
            span = self.zone.span_at(at)
            stop = min(span.end, end + 1) + span.offset
            yield span, at, min(stop, max(at + span.offset, self._opens(span))), stop
            at = stop - span.offset

    def _opens(self, span: Span) -> int:
        """The first wall second of a span that counts: those that a fold repeats do not under `first`."""
        return span.start + (max(span.offset, span.before) if self.fold_first else span.offset)

    def _shifted(self, span: Span) -> bool:
        """Whether a time in the gap before a span is made up for at its start."""
        if not self.shift or span.offset <= span.before:
            return False
        wall = self.plan.next(span.start + span.before)
        return wall is not None and wall < span.start + span.offset
