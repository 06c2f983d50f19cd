"""The plain triggers: a single instant, and elapsed time, whatever the clocks on walls do."""

from dataclasses import dataclass

from rota.domain.triggers.base import DAY_MS, RANGE_END, Rule, check_integer

MIN_EVERY_MS = 100


@dataclass(frozen=True, slots=True)
class Once(Rule):
    """Fires once, ``at`` an instant (ms since the epoch, UTC).

    Raises InvalidTrigger if the instant is not an integer or lies outside of 1970 to 2200.
    """

    kind = "once"
    at: int

    def __post_init__(self) -> None:
        check_integer("at", self.at, 0, RANGE_END - 1)

    def after(self, moment: int) -> int | None:
        return self.at if moment < self.at else None

    def last(self, start: int, end: int) -> int | None:
        return self.at if start < self.at <= end else None

    def count(self, start: int, end: int) -> int:
        return int(start < self.at <= end)


@dataclass(frozen=True, slots=True)
class Interval(Rule):
    """Fires at ``anchor_at + k * every_ms`` for k = 0, 1, 2, ... (ms since the epoch, UTC).

    The anchor 0 aligns the fires to the epoch: every hour means the full hours of UTC. Raises InvalidTrigger for
    intervals under 100 ms, values outside of 1970 to 2200 and anything but integers.
    """

    kind = "interval"
    every_ms: int
    anchor_at: int = 0

    def __post_init__(self) -> None:
        check_integer("every_ms", self.every_ms, MIN_EVERY_MS, RANGE_END)
        check_integer("anchor_at", self.anchor_at, 0, RANGE_END - 1)

    def after(self, moment: int) -> int | None:
        fire = self.anchor_at + self._fired_until(moment) * self.every_ms
        return fire if moment < fire < RANGE_END else None

    def last(self, start: int, end: int) -> int | None:
        fire = self.anchor_at + (self._fired_until(end) - 1) * self.every_ms
        return fire if fire >= self.anchor_at and fire > start else None

    def count(self, start: int, end: int) -> int:
        return max(0, self._fired_until(end) - self._fired_until(start))

    def seconds_on(self, day: int) -> int:
        """The fires of a UTC day as bits (see combine.py), for an interval of full seconds."""
        start = day * DAY_MS
        first = self.after(start - 1)
        if first is None or first >= start + DAY_MS:
            return 0
        bits, reach = 1, self.every_ms // 1000
        while reach < DAY_MS // 1000:
            bits |= bits << reach
            reach *= 2
        return (bits << (first - start) // 1000) & ((1 << DAY_MS // 1000) - 1)

    def _fired_until(self, moment: int) -> int:
        """How many fires there are up to and including a moment."""
        if moment < self.anchor_at:
            return 0
        return (min(moment, RANGE_END - 1) - self.anchor_at) // self.every_ms + 1
