"""PgQueuer on PostgreSQL. Its number is the batch size; its default of 10 drains half as fast."""

import asyncio
import signal

import asyncpg
import uvloop
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries

from benchmarks.body import count, stamp

BULK = 1_000


def prepare(url: str) -> None:
    """Make its tables."""

    async def install() -> None:
        connection = await asyncpg.connect(url)
        await Queries(AsyncpgDriver(connection)).install()
        await connection.close()

    uvloop.run(install())


def work(url: str, number: int) -> None:
    """Perform tasks until SIGTERM."""

    async def run() -> None:
        queuer = PgQueuer(AsyncpgDriver(await asyncpg.connect(url)))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, queuer.shutdown.set)

        @queuer.entrypoint("count")
        async def _count(job: Job) -> None:
            count()

        @queuer.entrypoint("stamp")
        async def _stamp(job: Job) -> None:
            stamp(int(job.payload))

        await queuer.run(batch_size=number)

    uvloop.run(run())


class Client:
    """What submits."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._connection = self._loop.run(asyncpg.connect(url))
        self._queries = Queries(AsyncpgDriver(self._connection))

    def many(self, number: int) -> None:
        """Submit `number` tasks that count, by the quickest way it has."""

        async def submit() -> None:
            for start in range(0, number, BULK):
                some = min(BULK, number - start)
                await self._queries.enqueue(["count"] * some, [None] * some, [0] * some)

        self._loop.run(submit())

    def one(self, sent_ns: int) -> None:
        """Submit one task that stamps."""
        self._loop.run(self._queries.enqueue("stamp", str(sent_ns).encode()))

    def close(self) -> None:
        """Let go of the connection."""
        self._loop.run(self._connection.close())
        self._loop.close()
