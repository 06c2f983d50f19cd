"""Desks behind a broker: the schedulers that serve them over one house, and the workers that ask through it."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

from rota.api.carried import CarriedDesk
from rota.api.door import Door
from rota.api.waiting import Waiting
from rota.domain.access import Grant
from rota.domain.people import Kind, Token
from rota.identity import Identity
from rota.ports.carrier import Carrier
from rota.ports.runtime import Clock
from rota.worker.carried import Post, carried
from rota.worker.remote import DeskClock, RemoteDesk
from tests.identity.support import NO_RATES, ROOT, SECRET
from tests.unit.engine.support import House


class Quiet(CarriedDesk):
    """Without a canary: no session but those of workers."""

    async def _sing(self, _: Carrier) -> None:
        await asyncio.Event().wait()


def door(house: House) -> Door:
    return Door(house.engine, Identity(SECRET), NO_RATES)


class Node:
    """One scheduler behind the broker, and whoever waits there."""

    def __init__(self, behind: "Behind") -> None:
        self._behind = behind
        self.engine = behind.house.another()
        self.door = Door(self.engine, Identity(SECRET), NO_RATES)
        self.desk = Quiet(self.engine, self.door, behind.connect, "redis")
        self._served: AbstractAsyncContextManager[None] | None = None
        self.waiting: Waiting = self.desk._desk.waiting

    async def start(self) -> None:
        """Serve until `stop`."""
        self._served = self.desk.served()
        await self._served.__aenter__()

    async def stop(self) -> None:
        """As SIGTERM does. Harmless twice."""
        served, self._served = self._served, None
        if served:
            await served.__aexit__(None, None, None)

    async def until(self, waiting: int, resting: int = 0) -> None:
        """Until so many wait for work, and so many for news."""
        async with asyncio.timeout(20):
            while (len(self._asked()), len(self.waiting._resting)) != (waiting, resting):
                await asyncio.to_thread(bool)  # the loop goes on meanwhile

    def _asked(self) -> list[Any]:
        return [one for one in self.waiting._waiters.values() if one.asked_at is not None and not one.asking]


class Behind:
    """What `tests.remote.support.Site` is, behind a broker."""

    def __init__(self, house: House, broker: str, connect: Callable[[str], Carrier], stack: AsyncExitStack) -> None:
        self.house = house
        self.connect = lambda: connect(broker)
        self._stack = stack
        self.node = Node(self)

    async def started(self) -> "Behind":
        await self.node.start()
        self._stack.push_async_callback(self.node.stop)
        return self

    async def key(self, *queues: str) -> str:
        """A worker's key, for these queues or for all of `main`."""
        grants = [Grant("worker", queue=queue) for queue in queues] or [Grant("worker")]
        return (await self.node.door.mint(Token("", Kind.KEY, "w", grants=tuple(grants)), ROOT))[1]

    def post(self, key: str, own: Clock | None = None) -> tuple[Post, DeskClock]:
        """A post that is not yet open, of a worker with a clock of its own or the house's."""
        clock = DeskClock(own or self.house.clock)
        return Post(self.connect(), "the broker", key, clock, self.house.engine.emit), clock

    async def desk(self, key: str = "") -> RemoteDesk:
        return await self._stack.enter_async_context(carried(*self.post(key or await self.key())))
