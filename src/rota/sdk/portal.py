"""A loop in the background, through which synchronous programs use what is written once, as async code."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Portal:
    """A thread with an event loop, begun at the first call. Safe to call from any thread but its own."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the background loop and wait for it; interrupting the wait cancels the work."""
        answer = asyncio.run_coroutine_threadsafe(work, self._started())
        try:
            return answer.result()
        except BaseException:
            answer.cancel()
            raise

    def close(self) -> None:
        """End the loop and its thread; harmless twice."""
        with self._guard:
            if self._loop and self._thread:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join()
            self._loop = self._thread = None

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._guard:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._run, args=(self._loop,), name="rota-portal", daemon=True)
                self._thread.start()
            return self._loop

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.run_forever()
        finally:
            loop.close()


class HasPortal(Protocol):
    """Whatever offers both colours."""

    @property
    def portal(self) -> Portal:
        """Where its synchronous calls run."""
        ...


H = TypeVar("H", bound=HasPortal)


def synchronous(
    method: Callable[Concatenate[H, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[H, P], T]:
    """The synchronous twin of an async method."""

    @wraps(method)
    def twin(self: H, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.portal.call(method(self, *args, **kwargs))

    return twin
