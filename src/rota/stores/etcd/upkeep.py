"""What keeps a cluster small: old revisions are forgotten, counters put together, a full disk given room.

Each write leaves the former one behind until somebody compacts. Whoever leads does, as often as it renews its term.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import groupby
from time import monotonic, time_ns

from rota.domain.errors import RotaError
from rota.stores.etcd.client.words import Range
from rota.stores.etcd.commit import gathered
from rota.stores.etcd.keys import behind, rising
from rota.stores.etcd.link import Link

EVERY_S = 30.0
"""How often to compact, and how old what is forgotten is at least."""
SETTLED_MS = 5_000
"""Parts of counters that are younger are left alone."""
BACK_MS = 900_000
"""How far back minutes are looked at, each time but the first."""
PARTS = 5_000
"""Parts of counters that are read at once."""
WORTH = 0.8
"""Share of its file that a member must use less of, that giving the rest back is worth the standstill."""


class Upkeep:
    """At most one round at a time, in the background. What fails is tried again with the next one."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._task: asyncio.Task[None] | None = None
        self._next = monotonic() + EVERY_S
        self._revision = 0
        self._from = 0

    def tick(self) -> None:
        """Begin a round, if it is time."""
        if monotonic() >= self._next and (self._task is None or self._task.done()):
            self._next = monotonic() + EVERY_S
            self._task = asyncio.create_task(_tried(self.gather, self.compact))

    def relieve(self) -> None:
        """Do so at once where the cluster may be full, since then nobody can renew a term."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(_tried(self.make_room))

    async def close(self) -> None:
        """Stop; harmless twice."""
        task, self._task = self._task, None
        if task:
            task.cancel()
            await asyncio.wait([task])

    async def compact(self) -> None:
        """Forget what was before the last call."""
        former, self._revision = self._revision, await self._now()
        if former:
            await self._link.client.compact(former)

    async def gather(self) -> None:
        """Put the parts of each counter together, except for the newest."""
        link, now = self._link, time_ns() // 1_000_000
        start, end = link.key(f"tally/{rising(self._from)}"), link.key(f"tally/{rising(now + BACK_MS)}")
        while True:
            (found,) = await link.ask([Range(start, end, PARTS)])
            cells = [
                (key, list(items))
                for key, items in groupby(found.items, lambda item: item.key.rpartition(b"/")[0] + b"/")
            ]
            # Only what was read may be replaced: parts behind it may be older than these, by other clocks.
            stop = found.items[-1].key + b"\0" if found.more else end
            asked = [gathered(key, items, min(key + rising(now - SETTLED_MS).encode(), stop)) for key, items in cells]
            some = [one for one in asked if one]
            sent = await link.send(some) if some else []
            if not found.more:
                break
            last = cells[-1][0]
            # The rest of a counter goes with what was put together so far, which would be overwritten otherwise.
            start = last if len(cells) > 1 or (sent and sent[0].done.succeeded) else behind(last)
        self._from = now - BACK_MS

    async def make_room(self) -> bool:
        """If an alarm says that there is none left: forget all that is over, give it back, and try again."""
        client = self._link.client
        if not any(alarm.kind == "NOSPACE" for alarm in await client.alarms()):
            return False
        await client.compact(await self._now())
        for number in range(len(client.endpoints)):
            with suppress(RotaError):  # a member that is down, or refuses, must not keep the others full
                status = await client.status(number)
                if status.in_use < WORTH * status.size:
                    await client.defragment(number)
        await client.disarm()
        return True

    async def _now(self) -> int:
        return (await self._link.client.range(Range(self._link.key("format"), count_only=True))).revision


async def _tried(*steps: Callable[[], Awaitable[object]]) -> None:
    for step in steps:
        with suppress(RotaError):
            await step()
