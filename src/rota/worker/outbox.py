"""Outcomes on their way to the store. Each is kept and sent again until it is confirmed as committed.

What ends while a flush is under way goes with the next one: no timers, so a lone outcome waits for nothing, and a
thousand cost one commit.
"""

import asyncio
from collections.abc import Awaitable, Callable

from rota.domain.errors import Invalid, Unavailable, Unclear
from rota.domain.run import End, Fence, Outcome, Reason
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
        self._size = BATCH
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

    def fences(self) -> set[Fence]:
        """Attempts whose outcome is not confirmed yet."""
        return {item.fence for item in (*self._waiting, *self._under_way)}

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                self._under_way, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
                await self._flush()
            self._empty.set()

    async def empty(self) -> None:
        """Until everything is confirmed."""
        await self._empty.wait()

    async def _flush(self) -> None:
        try:
            await self._send(self._under_way)
            self._under_way, self._size = [], BATCH
            self._backoff.reset()
        except Exception as error:
            self._take_back(error)
            await self._backoff.failed(error)

    def _take_back(self, error: Exception) -> None:
        """All go again, in their order. One that makes its batch fail is found by halves, and lets the others pass."""
        back, self._under_way = self._under_way, []
        if isinstance(error, Unavailable | Unclear):
            self._waiting = back + self._waiting
        elif len(back) > 1:
            self._size = len(back) // 2
            self._waiting = back + self._waiting
        else:
            self._waiting += [_unstorable(one, error) for one in back] if isinstance(error, Invalid) else back


def _unstorable(one: Settlement, error: Invalid) -> Settlement:
    """What is refused as it is would be so for ever, and its run never end: it ends as failed, saying why."""
    outcome = Outcome(End.FAILURE, reason=Reason.UNSTORABLE, error=str(error), final=True)
    return one._replace(outcome=outcome._replace(started_at=one.outcome.started_at))
