"""Hints between processes, by one key that each commit with hints writes. They are only listened to for who waits."""

import asyncio
from collections.abc import Mapping

from rota.stores.etcd.client.words import Put, Range
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
        client, key = self._link.client, self._link.key(WAKE)
        # This renews a token that has expired, too: a watch would only be refused.
        since = (await client.range(Range(key))).revision + 1
        self._tell({ANYTHING: 1})  # what was said before is lost
        async for said in client.watch(key, since):
            self.heard(said)
