"""What a worker says of itself: what it did, and what it takes of its machine."""

import os
import resource
import sys
import time
from collections.abc import Sized
from pathlib import Path

from rota.domain.records import Load
from rota.domain.run import End

_PAGES, _MEMORY = Path("/proc/self/statm"), Path("/proc/meminfo")


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
        return Load(total, *ended, cpu, memory_mb(), busy_percent())


def memory_mb() -> int:
    """MiB that this process has in memory; where that cannot be asked, the most it ever had."""
    try:
        return int(_PAGES.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> (20 if sys.platform == "darwin" else 10)


def busy_percent() -> int:
    """How busy this machine is: by what wants its processors, or by its memory where that can be asked."""
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    try:
        said = dict(line.split(":", 1) for line in _MEMORY.read_text().splitlines())
        left = int(said["MemAvailable"].split()[0]) / int(said["MemTotal"].split()[0])
    except (OSError, KeyError, ValueError):
        left = 1.0
    return min(round(100 * max(busy, 1 - left)), 100)
