"""What the tests of the etcd client share."""

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from rota.domain.errors import Unavailable, Unclear
from rota.stores.etcd.address import read_url
from rota.stores.etcd.client.client import Client
from rota.stores.etcd.client.words import Compare, Put, Range, Txn


@asynccontextmanager
async def reached(url: str) -> AsyncIterator[Client]:
    """A client of this server, open as long as the block lasts."""
    client = Client(read_url(url))
    await client.open()
    try:
        yield client
    finally:
        await client.close()


def new(key: bytes, value: bytes = b"") -> Txn:
    """Make a key that is not there yet."""
    return Txn((Compare(key, "created", "=", 0),), (Put(key, value),))


async def held(client: Client, start: bytes = b"k/", end: bytes = b"k0") -> dict[bytes, int]:
    """Keys of a range, and the revisions that wrote them."""
    return {one.key: one.modified for one in (await client.range(Range(start, end))).items}


async def answers(client: Client) -> bool:
    """Whether a question is answered now."""
    try:
        return bool(await client.range(Range(b"k/")))
    except Unavailable:
        return False


async def back(client: Client) -> None:
    """Once it answers again."""
    async with asyncio.timeout(15):
        while not await answers(client):
            pass


class Writer:
    """Makes keys in a row, and remembers which were acknowledged; one that is unclear it leaves alone."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.made: dict[bytes, int] = {}
        self.unclear: set[bytes] = set()
        self._number = 0
        self._enough = asyncio.Event()
        self._task = asyncio.create_task(self._write())

    async def more(self, count: int) -> None:
        """Until this many more were acknowledged."""
        wanted = len(self.made) + count
        async with asyncio.timeout(30):
            while len(self.made) < wanted:
                assert not self._task.done()
                await answers(self._client)

    async def check(self) -> None:
        """Stop. What was acknowledged is there, once, and what is there besides was unclear."""
        self._enough.set()
        await self._task
        there = await held(self._client)
        assert self.made.items() <= there.items()
        assert there.keys() - self.made.keys() <= self.unclear

    async def _write(self) -> None:
        while not self._enough.is_set():
            self._number += 1
            key = b"k/%06d" % self._number
            try:
                self.made[key] = (await self._client.txn(new(key))).revision
            except Unclear:
                self.unclear.add(key)
            except Unavailable:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._enough.wait(), 0.05)


def leader(healths: list[int]) -> int:
    """Which of the members leads, by what they say at these ports."""
    for number, port in enumerate(healths):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            if b"etcd_server_is_leader 1" in answer.read():
                return number
    raise AssertionError(json.dumps(healths))
