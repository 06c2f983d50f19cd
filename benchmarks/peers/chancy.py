"""Chancy on PostgreSQL, tasks on the worker's own loop. Its number is the concurrency.

It stores what has ended once a second, long after a task has counted here.
"""

import asyncio

import uvloop
from chancy import Chancy, Queue, Worker, job

from benchmarks import body


@job(queue="default")
async def count() -> None:
    """Count."""
    body.count()


@job(queue="default")
async def stamp(*, sent_ns: int) -> None:
    """Stamp."""
    body.stamp(sent_ns)


def prepare(url: str) -> None:
    """Make its tables."""

    async def migrate() -> None:
        async with Chancy(url) as app:
            await app.migrate()

    uvloop.run(migrate())


def work(url: str, number: int) -> None:
    """Perform tasks until SIGTERM."""

    async def run() -> None:
        async with Chancy(url) as app:
            eager = Queue(
                "default", concurrency=number, executor=Chancy.Executor.Async, eager_polling=True, polling_interval=1
            )
            await app.declare(eager, upsert=True)
            async with Worker(app) as worker:
                await worker.wait_for_shutdown()

    uvloop.run(run())


class Client:
    """What submits."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._app = Chancy(url)
        self._loop.run(self._app.__aenter__())

    def many(self, number: int) -> None:
        """Submit `number` tasks that count, by the quickest way it has."""

        async def submit() -> None:
            async for _ in self._app.push_many([count.job] * number):
                pass

        self._loop.run(submit())

    def one(self, sent_ns: int) -> None:
        """Submit one task that stamps."""
        self._loop.run(self._app.push(stamp.job.with_kwargs(sent_ns=sent_ns)))

    def close(self) -> None:
        """Let go of the connections."""
        self._loop.run(self._app.__aexit__(None, None, None))
        self._loop.close()
