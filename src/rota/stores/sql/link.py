"""One SQLite connection with a thread of its own, and the transactions on it."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from secrets import randbits
from threading import RLock
from typing import Any, TypeVar

from sqlalchemy import Connection, RootTransaction, StaticPool, create_engine, event

from rota.domain.errors import Incompatible, Invalid, Unavailable
from rota.stores.sql.db import Db
from rota.stores.sql.faults import DRIVER_ERRORS, KEEPS, code_of, fault
from rota.stores.sql.flavours import SQLITE

T = TypeVar("T")

OLDEST_SQLITE = (3, 40, 0)
CACHE_KIB = 8_000
STATEMENTS = 256
"""Prepared statements that the driver keeps."""


class Link:
    """One connection, used by one thread at a time: its own, or with `inline` whichever calls.

    Every transaction of a writer begins with the write lock, so that none fails half way for a stale read.
    """

    def __init__(self, file: str, busy_ms: int, writes: bool = True, inline: bool = False) -> None:
        self.place = file or "the database in memory"
        self._file, self._busy_ms, self._writes = file, busy_ms, writes
        self._inline = inline
        self._lock = RLock()
        self._thread: ThreadPoolExecutor | None = None
        self._connection: Connection | None = None
        self._open = False
        # Versions mean nothing but equality. Counted up from chance, they never meet those of another process.
        self._stamps = count(randbits(62) if file else 1)

    async def open(self) -> None:
        """Allow calls; the first one connects."""
        if not self._open:
            self._open = True
            self._thread = None if self._inline else ThreadPoolExecutor(1, "rota-store")

    async def close(self) -> None:
        """Let the calls under way end, then disconnect."""
        if self._open:
            self._open = False
            thread, self._thread = self._thread, None
            if thread is None:
                self.disconnect()
            else:
                await asyncio.get_running_loop().run_in_executor(thread, self.disconnect)
                thread.shutdown(wait=False)

    async def run(self, work: Callable[[], T]) -> T:
        """Call `work` in the link's thread."""
        if not self._open:
            raise Unavailable(f"{self.place} is not open; open the store before its use")
        if self._thread is None:
            return work()
        try:
            done = asyncio.get_running_loop().run_in_executor(self._thread, work)
        except RuntimeError:
            raise Unavailable(f"{self.place} was closed meanwhile") from None
        return await done

    def call(self, work: Callable[[], None]) -> None:
        """As `run`, from a thread that need not know the outcome."""
        thread = self._thread
        if thread is not None:
            with suppress(RuntimeError):
                thread.submit(work)

    async def do(self, work: Callable[[Db], T]) -> T:
        """What `work` returns, in a transaction of its own."""
        return await self.run(lambda: self.transact(work))

    def transact(self, work: Callable[[Db], T]) -> T:
        """What `work` returns, once it is committed. In the link's thread only."""
        with self._lock:
            connection = self._connected()
            transaction = self._begun(connection)
            try:
                result = work(Db(connection, SQLITE, next(self._stamps)))
            except BaseException as error:
                self._undo(transaction, error)
                if isinstance(error, DRIVER_ERRORS):
                    raise fault(error, self.place) from error
                if isinstance(error, UnicodeEncodeError | OverflowError):
                    raise Invalid("", f"no database keeps such a value: {error}") from error
                raise
            try:
                transaction.commit()
            except DRIVER_ERRORS as error:
                self._undo(transaction, error)
                raise fault(error, self.place, at_commit=self._writes) from error
            return result

    def first(self, statement: str) -> Any:
        """The first value that a statement gives, outside of transactions."""
        with self._lock:
            raw: Any = self._connected().connection.dbapi_connection
            try:
                row = raw.execute(statement).fetchone()
            except DRIVER_ERRORS as error:
                raise fault(error, self.place) from error
            return row[0] if row else None

    def log_ahead(self) -> None:
        """Keep the file with a write-ahead log, which it remembers. Others may be about to do the same."""
        if not self._file or self.first("PRAGMA journal_mode") == "wal":
            return
        end = time.monotonic() + self._busy_ms / 1_000
        mode = ""
        while not mode:
            try:
                mode = self.first("PRAGMA journal_mode=WAL")
            except Unavailable:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
        if mode != "wal":
            raise Unavailable(f"{self.place} cannot have a write-ahead log; put it on a local, writable file system")

    def disconnect(self) -> None:
        """Close the connection; the next call makes another one."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                with suppress(*DRIVER_ERRORS):
                    connection.close()
                connection.engine.dispose()

    def _connected(self) -> Connection:
        if self._connection is None:
            if sqlite3.sqlite_version_info < OLDEST_SQLITE:
                found, wanted = sqlite3.sqlite_version, ".".join(map(str, OLDEST_SQLITE))
                raise Incompatible(f"SQLite {found} is too old, Rota needs {wanted}; install a newer one")
            engine = create_engine("sqlite+pysqlite://", creator=self._driver, poolclass=StaticPool)
            begin = "BEGIN IMMEDIATE" if self._writes else "BEGIN"
            event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
            try:
                self._connection = engine.connect()
            except DRIVER_ERRORS as error:
                raise fault(error, self.place) from error
        return self._connection

    def _driver(self) -> sqlite3.Connection:
        """A connection of the driver, which begins no transaction by itself. A new file is its owner's alone."""
        if self._file and self._writes:
            with suppress(OSError):  # SQLite says better what is wrong with a place
                os.close(os.open(self._file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        connection = sqlite3.connect(
            self._file or ":memory:",
            timeout=self._busy_ms / 1_000,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=STATEMENTS,
        )
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA trusted_schema=OFF")
        if self._writes:
            connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        else:
            connection.execute("PRAGMA query_only=ON")
        return connection

    def _begun(self, connection: Connection) -> RootTransaction:
        try:
            return connection.begin()
        except DRIVER_ERRORS as error:
            self._undo(None, error)
            raise fault(error, self.place) from error

    def _undo(self, transaction: RootTransaction | None, error: BaseException) -> None:
        try:
            if transaction is not None:
                transaction.rollback()
        except DRIVER_ERRORS as second:
            error = second
        # A connection that failed for its file is of no more use, and the file may be well again by the next call.
        if self._file and isinstance(error, DRIVER_ERRORS) and code_of(error) not in KEEPS:
            self.disconnect()
