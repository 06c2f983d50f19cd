"""The one way a background loop goes on after an error: tell it, back off, try again. And coroutines without a loop."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from rota.domain.facts import Trouble
from rota.ports.runtime import Emit

T = TypeVar("T")

FIRST_S, LAST_S = 0.05, 3.0


class Backoff:
    """Waits longer after each failure in a row."""

    def __init__(self, where: str, emit: Emit | None, last_s: float = LAST_S) -> None:
        self._where = where
        self._emit = emit
        self._wait = FIRST_S
        self._last = last_s

    def reset(self) -> None:
        """It works again."""
        self._wait = FIRST_S

    async def failed(self, error: Exception) -> None:
        """Tell of the error and wait."""
        if self._emit:
            self._emit(Trouble(self._where, error))
        await asyncio.sleep(self._wait)
        self._wait = min(self._wait * 2, self._last)


async def keep(where: str, step: Callable[[], Awaitable[None]], emit: Emit | None) -> None:
    """Repeat `step` until cancelled, whatever errors it meets."""
    backoff = Backoff(where, emit)
    while True:
        try:
            await step()
            backoff.reset()
        except Exception as error:
            task = asyncio.current_task()
            if task and task.cancelling():
                raise  # it failed at letting go
            await backoff.failed(error)


async def end(*tasks: asyncio.Task[None] | None) -> None:
    """Cancel background tasks and wait until they are gone, however they end."""
    going = [task for task in tasks if task]
    for task in going:
        task.cancel()
    if going:
        await asyncio.wait(going)


async def wait_for_event(event: asyncio.Event, seconds: float) -> None:
    """Until the event is set, or so many seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def on_loop() -> bool:
    """Whether this thread runs a loop just now."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that waits for nothing, here and without a loop."""
    try:
        work.send(None)
    except StopIteration as done:
        found: T = done.value
        return found
    work.close()
    raise RuntimeError(f"{work!r} waits for something")
