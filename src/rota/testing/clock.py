"""A clock that moves only when told to, and a source of chance that repeats itself."""

from random import Random
from threading import Lock

START_AT = 1_767_225_600_000
"""2026-01-01T00:00:00Z: where a new clock stands, and where the factories' records begin."""


class MovableClock:
    """A `rota.ports.runtime.Clock`. Safe to read and move from several threads."""

    def __init__(self) -> None:
        self._now, self._monotonic = START_AT, 0
        self._lock = Lock()

    def now(self) -> int:
        return self._now

    def monotonic(self) -> int:
        return self._monotonic

    def advance(self, ms: int) -> int:
        """Let `ms` milliseconds pass on both faces; returns the new wall time."""
        if ms < 0:
            raise ValueError("time passes forward; use jump() to set the wall clock back")
        with self._lock:
            self._monotonic += ms
        return self.jump(ms)

    def jump(self, ms: int) -> int:
        """Set the wall clock `ms` forward or back, as an operator or NTP does; the monotonic face stands still."""
        with self._lock:
            self._now += ms
            return self._now


class SeededChance:
    """A `rota.ports.runtime.Chance`: the same seed gives the same bits."""

    def __init__(self, seed: int = 0) -> None:
        self._random = Random(seed)

    def bits(self, count: int) -> int:
        return self._random.getrandbits(count)

    def fraction(self) -> float:
        return self._random.random()
