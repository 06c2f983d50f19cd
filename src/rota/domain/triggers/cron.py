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

from rota.domain.errors import InvalidTrigger
from rota.domain.triggers.base import DAY_MS, RANGE_END, Rule, check_text, shown
from rota.domain.triggers.cron_pattern import DAY, Pattern, pattern
from rota.domain.zones import Span, zone

_LAST_SECOND = RANGE_END // 1000 - 1
_CHOICES = {"gap": ("shift", "skip", None), "fold": ("first", "both", None), "day_match": ("or", "and")}


@dataclass(frozen=True, slots=True)
class Cron(Rule):
    """Fires where the wall clock of `timezone` matches `expression` (5 fields, or 6 with seconds first).

    `gap` and `fold` say what happens at clock changes; None takes the default of the table above. `day_match` says
    whether day of month and weekday must match both (`and`) or either (`or`, as ever in cron) if both are
    restricted; a field that starts with `*` is not. Raises InvalidTrigger.
    """

    kind = "cron"
    expression: str
    timezone: str = "UTC"
    gap: Literal["shift", "skip"] | None = None
    fold: Literal["first", "both"] | None = None
    day_match: Literal["or", "and"] = "or"

    def __post_init__(self) -> None:
        check_text("expression", self.expression)
        check_text("timezone", self.timezone)
        for field, choices in _CHOICES.items():
            value = getattr(self, field)
            if value not in choices:
                listed = ", ".join(choice or "null" for choice in choices)
                raise InvalidTrigger(field, f"{shown(value)} is unknown; write one of {listed}")
        pattern(self.expression, self.day_match)
        zone(self.timezone)

    def after(self, moment: int) -> int | None:
        for offset, made_up, low, stop in self._stretches(moment, RANGE_END):
            wall = low if made_up else self._pattern.first(low, stop)
            if wall is not None:
                return (wall - offset) * 1000
        return None

    def last(self, start: int, end: int) -> int | None:
        for offset, made_up, low, stop in self._stretches(start, end, backward=True):
            wall = self._pattern.last(low, stop)
            if wall is not None or made_up:
                return ((low if wall is None else wall) - offset) * 1000
        return None

    def count(self, start: int, end: int) -> int:
        stretches = self._stretches(start, end)
        return sum(made_up + self._pattern.count(low + made_up, stop) for _, made_up, low, stop in stretches)

    def seconds_on(self, day: int) -> int:
        """The fires of a UTC day as bits (see combine.py)."""
        found = 0
        for offset, made_up, low, stop in self._stretches(day * DAY_MS - 1, (day + 1) * DAY_MS - 1):
            found |= (self._pattern.bits(low, stop) | made_up) << low - offset - day * DAY
        return found

    def _stretches(self, start: int, end: int, backward: bool = False) -> Iterator[tuple[int, bool, int, int]]:
        """The parts of ``(start, end]`` (ms) with one offset, as the wall seconds ``low <= wall < stop`` that count.

        Each comes as its offset, whether `low` makes up for times in the gap before it, `low` and `stop`.
        """
        first, final = max(0, start // 1000 + 1), min(end // 1000, _LAST_SECOND)
        clock = zone(self.timezone)  # looked up each time, so that reloaded zone data is used at once
        while first <= final:
            span = clock.span_at(final if backward else first)
            at, stop = max(first, span.start), min(final + 1, span.end)
            made_up = at == span.start and self._is_made_up(span)
            low = max(at + span.offset, self._opens(span))
            yield span.offset, made_up, min(low, stop + span.offset), stop + span.offset
            if backward:
                final = at - 1
            else:
                first = stop

    def _opens(self, span: Span) -> int:
        """The first wall second of a span that counts: those that a fold repeats do not under `first`."""
        fold = self.fold or ("both" if self._pattern.running else "first")
        return span.start + (max(span.offset, span.before) if fold == "first" else span.offset)

    def _is_made_up(self, span: Span) -> bool:
        """Whether a time in the gap before a span is made up for at its start."""
        if span.offset <= span.before or (self.gap or ("skip" if self._pattern.running else "shift")) == "skip":
            return False
        return self._pattern.first(span.start + span.before, span.start + span.offset) is not None

    @property
    def _pattern(self) -> Pattern:
        return pattern(self.expression, self.day_match)
