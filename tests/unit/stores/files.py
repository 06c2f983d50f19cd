"""Stores on files of a test, and errors as they come out."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rota.domain.errors import Unavailable
from rota.domain.run import Run
from rota.ports.store import Change, Group, Hint, Result
from rota.stores import connect
from rota.stores.sql.sqlite import Sqlite
from rota.stores.sql.store import SqlStore

BUSY_MS = 50


def url(path: Path) -> str:
    return f"sqlite:///{path}"


@asynccontextmanager
async def opened(where: Path | str, **options: Any) -> AsyncIterator[SqlStore]:
    store = SqlStore(where if isinstance(where, str) else url(where), busy_ms=BUSY_MS, **options)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def reached(url: str) -> AsyncIterator[Any]:
    """The store that a URL names, whichever it is."""
    store = connect(url)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


def base(store: SqlStore) -> Sqlite:
    """The connections below a store."""
    assert isinstance(store.base, Sqlite)
    return store.base


async def put(store: Any, *records: Any, hints: Sequence[Hint] = ()) -> list[Result]:
    results: list[Result] = await store.commit([Group((Change(None, one),)) for one in records], None, hints)
    return results


async def closed_on_a_call_from_elsewhere(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Close a store while the call of another thread is on its way to its loop: it must be told."""
    loop, came = asyncio.get_running_loop(), threading.Event()
    original = loop.call_soon_threadsafe

    def soon(*arguments: Any, **more: Any) -> asyncio.Handle:
        handle = original(*arguments, **more)
        came.set()
        return handle

    async with reached(url) as store:
        await store.get(Run, ["a"])
        monkeypatch.setattr(loop, "call_soon_threadsafe", soon)
        with ThreadPoolExecutor(1) as thread:
            asked = thread.submit(lambda: asyncio.run(asyncio.wait_for(store.get(Run, ["a"]), 5)))
            assert came.wait(30)
            await store.close()
            with pytest.raises(Unavailable, match="closed meanwhile"):
                await asyncio.wrap_future(asked)


def raw(path: Path) -> sqlite3.Connection:
    """The database as another program sees it."""
    return sqlite3.connect(path, isolation_level=None)


def schema(path: Path) -> dict[str, str]:
    """Every table and index with the words that made it, in any order: what a migration adds stands last."""
    connection = raw(path)
    try:
        rows = connection.execute("SELECT name, coalesce(sql, '') FROM sqlite_master").fetchall()
    finally:
        connection.close()
    return {name: ", ".join(sorted(" ".join(sql.strip("\n )").split()).split(", "))) for name, sql in rows}
