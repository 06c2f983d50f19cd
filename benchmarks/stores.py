"""A store for each measurement: empty, and gone afterwards."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from redis import Redis

from tests.services.postgresql import Server, do
from tests.services.redis import RedisServer

Fresh = Callable[[], AbstractContextManager[str]]
"""Gives the URL of an empty store for as long as a block lasts."""

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
def _emptied(server: RedisServer) -> Iterator[str]:
    yield server.url
    with Redis.from_url(server.url) as connection:
        connection.flushall()


@contextmanager
def sqlite() -> Iterator[Fresh]:
    """Files in temporary folders."""
    yield _file


@contextmanager
def _database(server: Server) -> Iterator[str]:
    # What the one before has written is on the disk before the next one begins.
    asyncio.run(do(server.url, f"CREATE DATABASE {DATABASE}", "CHECKPOINT"))
    yield server.of(DATABASE)
    asyncio.run(do(server.url, f"DROP DATABASE {DATABASE} WITH (FORCE)"))


@contextmanager
def _file() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="rota-peers-") as folder:
        yield f"sqlite:///{Path(folder) / 'measured.db'}"


STORES = {"postgresql": postgresql, "redis": redis, "sqlite": sqlite}
