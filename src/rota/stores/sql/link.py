"""One SQLite connection with a thread of its own, and the transactions on it."""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from secrets import randbits
from threading import RLock
from typing import Any, TypeVar
from weakref import WeakSet

from sqlalchemy import Connection, StaticPool, create_engine

from rota.domain.errors import Incompatible, Invalid, Unavailable
from rota.stores.sql.db import Db, SqliteDb
from rota.stores.sql.faults import DRIVER_ERRORS, KEEPS, code_of, fault
from rota.stores.sql.serial import SerialThread

T = TypeVar("T")

OLDEST_SQLITE = (3, 40, 0)
CACHE_KIB = 8_000
STATEMENTS = 256
"""Prepared statements that the driver keeps."""
WAIT_S, LONGEST_WAIT_S = 0.000_02, 0.01
"""Between looks whether the write lock is free: at first, and at last."""


class Link:
    """One connection, used by one thread at a time: its own, or with `inline` whichever calls.

    Every transaction of a writer begins with the write lock, so that none fails half way for a stale read.
    """

    def __init__(self, file: str, busy_ms: int, writes: bool = True, inline: bool = False) -> None:
        self.place = file or "the database in memory"
        # Absolute, as a program may go to another folder.
        self.file = os.path.abspath(file) if file else ""
        self._busy_ms, self._writes = busy_ms, writes
        self._opened: tuple[int, int] | None = None
        self._inline = inline
        self._lock = RLock()
        self._thread: SerialThread | None = None
        self._connection: Connection | None = None
        self._open = False
        # Versions mean nothing but equality. Counted up from chance, they never meet those of another process.
        self._stamps = count(randbits(62) if file else 1)
        with _forking:
            _links.add(self)

    async def open(self) -> None:
        """Allow calls; the first one connects."""
        if not self._open:
            self._open, self._opened = True, self._meant()
            self._thread = None if self._inline else SerialThread("rota-store")

    async def close(self) -> None:
        """Let the calls under way end, then disconnect."""
        if self._open:
            self._open = False
            thread, self._thread = self._thread, None
            if thread is None:
                self.disconnect()
            else:
                gone = thread.ask(self.disconnect)
                thread.close()
                await gone

    async def run(self, work: Callable[[], T]) -> T:
        """Call `work` in the link's thread."""
        if not self._open:
            raise Unavailable(f"{self.place} is not open; open the store before its use")
        if self._thread is None:
            return work()
        try:
            answer = self._thread.ask(work)
        except RuntimeError:
            raise Unavailable(f"{self.place} was closed meanwhile") from None
        return await answer

    def call(self, work: Callable[[], None]) -> None:
        """As `run`, from a thread that need not know the outcome."""
        thread = self._thread
        if thread is not None:
            with suppress(RuntimeError):
                thread.put(work)

    async def do(self, work: Callable[[Db], T]) -> T:
        """What `work` returns, in a transaction of its own."""
        return await self.run(lambda: self.transact(work))

    def transact(self, work: Callable[[Db], T]) -> T:
        """What `work` returns, once it is committed. In the link's thread only."""
        with self._lock:
            connection = self._connected()
            raw: Any = connection.connection.dbapi_connection
            try:
                self._begin(raw)
                result = work(SqliteDb(raw, next(self._stamps), connection))
            except BaseException as error:
                self._undo(connection, raw, error)
                if isinstance(error, DRIVER_ERRORS):
                    raise fault(error, self.place) from error
                if isinstance(error, UnicodeEncodeError | OverflowError):
                    raise Invalid("", f"no database keeps such a value: {error}") from error
                raise
            try:
                _commit(raw)
            except DRIVER_ERRORS as error:
                self._undo(connection, raw, error)
                raise fault(error, self.place, at_commit=self._writes) from error
            if connection.in_transaction():
                connection.rollback()  # SQLAlchemy believes to be in one; by now the driver is not
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
        if not self.file:
            return
        end = time.monotonic() + self._busy_ms / 1_000
        mode = "wal" if self.first("PRAGMA journal_mode") == "wal" else ""
        while not mode:
            try:
                mode = self.first("PRAGMA journal_mode=WAL")
            except Unavailable:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
        if mode != "wal":
            raise Unavailable(f"{self.place} cannot have a write-ahead log; put it on a local, writable file system")
        self.first("PRAGMA busy_timeout=0")  # with such a log only a BEGIN waits, and `_begin` does that better

    def disconnect(self) -> None:
        """Close the connection; the next call makes another one."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                with suppress(*DRIVER_ERRORS):
                    connection.close()
                connection.engine.dispose()

    def _meant(self) -> tuple[int, int] | None:
        """The file that this process has open by that name, though another or none stands there now."""
        with _forking:
            others = [link._opened for link in _links if link._open and link._opened and link.file == self.file]
        return others[0] if others else self._identity()

    def _identity(self) -> tuple[int, int] | None:
        """Which file stands at the place now; None where there is none, or none is wanted."""
        try:
            found = os.stat(self.file)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _connected(self) -> Connection:
        if self._opened and self._identity() != self._opened:
            # SQLite would go on with a file that has no name any more, and all that it keeps would go with the process.
            gone = "was deleted or replaced while in use, and nothing more can be kept"
            raise Incompatible(f"{self.place} {gone}; stop what uses it, put the file back, then start again")
        if self._connection is None:
            if sqlite3.sqlite_version_info < OLDEST_SQLITE:
                found, wanted = sqlite3.sqlite_version, ".".join(map(str, OLDEST_SQLITE))
                raise Incompatible(f"SQLite {found} is too old, Rota needs {wanted}; install a newer one")
            engine = create_engine("sqlite+pysqlite://", creator=self._driver, poolclass=StaticPool)
            try:
                self._connection = engine.connect()
            except DRIVER_ERRORS as error:
                raise fault(error, self.place) from error
            self._opened = self._identity()
        return self._connection

    def _driver(self) -> sqlite3.Connection:
        """A connection of the driver, which begins no transaction by itself. A new file is its owner's alone."""
        if self.file and self._writes:
            with suppress(OSError):  # SQLite says better what is wrong with a place
                os.close(os.open(self.file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        connection = sqlite3.connect(
            self.file or ":memory:",
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

    def _begin(self, raw: sqlite3.Connection) -> None:
        """Begin with the write lock. Who waits looks more often than SQLite would: others hold it for a moment only."""
        if not self._writes:
            raw.execute("BEGIN")
            return
        wait, end = WAIT_S, time.monotonic() + self._busy_ms / 1_000
        while True:
            try:
                raw.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if code_of(error) != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
                time.sleep(wait)
                wait = min(wait * 1.2, LONGEST_WAIT_S)
            else:
                return

    def _undo(self, connection: Connection, raw: sqlite3.Connection, error: BaseException) -> None:
        try:
            raw.rollback()
            connection.rollback()
        except DRIVER_ERRORS as second:
            error = second
        # A connection that failed for its file is of no more use, and the file may be well again by the next call.
        if self.file and isinstance(error, DRIVER_ERRORS) and code_of(error) not in KEEPS:
            self.disconnect()

    def rest(self) -> None:
        """Before a fork: let the transaction under way end, disconnect, and stay so until `resume`."""
        self._lock.acquire()
        if self.file:
            self.disconnect()

    def resume(self, forked: bool) -> None:
        """Work again; in the child, `forked`, never, as its thread is not there."""
        self._open = self._open and not forked
        self._lock.release()


def _commit(raw: sqlite3.Connection) -> None:
    raw.commit()  # nothing where Alembic has done so already


# SQLite keeps its locks by process, and a child would believe to hold what its parent holds. So no connection may be
# open while a process forks: neither an inherited one nor a new one beside it would be safe.
_links: WeakSet[Link] = WeakSet()
_resting: list[Link] = []
_forking = RLock()


def _before_fork() -> None:
    _forking.acquire()
    for link in list(_links):
        _resting.append(link)
        link.rest()


def _after_fork(child: bool) -> None:
    while _resting:
        _resting.pop().resume(child)
    _forking.release()


os.register_at_fork(
    before=_before_fork, after_in_parent=lambda: _after_fork(False), after_in_child=lambda: _after_fork(True)
)
