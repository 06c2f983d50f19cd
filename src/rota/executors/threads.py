"""Threads for synchronous code: as many as there is work, reused, and never in the way of the program's end."""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import TypeVar

T = TypeVar("T")


class Threads:
    """Daemon threads. The standard pool has a fixed size and is joined at exit; one stuck task would hold up both."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[Callable[[], None]], None] | None] = SimpleQueue()
        self._idle = Semaphore(0)
        self._count = 0

    def start(self, work: Callable[[], T], told: Callable[[T], None]) -> None:
        """Do `work` in a thread, then tell its value there. `work` must not raise."""

        def job(free: Callable[[], None]) -> None:
            value = work()
            # Free before telling, so that who hears of it and starts the next work finds this thread idle.
            free()
            told(value)

        if not self._idle.acquire(blocking=False):
            self._count += 1
            Thread(target=self._work, name=f"rota-task-{self._count}", daemon=True).start()
        self._jobs.put(job)

    def close(self) -> None:
        """Let idle threads end, and busy ones as soon as they are done."""
        for _ in range(self._count):
            self._jobs.put(None)
        self._count = 0

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job(self._idle.release)
            del job
