"""Hints between processes, by a channel. They may be lost, and are only listened to while somebody waits for any."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from secrets import token_hex

import msgspec
from redis.asyncio.connection import Connection

from rota.domain.errors import RotaError
from rota.stores.hub import ANYTHING, Hub
from rota.stores.redis.faults import DRIVER_ERRORS
from rota.stores.redis.link import Link

AGAIN_S = 1.0
CHECK_S = 15.0
"""How often to see whether the server is still there."""
_DECODE = msgspec.json.Decoder(dict[str, int]).decode


class Hints:
    """Tells the hub what other processes say, once `listen` was called."""

    def __init__(self, link: Link, hub: Hub) -> None:
        self.channel = f"{link.prefix}hints"
        self._link = link
        self._hub = hub
        self._name = token_hex(6)
        self._task: asyncio.Task[None] | None = None

    def message(self, hints: Mapping[str, int]) -> str:
        """What the others hear."""
        return f"{self._name} {msgspec.json.encode(hints).decode()}"

    def listen(self) -> None:
        """Begin to listen, once; on the loop of the connections."""
        if self._task is None:
            self._task = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Stop listening; harmless twice."""
        task, self._task = self._task, None
        while task and not task.done():
            # Again and again: where an answer comes at that moment, the driver's waiting forgets that it was cancelled.
            task.cancel()
            await asyncio.wait([task], timeout=0.1)

    async def _listen(self) -> None:
        while True:
            with suppress(*DRIVER_ERRORS, RotaError):
                await self._attend(await self._link.connected())
            await asyncio.sleep(AGAIN_S)

    async def _attend(self, connection: Connection) -> None:
        """Listen for as long as the connection lasts."""
        try:
            await connection.send_command("SUBSCRIBE", self.channel)
            silent = False
            while True:
                # The driver's own timeout would end a connection on which nobody happens to speak.
                heard = await connection.read_response(timeout=CHECK_S)
                if heard is None:
                    if silent:
                        return
                    await connection.send_command("PING")
                elif heard[0] == b"subscribe":
                    self._hub.tell({ANYTHING: 1})  # what was said meanwhile is lost
                elif heard[0] == b"message":
                    self._heard(heard[2])
                silent = heard is None
        finally:
            await connection.disconnect(nowait=True)

    def _heard(self, said: bytes) -> None:
        """One message; those of its own process were told already, and what is none of ours is left alone."""
        with suppress(ValueError):
            name, _, hints = said.decode().partition(" ")
            if name != self._name:
                self._hub.tell(_DECODE(hints))
