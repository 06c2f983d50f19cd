"""Procrastinate on PostgreSQL. Its number is the concurrency; it claims and finishes one task at a time."""

import asyncio

import uvloop
from procrastinate import App, PsycopgConnector

from benchmarks import body

BULK = 1_000


def app_of(url: str) -> App:
    """The app with its two tasks."""
    app = App(connector=PsycopgConnector(conninfo=url, min_size=2, max_size=12))

    @app.task(name="count")
    async def _count() -> None:
        body.count()

    @app.task(name="stamp")
    async def _stamp(sent_ns: int) -> None:
        body.stamp(sent_ns)

    return app


def prepare(url: str) -> None:
    """Make its tables."""

    async def install() -> None:
        async with app_of(url).open_async() as app:
            await app.schema_manager.apply_schema_async()

    uvloop.run(install())


def work(url: str, number: int) -> None:
    """Perform tasks until SIGTERM."""

    async def run() -> None:
        async with app_of(url).open_async() as app:
            await app.run_worker_async(concurrency=number)

    uvloop.run(run())


class Client:
    """What submits."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._app = app_of(url)
        self._loop.run(self._app.connector.open_async())

    def many(self, number: int) -> None:
        """Submit `number` tasks that count, by the quickest way it has."""

        async def submit() -> None:
            for start in range(0, number, BULK):
                some: list[dict[str, object]] = [{}] * min(BULK, number - start)
                await self._app.tasks["count"].batch_defer_async(*some)

        self._loop.run(submit())

    def one(self, sent_ns: int) -> None:
        """Submit one task that stamps."""
        self._loop.run(self._app.tasks["stamp"].defer_async(sent_ns=sent_ns))

    def close(self) -> None:
        """Let go of the connections."""
        self._loop.run(self._app.close_async())
        self._loop.close()
