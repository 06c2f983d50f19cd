"""What a worker says of itself, for people: what it did, and what it takes of its machine."""

import os
import resource
import time
from pathlib import Path

from rota.domain.records import Load
from rota.domain.run import End

_PAGES = Path("/proc/self/statm")


class Counted:
    """Counts attempts, and measures this process from one question to the next."""

    def __init__(self) -> None:
        self.total = 0
        """Attempts that began."""
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
        return Load(self.total, self._ends[End.SUCCESS], self._ends[End.FAILURE], cpu, memory_mb())


def memory_mb() -> int:
    """MiB that this process has in memory; where that cannot be asked, the most it ever had."""
    try:
        return int(_PAGES.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 20
