"""Servers for tests: those that the environment names, else private ones for the session; skipped where neither is.

With CI set, a missing server fails.
"""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from tests.services.etcd import EtcdServer, Prefixes
from tests.services.pgbouncer import Pooler
from tests.services.postgresql import Databases, Missing, Server
from tests.services.rabbitmq import Corners, RabbitServer
from tests.services.redis import RedisServer, Spaces

T = TypeVar("T")


def needed(make: Callable[[], T]) -> T:
    """What is made, if it can be had here."""
    try:
        return make()
    except Missing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


@contextmanager
def served(variable: str, kind: Callable[[], Server | RedisServer | EtcdServer | RabbitServer]) -> Iterator[str]:
    """URL of a server: of the one that a variable names, else of one for as long as the block lasts."""
    if url := os.environ.get(variable):
        yield url
        return
    server = needed(kind)
    server.start()
    yield server.url
    server.remove()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Databases]:
    """A PostgreSQL server with databases to be had."""
    with served("ROTA_TEST_POSTGRESQL", Server) as url:
        databases = Databases(url)
        yield databases
        databases.close()


@pytest.fixture(scope="session")
def pgbouncer(postgresql: Databases) -> Iterator[Pooler]:
    """A pooler in transaction mode before that server."""
    pooler = needed(lambda: Pooler(postgresql.url))
    yield pooler
    pooler.remove()


@pytest.fixture
async def database(postgresql: Databases) -> AsyncIterator[str]:
    """URL of a database with empty tables, this test's own."""
    url = await postgresql.make()
    yield url
    await postgresql.take_back(url)


@pytest.fixture(scope="session")
def redis() -> Iterator[Spaces]:
    """A Redis server with places to be had."""
    with served("ROTA_TEST_REDIS", RedisServer) as url:
        yield Spaces(url)


@pytest.fixture
def space(redis: Spaces) -> Iterator[str]:
    """URL of an empty place on that server, this test's own."""
    url = redis.make()
    yield url
    redis.take_back(url)


@pytest.fixture(scope="session")
def etcd() -> Iterator[Prefixes]:
    """An etcd server with places to be had."""
    with served("ROTA_TEST_ETCD", EtcdServer) as url:
        yield Prefixes(url)


@pytest.fixture
def prefix(etcd: Prefixes) -> Iterator[str]:
    """URL of an empty place on that server, this test's own."""
    url = etcd.make()
    yield url
    etcd.take_back(url)


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[Corners]:
    """A RabbitMQ server with places to be had."""
    with served("ROTA_TEST_RABBITMQ", RabbitServer) as url:
        yield Corners(url)
