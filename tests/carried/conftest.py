import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from rota.transports import connect
from tests.carried.support import Behind
from tests.services.fixtures import needed
from tests.services.rabbitmq import RabbitServer
from tests.services.redis import RedisServer
from tests.unit.engine.support import House, opened


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with opened() as house:
        yield house


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Any:
    """URL of an empty place at a broker."""
    if request.param == "redis":
        return request.getfixturevalue("space")
    return request.getfixturevalue("rabbitmq").make()


@dataclass
class Broker:
    """A broker of one's own, to be ended and begun again."""

    kind: str
    made: RedisServer | RabbitServer

    @property
    def url(self) -> str:
        return self.made.url

    def stop(self) -> None:
        self.made.stop(signal.SIGKILL)

    def start(self) -> None:
        self.made.start()


@pytest.fixture(params=[("redis", RedisServer), ("rabbitmq", RabbitServer)], ids=lambda one: one[0])
def server(request: pytest.FixtureRequest) -> Iterator[Broker]:
    kind, make = request.param
    broker = Broker(kind, needed(make))
    broker.start()
    yield broker
    broker.made.remove()


@pytest.fixture
async def at(house: House, broker: str) -> AsyncIterator[Behind]:
    await house.task()
    async with AsyncExitStack() as stack:
        yield await Behind(house, broker, connect, stack).started()
