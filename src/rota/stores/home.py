"""The event loop that a store's connections belong to. Other loops and threads hand their work over to it."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from rota.domain.errors import Unavailable

T = TypeVar("T")


class Home:
    """None at first; then the loop that was running when somebody moved in."""

    def __init__(self, place: str) -> None:
        self.place = place
        self._home: asyncio.AbstractEventLoop | None = None

    def move_in(self) -> bool:
        """Take the running loop, if there is none that still is; whether it was taken."""
        if self._home is not None and not self._home.is_closed():
            return False
        self._home = asyncio.get_running_loop()
        return True

    async def at_home(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await `work` on the loop that the connections belong to."""
        home = self._home
        if home is None or home.is_closed():
            raise Unavailable(f"{self.place} is not open; open the store before its use")
        if asyncio.get_running_loop() is home:
            return await work()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), home))

    def soon(self, work: Callable[[], None]) -> None:
        """Call `work` on that loop, if there is one; from any thread."""
        with suppress(RuntimeError):
            if self._home is not None:
                self._home.call_soon_threadsafe(work)
