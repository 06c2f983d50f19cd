"""A loop in the background, through which synchronous programs use what is written once, as async code."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from rota.domain.errors import RotaError
from rota.ports.loops import on_loop

P = ParamSpec("P")
T = TypeVar("T")


class Portal:
    """A thread with an event loop, begun at the first call. Safe to call from any thread but its own."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, in the child of a fork: no thread came along."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the background loop and wait for it; interrupting the wait cancels the work.

        Raises `RotaError` on a running loop, whichever it is: it would stand still meanwhile, perhaps for ever;
        `OSError` where the system has no more files for a loop.
        """
        if on_loop():
            work.close()
            raise RotaError("a synchronous call inside of an asynchronous one; await the method that begins with `a`")
        try:
            with self._guard:
                answer = asyncio.run_coroutine_threadsafe(work, self._started())
        except (OSError, RuntimeError):
            work.close()
            raise
        try:
            return answer.result()
        except BaseException:
            answer.cancel()
            raise

    def close(self) -> None:
        """End the loop and its thread; calls under way are cancelled. Harmless twice."""
        with self._guard:
            loop, over, thread = self._loop, self._over, self._thread
            self._loop = self._thread = None
        if loop and thread:
            loop.call_soon_threadsafe(over.set)
            thread.join()

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            loop = asyncio.new_event_loop()  # raises here, and not where nobody hears it
            self._over = asyncio.Event()
            self._thread = threading.Thread(target=_live, args=(loop, self._over), name="rota-portal", daemon=True)
            self._thread.start()
            self._loop = loop
        return self._loop


def _live(loop: asyncio.AbstractEventLoop, over: asyncio.Event) -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(over.wait())


def synchronous(method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[Any, P], T]:
    """The synchronous twin of an async method, of an object that has a `portal`."""

    @wraps(method)
    def twin(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        portal: Portal = self.portal
        return portal.call(method(self, *args, **kwargs))

    return twin
