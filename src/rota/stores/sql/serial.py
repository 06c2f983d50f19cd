"""A thread that does what it is told, one thing after another."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar
from weakref import finalize

T = TypeVar("T")

Queue = SimpleQueue[Callable[[], object] | None]


class SerialThread:
    """As an executor of one thread with less around it: a run that is submitted changes threads twice until it starts,
    and each change takes half the time. It ends at `close`, or with the last reference to it.
    """

    def __init__(self, name: str) -> None:
        queue: Queue = SimpleQueue()
        self._put, self._lock = queue.put, Lock()
        self._end = finalize(self, queue.put, None)
        Thread(target=_work, args=(queue,), name=name, daemon=True).start()

    def put(self, work: Callable[[], object]) -> None:
        """Have it done; nobody learns how it ends. Raises `RuntimeError` after `close`."""
        with self._lock:
            if not self._end.alive:
                raise RuntimeError("it is closed")
            self._put(work)

    def ask(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """What `work` returns or raises; it is not begun any more once that is cancelled. Raises as `put`."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def told() -> None:
            if answer.cancelled():
                return
            give: tuple[Callable[[Any], None], object]
            try:
                give = answer.set_result, work()
            except BaseException as error:
                give = answer.set_exception, error
            loop.call_soon_threadsafe(_give, answer, *give)

        self.put(told)
        return answer

    def close(self) -> None:
        """Take nothing more; what it was told before is done."""
        with self._lock:
            self._end()


def _work(queue: Queue) -> None:
    while work := queue.get():
        with suppress(Exception):  # of what was put, or of a loop that was closed before its answer came
            work()
        work = None  # or what it holds would live until the next


def _give(answer: asyncio.Future[Any], give: Callable[[Any], None], value: object) -> None:
    if not answer.done():
        give(value)
