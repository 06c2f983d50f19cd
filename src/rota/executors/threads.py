"""Threads for work that blocks: as many as there is work, reused, and never in the way of the program's end."""

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class Threads(Generic[T]):
    """Daemon threads. The standard pool has a fixed size and is joined at exit; one stuck task would hold up both."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin without a thread, as in the child of a fork, where there is none."""
        self._jobs: SimpleQueue[tuple[Callable[[], T], Future[T]] | None] = SimpleQueue()
        self._idle = Semaphore(0)
        self._count = 0

    def start(self, work: Callable[[], T]) -> Future[T]:
        """Do `work`, which must not raise, in a thread. What was started cannot be cancelled."""
        ended: Future[T] = Future()
        ended.set_running_or_notify_cancel()
        if not self._idle.acquire(blocking=False):
            self._count += 1
            Thread(target=self._work, name=f"rota-task-{self._count}", daemon=True).start()
        self._jobs.put((work, ended))
        return ended

    def close(self) -> None:
        """Let idle threads end. It can be used again."""
        while self._idle.acquire(blocking=False):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, ended = job
            value = work()
            # Idle before telling, so that who hears of it and starts the next work finds this thread.
            self._idle.release()
            ended.set_result(value)
            del job, work, ended, value
