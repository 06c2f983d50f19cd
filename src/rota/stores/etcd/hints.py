"""Hints between processes, by one key that each commit with hints writes. They are only listened to for who waits."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from secrets import token_hex

import msgspec

from rota.domain.errors import RotaError
from rota.stores.etcd.client import Put, Range
from rota.stores.etcd.keys import WAKE
from rota.stores.etcd.link import Link
from rota.stores.hub import ANYTHING, Hub

AGAIN_S = 1.0
REST_S = 0.05
_DECODE = msgspec.json.Decoder(dict[str, int]).decode


class Hints:
    """Tells the hub what other processes say, once `listen` was called."""

    def __init__(self, link: Link, hub: Hub) -> None:
        self._link = link
        self._hub = hub
        self._name = token_hex(6).encode()
        self._task: asyncio.Task[None] | None = None

    def message(self, hints: Mapping[str, int]) -> Put | None:
        """What the others hear."""
        return Put(self._link.key(WAKE), self._name + b" " + msgspec.json.encode(hints)) if hints else None

    def listen(self) -> None:
        """Begin to listen, once; on the loop of the connections."""
        if self._task is None:
            self._task = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Stop listening; harmless twice."""
        task, self._task = self._task, None
        if task:
            task.cancel()
            await asyncio.wait([task])
            # The driver hears a little later that a stream has ended, and complains if this loop is closed by then.
            await asyncio.sleep(REST_S)

    async def _listen(self) -> None:
        while True:
            with suppress(RotaError):
                await self._attend()
            await asyncio.sleep(AGAIN_S)

    async def _attend(self) -> None:
        key = self._link.key(WAKE)
        since = (await self._link.client.range(Range(key))).revision + 1
        self._hub.tell({ANYTHING: 1})  # what was said before is lost
        async for events in self._link.client.watch(key, since=since):
            for event in events:
                if event.kind == "gap":
                    self._hub.tell({ANYTHING: 1})
                elif event.kind == "put":
                    self._heard(event.found.value)

    def _heard(self, said: bytes) -> None:
        """One message; those of its own process were told already, and what is none of ours is left alone."""
        with suppress(ValueError):
            name, _, hints = said.partition(b" ")
            if name != self._name:
                self._hub.tell(_DECODE(hints))
