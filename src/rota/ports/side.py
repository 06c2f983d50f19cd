"""A life beside the main loop: beats and terms run in a thread and loop of their own.

User code that blocks the main loop then costs neither a session nor a term; and that the loop is blocked is noticed.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from rota.ports.runtime import Clock


class Side:
    """Runs one coroutine function beside the loop that starts it, or, in simulation, on it."""

    def __init__(self, name: str, life: Callable[[], Coroutine[Any, Any, None]], clock: Clock) -> None:
        self._name = name
        self._life = life
        self._clock = clock
        self._main: asyncio.AbstractEventLoop | None = None
        self._own: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        self._gone = asyncio.Event()
        self._stopping = False
        self._asked_at: int | None = None

    async def start(self, thread: bool) -> None:
        """Begin; with `thread` in a thread of its own."""
        self._main = asyncio.get_running_loop()
        if thread:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        else:
            self._task = asyncio.create_task(self._life(), name=self._name)

    async def stop(self) -> None:
        """End it and wait until it is gone; harmless twice."""
        self._stopping = True
        if self._thread:
            if self._own and self._task:
                with suppress(RuntimeError):  # it may have ended by itself
                    self._own.call_soon_threadsafe(self._task.cancel)
            await self._gone.wait()
            self._thread.join()
        elif self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread = self._task = None

    def tell(self, heard: Callable[..., None], *args: Any) -> None:
        """Call `heard` on the main loop; dropped once this side is stopped. With the main loop gone, this side ends."""
        if self._main and self._main.is_closed():
            if self._task:
                self._task.cancel()
        elif self._main:
            if self._asked_at is None:
                self._asked_at = self._clock.monotonic()
            self._main.call_soon_threadsafe(self._hear, heard, args)

    @property
    def stalled_ms(self) -> int:
        """How long the main loop has left the oldest call unheard."""
        asked_at = self._asked_at
        return 0 if asked_at is None else self._clock.monotonic() - asked_at

    def culprit(self) -> str:
        """What holds the main loop now; attempts are named after their run."""
        running = asyncio.current_task(self._main) if self._main else None
        return running.get_name() if running else "a callback"

    def _hear(self, heard: Callable[..., None], args: tuple[Any, ...]) -> None:
        self._asked_at = None
        if not self._stopping:
            heard(*args)

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                self._own = runner.get_loop()
                self._task = self._own.create_task(self._life())
                if self._stopping:
                    self._task.cancel()
                self._own.run_until_complete(asyncio.gather(self._task, return_exceptions=True))
        finally:
            with suppress(RuntimeError):  # the main loop was closed without a stop
                if self._main:
                    self._main.call_soon_threadsafe(self._gone.set)
