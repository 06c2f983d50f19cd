"""What a worker says of itself: what it did, and what it takes of its machine."""

import os
import time
from collections.abc import Sized
from contextlib import suppress

from rota.domain.records import Load
from rota.domain.run import End


class Counted:
    """Counts attempts, and measures this process from one question to the next."""

    def __init__(self, running: Sized) -> None:
        self._running = running
        self._ends = dict.fromkeys(End, 0)
        self._at, self._spent = time.monotonic(), time.process_time()

    def ended(self, end: End) -> None:
        """One is over."""
        self._ends[end] += 1

    def load(self) -> Load:
        """All that until now, and how busy it was since the last question."""
        at, spent = time.monotonic(), time.process_time()
        cpu = round(100 * (spent - self._spent) / max(at - self._at, 0.001))
        self._at, self._spent = at, spent
        ended = self._ends[End.SUCCESS], self._ends[End.FAILURE]
        total = sum(self._ends.values()) + len(self._running)
        memory, busy = _taken()
        return Load(total, *ended, cpu, memory >> 20, min(round(busy), 100))


def _taken() -> tuple[int, float]:
    """Bytes that this process has in memory, and percent of the machine that are taken; 0 of what is not told."""
    import psutil  # as late as that: programs that only submit do without

    memory, busy, full = 0, 0.0, 0.0
    with suppress(OSError):
        busy = 100 * os.getloadavg()[0] / (os.cpu_count() or 1)
    with suppress(OSError, psutil.Error):
        memory, full = psutil.Process().memory_info().rss, psutil.virtual_memory().percent
    return memory, max(busy, full)
