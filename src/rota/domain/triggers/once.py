"""A single instant."""

from dataclasses import dataclass

from rota.domain.triggers.base import DAY_MS, RANGE_END, check_integer


@dataclass(frozen=True, slots=True)
class Once:
    """Fires once, ``at`` an instant (ms since the epoch, UTC).

    Raises InvalidTrigger if the instant is not an integer or lies outside of 1970 to 2200.
    """

    at: int

    def __post_init__(self) -> None:
        check_integer("at", self.at, 0, RANGE_END - 1)

    def after(self, moment: int) -> int | None:
        """The instant, if it is still to come."""
        return self.at if moment < self.at else None

    def last(self, start: int, end: int) -> int | None:
        """The instant, if it lies in ``(start, end]``."""
        return self.at if start < self.at <= end else None

    def count(self, start: int, end: int) -> int:
        """1 if the instant lies in ``(start, end]``, else 0."""
        return int(start < self.at <= end)

    def seconds_on(self, day: int) -> int:
        """The fires of a UTC day (counted from the epoch) as bits: bit k is the k-th second of the day."""
        own_day, rest = divmod(self.at, DAY_MS)
        return 1 << rest // 1000 if own_day == day and rest % 1000 == 0 else 0

    def to_json(self) -> dict[str, object]:
        """``{"kind": "once", "at": ms}``."""
        return {"kind": "once", "at": self.at}
