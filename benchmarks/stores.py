"""A store for each measurement: empty, and gone afterwards."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from redis import Redis

from tests.services.postgresql import Server, do
from tests.services.rabbitmq import RabbitServer
from tests.services.redis import RedisServer


class Place(NamedTuple):
    """Rota's store, and the broker its workers are behind, if any: then that is all that a peer gets."""

    store: str
    by: str = ""


Fresh = Callable[[], AbstractContextManager[Place]]
"""Gives an empty place for as long as a block lasts."""

DATABASE = "measured"


@contextmanager
def postgresql() -> Iterator[Fresh]:
    """A private server as it comes, with fsync, for as long as the block lasts."""
    server = Server(settings=())
    try:
        server.start()
        yield lambda: _database(server)
    finally:
        server.remove()


@contextmanager
def redis() -> Iterator[Fresh]:
    """A private server that writes nothing to the disk, which is quickest for all, for as long as the block lasts."""
    server = RedisServer()
    try:
        server.start()
        yield lambda: _emptied(server)
    finally:
        server.remove()


@contextmanager
def rabbitmq() -> Iterator[Fresh]:
    """A private server as it comes, and one of PostgreSQL, for as long as the block lasts."""
    server = RabbitServer()
    try:
        server.start()
        with postgresql() as fresh:
            yield lambda: _behind(server, fresh)
    finally:
        server.remove()


@contextmanager
def _behind(server: RabbitServer, fresh: Fresh) -> Iterator[Place]:
    with fresh() as place:
        yield Place(place.store, server.url)
    server.wipe()


@contextmanager
def _emptied(server: RedisServer) -> Iterator[Place]:
    yield Place(server.url)
    with Redis.from_url(server.url) as connection:
        connection.flushall()


@contextmanager
def sqlite() -> Iterator[Fresh]:
    """Files in temporary folders."""
    yield _file


@contextmanager
def _database(server: Server) -> Iterator[Place]:
    # What the one before has written is on the disk before the next one begins.
    asyncio.run(do(server.url, f"CREATE DATABASE {DATABASE}", "CHECKPOINT"))
    yield Place(server.of(DATABASE))
    asyncio.run(do(server.url, f"DROP DATABASE {DATABASE} WITH (FORCE)"))


@contextmanager
def _file() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="rota-peers-") as folder:
        yield Place(f"sqlite:///{Path(folder) / 'measured.db'}")


STORES = {"postgresql": postgresql, "redis": redis, "rabbitmq": rabbitmq, "sqlite": sqlite}
