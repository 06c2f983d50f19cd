import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, closing
from typing import Any

import asyncpg
import pytest

from rota import Rota
from rota.domain.run import Run
from rota.sdk.tasks import TaskFunction
from tests.services.postgresql import do
from tests.transactions.ways import SQLITE, WAYS, User, Way

TABLES = ("orders", "runs", "uniques", "blobs")


class Shop:
    """An app whose database holds orders beside what is Rota's."""

    def __init__(self, url: str, way: Way) -> None:
        self.url, self._way = url, way
        self.app = Rota(url, name="shop")

        @self.app.task(name="ship")
        async def ship(order: str, connection: str = "") -> str:
            return order + connection

        self.ship: TaskFunction[Any, Any] = ship

    def user(self) -> AbstractAsyncContextManager[User]:
        """One more with a connection."""
        return self._way(self.url)

    async def counts(self) -> list[int]:
        """Rows of TABLES that are there for everybody."""
        if self.url.startswith("sqlite"):
            with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"))) as other:
                return [other.execute(f"SELECT count(*) FROM {one}").fetchone()[0] for one in TABLES]
        connection = await asyncpg.connect(self.url)
        try:
            return [await connection.fetchval(f"SELECT count(*) FROM {one}") for one in TABLES]
        finally:
            await connection.close()

    async def run(self, run_id: str) -> Run:
        return await self.app.handle(run_id).arun()


@pytest.fixture
async def orders(database) -> AsyncIterator[str]:
    """URL of a PostgreSQL database with a table of orders."""
    await do(database, "CREATE TABLE orders (name text PRIMARY KEY)")
    yield database
    await do(database, "DROP TABLE orders")


@pytest.fixture
async def shop(orders, request, tmp_path) -> AsyncIterator[Shop]:
    """By one of the WAYS."""
    way = request.param
    shop = Shop(f"sqlite:///{tmp_path / 'rota.db'}" if way in SQLITE else orders, WAYS[way])
    async with shop.app:
        if way in SQLITE:
            with closing(sqlite3.connect(tmp_path / "rota.db")) as other:
                other.execute("CREATE TABLE orders (name text PRIMARY KEY)")
        yield shop
