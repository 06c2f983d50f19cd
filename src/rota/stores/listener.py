"""Hints of other processes, however they come: heard in the background, and never ones of this process."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from secrets import token_hex

import msgspec

from rota.domain.errors import RotaError

AGAIN_S = 1.0
"""Between two tries to listen."""
_DECODE = msgspec.json.Decoder(dict[str, int]).decode


class Listener(ABC):
    """Tells what others say, once `listen` was called. Hints may be lost or late: every loop also looks by itself."""

    errors: tuple[type[BaseException], ...] = ()
    """What `attend` may raise besides errors of Rota's."""

    def __init__(self, tell: Callable[[Mapping[str, int]], None]) -> None:
        self._tell = tell
        self._name = token_hex(6)
        self._task: asyncio.Task[None] | None = None

    def said(self, hints: Mapping[str, int]) -> str:
        """What the others hear: who says it, and JSON."""
        return f"{self._name} {msgspec.json.encode(hints).decode()}"

    def heard(self, said: bytes) -> None:
        """One message; those of its own process were told already, and what is none of ours is left alone."""
        with suppress(ValueError):
            name, _, hints = said.decode().partition(" ")
            found = _DECODE(hints)
            if name != self._name:
                self._tell(found)

    def listen(self) -> None:
        """Begin to listen, once; on the loop of the connections."""
        if self._task is None:
            self._task = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Stop listening; harmless twice."""
        task, self._task = self._task, None
        while task and not task.done():
            # Again and again: where an answer comes at that moment, a driver's waiting forgets that it was cancelled.
            task.cancel()
            await asyncio.wait([task], timeout=0.1)

    @abstractmethod
    async def attend(self) -> None:
        """Listen for as long as a connection lasts."""

    async def _listen(self) -> None:
        while True:
            with suppress(RotaError, *self.errors):
                await self.attend()
            await asyncio.sleep(AGAIN_S)
