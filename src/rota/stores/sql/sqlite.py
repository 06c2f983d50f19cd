"""`Sqlite`: the ways to one SQLite file, or to a database in memory."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from secrets import randbits
from typing import Any, TypeVar

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from rota.domain.errors import Invalid, StoreError
from rota.domain.names import without_password
from rota.stores.hub import ANYTHING
from rota.stores.sql.base import Base
from rota.stores.sql.borrow import driver_of, savepoint
from rota.stores.sql.db import Db, SqliteDb
from rota.stores.sql.faults import DRIVER_ERRORS, fault
from rota.stores.sql.health import health
from rota.stores.sql.hints import Post
from rota.stores.sql.link import Link

T = TypeVar("T")

BUSY_MS = 5_000
"""How long to wait for another process's write."""
CHANGES = "PRAGMA data_version"
"""Counts the commits of others."""
_EXAMPLES = "write sqlite:///rota.db or sqlite:////full/path/rota.db"


def wall_ms() -> int:
    """The time by which terms lapse: all who share a file are on one machine."""
    return time.time_ns() // 1_000_000


def file_of(url: str) -> str:
    """The file that a `sqlite:` URL names, empty for memory. Raises `Invalid`."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise Invalid("store", f"{without_password(url)!r} is no URL; {_EXAMPLES}") from None
    if parsed.host or parsed.query or parsed.username:
        raise Invalid("store", f"{without_password(url)!r} names more than a file; {_EXAMPLES}")
    return "" if parsed.database in (None, "", ":memory:") else str(parsed.database)


class Sqlite(Base):
    """A writer and, for files, a reader, so that nobody who reads waits for a write.

    In memory each is a place of its own. With `inline` all happens in the caller's thread, for simulation; then hints
    stay in the process.
    """

    def __init__(
        self, url: str, inline: bool = False, busy_ms: int = BUSY_MS, now: Callable[[], int] | None = None
    ) -> None:
        super().__init__()
        self.file = file_of(url)
        self.shared = not self.file
        self.writer = Link(self.file, busy_ms, inline=inline)
        self.reader = Link(self.file, busy_ms, writes=False) if self.file and not inline else self.writer
        self.place = self.writer.place
        self._now = now or wall_ms
        self._others = "" if inline else self.file
        self._listen_anew()

    async def open(self) -> None:
        await self.writer.open()
        await self.reader.open()

    async def close(self) -> None:
        if self._post is not None:
            self._post.close()
        self.hub.close()
        self._listen_anew()
        await self.reader.close()
        await self.writer.close()

    async def read(self, work: Callable[[Db], T], whole: bool = False, late: bool = False) -> T:
        return await self.reader.do(work)

    async def write(self, work: Callable[[Db], T], hints: Mapping[str, int] = {}) -> T:
        # Who claims needs the write lock, which is ours by then: it can set out before we have written anything. Who
        # reads first, as the leader does, is told by `ready`.
        early = {topic: number for topic, number in hints.items() if topic.startswith("lane:")}
        others = {topic: number for topic, number in hints.items() if topic not in early}
        others |= {"ready": sum(early.values())} if early else {}

        def worked(db: Db) -> T:
            self._tell(early)
            return work(db)

        def written() -> T:
            result = self.writer.transact(worked)
            self._tell(others)
            return result

        return await self.writer.run(written)

    async def alter(self, work: Callable[[Db], T]) -> T:
        return await self.writer.do(work)

    @contextmanager
    def borrow(self, connection: Any) -> Iterator[Db]:
        raw = driver_of(connection)
        if not isinstance(raw, sqlite3.Connection):
            raise Invalid("connection", f"{type(raw).__name__} is none of sqlite3 or SQLAlchemy to {self.place}")
        db, ours = SqliteDb(raw, randbits(62)), self.writer.file
        texts, raw.text_factory = raw.text_factory, str
        try:
            (file,) = [row[2] for row in db.rows("PRAGMA database_list") if row[1] == "main"]
            if not (ours and os.path.exists(file) and os.path.samefile(file, ours)):
                raise Invalid("connection", f"it leads to {file or 'memory'}, the app's store is {self.place}")
            if begins := not raw.in_transaction:
                if raw.isolation_level is None or getattr(raw, "autocommit", False) is True:
                    raise Invalid("connection", "it commits each statement by itself; begin a transaction on it first")
                db.write("BEGIN IMMEDIATE")
            try:
                with savepoint(db):
                    yield db
            except BaseException:
                if begins:
                    raw.rollback()  # or it would keep all others from writing
                raise
        except sqlite3.ProgrammingError as error:
            raise Invalid("connection", f"it cannot be used: {error}") from error
        except DRIVER_ERRORS as error:
            raise fault(error, self.place) from error
        finally:
            raw.text_factory = texts

    def post(self, db: Db, hints: Mapping[str, int]) -> None:
        """The look at the counter of changes finds what others commit."""

    async def prepare(self) -> list[str]:
        # The writer connects first: it is who makes a file, for its owner alone.
        await self.writer.run(lambda: self.writer.first(CHANGES))
        applied = await super().prepare()
        await self.writer.run(self._begin)
        return applied

    def now(self, db: Db) -> int:
        return self._now()

    def listen(self, topics: Sequence[str]) -> None:
        if self._post is not None:
            self._post.listen(topics)

    async def diagnose(self) -> list[tuple[str, str]]:
        return await self.writer.run(lambda: health(self.writer, self._others))

    def _listen_anew(self) -> None:
        look = partial(self.writer.call, self._compare)
        self._post = Post(self._others, self.hub.tell, look) if self._others else None
        self._seen = 0

    def _begin(self) -> None:
        self.writer.log_ahead()
        self._seen = self.writer.first(CHANGES)

    def _tell(self, hints: Mapping[str, int]) -> None:
        if hints:
            self.hub.tell(hints)
            if self._post is not None:
                self._post.send(hints)

    def _compare(self) -> None:
        """Wake everybody if another process changed the file, whether or not its hint arrived."""
        with suppress(StoreError):
            seen = self.writer.first(CHANGES)
            if seen != self._seen:
                self.hub.tell({ANYTHING: 1})
            self._seen = seen
