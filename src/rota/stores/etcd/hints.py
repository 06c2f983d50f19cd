"""Hints between processes, by one key that each commit with hints writes. They are only listened to for who waits."""

import asyncio
from collections.abc import Mapping

from rota.stores.etcd.client import Put, Range
from rota.stores.etcd.keys import WAKE
from rota.stores.etcd.link import Link
from rota.stores.hub import ANYTHING, Hub
from rota.stores.listener import Listener

REST_S = 0.05


class Hints(Listener):
    """Tells the hub what other processes say."""

    def __init__(self, link: Link, hub: Hub) -> None:
        super().__init__(hub.tell)
        self._link = link

    def message(self, hints: Mapping[str, int]) -> Put | None:
        """What the others hear."""
        return Put(self._link.key(WAKE), self.said(hints).encode()) if hints else None

    async def close(self) -> None:
        if self._task:
            await super().close()
            # The driver hears a little later that a stream has ended, and complains if this loop is closed by then.
            await asyncio.sleep(REST_S)

    async def attend(self) -> None:
        key = self._link.key(WAKE)
        since = (await self._link.client.range(Range(key))).revision + 1
        self._tell({ANYTHING: 1})  # what was said before is lost
        async for events in self._link.client.watch(key, since=since):
            for event in events:
                if event.kind == "gap":
                    self._tell({ANYTHING: 1})
                elif event.kind == "put":
                    self.heard(event.found.value)
