"""The canary beats by what has gone through the broker, and is silent with it."""

import asyncio
from collections.abc import Awaitable, Callable

from rota.api.carried import CarriedDesk
from rota.domain.facts import Trouble
from rota.domain.records import Pulse, Session
from rota.engine.sessions import leave
from rota.transports import connect
from tests.carried.conftest import Broker
from tests.carried.support import door
from tests.unit.engine.support import House


async def birds(house: House) -> dict[str, int]:
    """Canaries whose sessions are open, and how often each has beaten."""
    ids = [one.id for one in await house.all(Session) if one.open and one.worker.startswith("desk@")]
    pulses = await house.store.get(Pulse, ids)
    return {name: pulse.record.count if pulse else 0 for name, pulse in zip(ids, pulses, strict=True)}


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(40):
        while not await true():
            await asyncio.to_thread(bool)  # the loop goes on meanwhile


async def next_beat(house: House) -> str:
    """Whose it is."""
    before = await birds(house)
    heard: list[str] = []

    async def beaten() -> bool:
        heard[:] = [name for name, count in (await birds(house)).items() if count > before.get(name, 0)]
        return bool(heard)

    await until(beaten)
    return heard[0]


async def test_it_sings_while_the_broker_lives(house: House, server: Broker):
    desk = CarriedDesk(house.engine, door(house), lambda: connect(server.url), server.kind)
    async with desk.served():
        first = await next_beat(house)
        record = await house.get(Session, first)
        assert (record.carrier, record.takes_runs) == (server.kind, False)
        await leave(house.engine, first, "lapsed")
        assert await next_beat(house) != first
        server.stop()

        def troubles() -> int:
            return sum(one.where == "canary" for one in house.facts.of(Trouble))

        async def failed() -> bool:
            return troubles() > 0

        async def failed_again() -> bool:
            return troubles() > 2

        await until(failed)
        silent = await birds(house)
        await until(failed_again)
        assert await birds(house) == silent
        server.start()
        assert await next_beat(house)
    assert await birds(house) == {}
