"""The connections on which people have transactions, all used alike.

Those that are not awaited live in a thread of their own, as in an ordinary program.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple

import asyncpg
import psycopg
import psycopg2
import psycopg2.extras
import sqlalchemy as sa
from psycopg.rows import dict_row
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from rota import Handle
from rota.sdk.tasks import TaskFunction


class Open(NamedTuple):
    """A connection: what is given to Rota, what does a statement, what ends the transaction by a word, what closes."""

    given: Any
    do: Callable[[str], Any]
    end: Callable[[str], Any]
    close: Callable[[], Any]


class User:
    """A program with a connection: it does statements, ends its transaction, and submits in it."""

    def __init__(self, at: Open, thread: ThreadPoolExecutor | None = None) -> None:
        self.given = at.given
        self._at, self._thread = at, thread

    async def do(self, statement: str) -> None:
        await self.called(self._at.do, statement)

    async def commit(self) -> None:
        await self.called(self._at.end, "commit")

    async def rollback(self) -> None:
        await self.called(self._at.end, "rollback")

    async def submit(self, task: TaskFunction[Any, Any], *args: Any, **options: Any) -> Handle:
        lent: Any = task.with_options(connection=self.given, **options)
        found: Handle = await self.called(lent.submit if self._thread else lent.asubmit, *args)
        return found

    async def submit_many(self, task: TaskFunction[Any, Any], calls: Any, **options: Any) -> list[Handle]:
        lent: Any = task.with_options(connection=self.given, **options)
        found: list[Handle] = await self.called(lent.submit_many if self._thread else lent.asubmit_many, calls)
        return found

    async def called(self, function: Callable[..., Any], *args: Any) -> Any:
        if self._thread is None:
            return await function(*args)
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)


Way = Callable[[str], AbstractAsyncContextManager[User]]


def in_thread(opened: Callable[[str], Open]) -> Way:
    @asynccontextmanager
    async def way(url: str) -> AsyncIterator[User]:
        with ThreadPoolExecutor(1) as thread:
            at = await asyncio.get_running_loop().run_in_executor(thread, opened, url)
            user = User(at, thread)
            try:
                yield user
            finally:
                await user.called(at.close)

    return way


def on_loop(opened: Callable[[str], Any]) -> Way:
    @asynccontextmanager
    async def way(url: str) -> AsyncIterator[User]:
        at = await opened(url)
        try:
            yield User(at)
        finally:
            await at.close()

    return way


def by(driver: str, url: str) -> str:
    """As SQLAlchemy writes a URL."""
    return url.replace("postgresql:", f"postgresql+{driver}:")


def open_sqlite3(url: str) -> Open:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    connection.row_factory = lambda cursor, row: {"row": row}
    return Open(connection, connection.execute, lambda word: getattr(connection, word)(), connection.close)


def open_psycopg(url: str) -> Open:
    connection = psycopg.connect(url, row_factory=dict_row)
    do: Any = connection.execute
    return Open(connection, do, lambda word: getattr(connection, word)(), connection.close)


def open_psycopg2(url: str) -> Open:
    connection = psycopg2.connect(url, cursor_factory=psycopg2.extras.RealDictCursor)
    cursor = connection.cursor()
    return Open(connection, cursor.execute, lambda word: getattr(connection, word)(), connection.close)


def open_connection(url: str) -> Open:
    connection = sa.create_engine(url, poolclass=sa.NullPool).connect()
    return Open(connection, connection.exec_driver_sql, lambda word: getattr(connection, word)(), connection.close)


def open_session(url: str) -> Open:
    session = Session(sa.create_engine(url, poolclass=sa.NullPool))
    return Open(
        session, lambda said: session.execute(sa.text(said)), lambda word: getattr(session, word)(), session.close
    )


def open_scoped(url: str) -> Open:
    session = scoped_session(sessionmaker(sa.create_engine(url, poolclass=sa.NullPool)))
    return Open(
        session, lambda said: session.execute(sa.text(said)), lambda word: getattr(session, word)(), session.remove
    )


async def open_asyncpg(url: str) -> Open:
    connection = await asyncpg.connect(url)
    transaction = connection.transaction()
    await transaction.start()
    return Open(connection, connection.execute, lambda word: getattr(transaction, word)(), connection.close)


async def open_asyncpg_pool(url: str) -> Open:
    pool = await asyncpg.create_pool(url, min_size=1, max_size=1)
    connection = await pool.acquire()
    transaction = connection.transaction()
    await transaction.start()

    async def close() -> None:
        await pool.release(connection)
        await pool.close()

    return Open(connection, connection.execute, lambda word: getattr(transaction, word)(), close)


async def open_psycopg_async(url: str) -> Open:
    connection = await psycopg.AsyncConnection.connect(url)
    do: Any = connection.execute
    return Open(connection, do, lambda word: getattr(connection, word)(), connection.close)


async def open_async_connection(url: str) -> Open:
    connection = await create_async_engine(url, poolclass=sa.NullPool).connect()
    return Open(connection, connection.exec_driver_sql, lambda word: getattr(connection, word)(), connection.close)


async def open_async_session(url: str) -> Open:
    session = AsyncSession(create_async_engine(url, poolclass=sa.NullPool))
    return Open(
        session, lambda said: session.execute(sa.text(said)), lambda word: getattr(session, word)(), session.close
    )


SQLITE = {
    "sqlite3": in_thread(open_sqlite3),
    "sqlalchemy-sqlite": in_thread(open_connection),
    "session-sqlite": in_thread(open_session),
}
POSTGRESQL = {
    "psycopg": in_thread(open_psycopg),
    "psycopg2": in_thread(open_psycopg2),
    "sqlalchemy-psycopg": in_thread(lambda url: open_connection(by("psycopg", url))),
    "session-psycopg2": in_thread(lambda url: open_session(by("psycopg2", url))),
    "scoped-session": in_thread(lambda url: open_scoped(by("psycopg", url))),
    "asyncpg": on_loop(open_asyncpg),
    "asyncpg-pool": on_loop(open_asyncpg_pool),
    "psycopg-async": on_loop(open_psycopg_async),
    "sqlalchemy-asyncpg": on_loop(lambda url: open_async_connection(by("asyncpg", url))),
    "session-asyncpg": on_loop(lambda url: open_async_session(by("asyncpg", url))),
    "session-psycopg-async": on_loop(lambda url: open_async_session(by("psycopg", url))),
}
WAYS: dict[str, Way] = SQLITE | POSTGRESQL
