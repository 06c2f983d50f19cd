"""The event loop that a store's connections belong to. Other loops and threads hand their work over to it."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from rota.domain.errors import Unavailable

T = TypeVar("T")


class Home(ABC):
    """None at first; then the loop that was running when somebody moved in."""

    patience_s: float | None = None
    """How long `leave` waits for calls under way; None: until they have ended."""

    def __init__(self, place: str) -> None:
        self.place = place
        self._home: asyncio.AbstractEventLoop | None = None
        self._calls: set[asyncio.Future[None]] = set()
        """Those under way."""

    @abstractmethod
    async def disconnect(self) -> None:
        """Close all connections, which nobody uses any more."""

    def move_in(self) -> bool:
        """Take the running loop, if there is none that still is; whether it was taken."""
        if self._home is not None and not self._home.is_closed():
            return False
        self._home, self._calls = asyncio.get_running_loop(), set()
        return True

    async def at_home(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await `work` on the loop that the connections belong to."""

        async def call() -> T:
            if self._home is not asyncio.get_running_loop():
                raise Unavailable(f"{self.place} was closed meanwhile")
            calls, over = self._calls, self._home.create_future()
            calls.add(over)
            try:
                return await work()
            finally:
                calls.discard(over)
                over.set_result(None)

        return await self._there(call)

    async def leave(self, *steps: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Take these steps there in turn, let the calls under way end and disconnect, if anybody is at home."""

        async def left() -> None:
            for step in steps:
                await step()
            self._home = None
            if self._calls:
                await asyncio.wait(self._calls, timeout=self.patience_s)
            await self.disconnect()

        with suppress(Unavailable):  # never opened, or its loop is no more
            await self._there(left)

    def soon(self, work: Callable[[], None]) -> None:
        """Call `work` on that loop, if there is one; from any thread."""
        with suppress(RuntimeError):
            if self._home is not None:
                self._home.call_soon_threadsafe(work)

    async def _there(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        home = self._home
        if home is None or home.is_closed():
            raise Unavailable(f"{self.place} is not open; open the store before its use")
        if asyncio.get_running_loop() is home:
            return await work()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), home))
