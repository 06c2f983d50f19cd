"""Outcomes on their way to the store. Each is kept and sent again until it is confirmed as committed.

What ends while a flush is under way goes with the next one: no timers, so a lone outcome waits for nothing, and a
thousand cost one commit.
"""

import asyncio
from collections.abc import Awaitable, Callable

from rota.ports.desk import Settlement
from rota.ports.loops import Backoff
from rota.ports.runtime import Emit

BATCH = 1_000

Send = Callable[[list[Settlement]], Awaitable[object]]


class Outbox:
    """Collects settlements and sends them in batches, in the order they came."""

    def __init__(self, send: Send, emit: Emit | None) -> None:
        self._send = send
        self._backoff = Backoff("settle", emit)
        self._waiting: list[Settlement] = []
        self._under_way: list[Settlement] = []
        self._news = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._under_way)

    def put(self, settlement: Settlement) -> None:
        """Take one; returns at once."""
        self._waiting.append(settlement)
        self._empty.clear()
        self._news.set()

    def runs(self) -> set[str]:
        """Ids of runs whose outcome is not confirmed yet."""
        return {item.fence.run for item in (*self._waiting, *self._under_way)}

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                self._under_way, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                await self._flush()
            self._empty.set()

    async def empty(self) -> None:
        """Until everything is confirmed."""
        await self._empty.wait()

    async def _flush(self) -> None:
        while self._under_way:
            try:
                await self._send(self._under_way)
                self._under_way = []
                self._backoff.reset()
            except Exception as error:
                await self._backoff.failed(error)
