"""Connections to one PostgreSQL server, and the transactions on them.

The synchronous core runs in a greenlet on the event loop that opened the pool; where it waits for the server, the loop
goes on. Other loops and threads hand their work over to that loop.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from secrets import randbits
from typing import Any, NamedTuple, TypeVar

import asyncpg
from sqlalchemy import Connection, StaticPool, Table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.util import await_only, greenlet_spawn

from rota.domain.errors import RotaError
from rota.ports.loops import end
from rota.stores.home import Home
from rota.stores.postgres.faults import DRIVER_ERRORS, LOST, code_of, fault
from rota.stores.postgres.flavour import POSTGRESQL
from rota.stores.sql.db import Db, Moved
from rota.stores.sql.rows import Row

T = TypeVar("T")

BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
"""Whatever the server's default is: at a higher level all who count the same cell would undo each other."""
CLOSE_S = 2.0
MANY = 20
"""From so many rows on, COPY costs less than INSERT."""
TRIES = 4
"""How often a transaction is begun anew that the server undid for another one's sake."""
COOL_S = 1.0
"""How long a transaction may wait for its first statement: less than the server allows."""
_AGAIN = {"40001", "40P01"}
_GONE = ("08", "25P03", "57P0")


class Mode(NamedTuple):
    """How a transaction begins, and how long the client waits for each of its answers."""

    begin: str
    """Nothing: each statement is for itself."""
    seconds: float | None
    writes: bool = True
    warm: bool = False
    """Each such transaction begins with the message that ends the one before, which saves a message there and back."""


class _Again(Exception):
    """Nothing of a transaction happened, through no fault of its own; it can be tried again."""

    def __init__(self, met: BaseException) -> None:
        super().__init__(str(met))
        self.met = met


class PostgresDb(Db):
    """On asyncpg, from within a greenlet."""

    flavour = POSTGRESQL

    def __init__(self, connection: Any, stamp: int, seconds: float | None) -> None:
        self.stamp = stamp
        self.answered = False
        """Whether the server has answered anything."""
        self._connection = connection
        self._seconds = seconds

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        found: list[Row] = await_only(self._connection.fetch(statement, *parameters, timeout=self._seconds))
        self.answered = True
        return found

    def write(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        status = await_only(self._connection.execute(statement, *parameters, timeout=self._seconds))
        self.answered = True
        number = status.rpartition(" ")[2]
        return int(number) if number.isdigit() else 0

    def write_all(self, statement: str, rows: Sequence[Row]) -> int:
        return self.write(statement, list(zip(*rows, strict=True))) if rows else 0

    def add_all(self, table: Table, columns: tuple[str, ...], rows: Sequence[Row]) -> int:
        if len(rows) < MANY:
            return super().add_all(table, columns, rows)
        names = [*columns, "version"]
        copying = self._connection.copy_records_to_table
        try:
            await_only(copying(table.name, records=rows, columns=names, timeout=self._seconds))
        except asyncpg.UniqueViolationError:
            raise Moved from None
        self.answered = True
        return len(rows)

    @contextmanager
    def alembic(self) -> Iterator[Connection]:
        async def same() -> Any:
            return self._connection

        options = {"poolclass": StaticPool, "isolation_level": "AUTOCOMMIT"}  # the transaction is under way already
        engine = create_async_engine("postgresql+asyncpg://", async_creator=same, **options).sync_engine
        with engine.connect() as connection:
            try:
                yield connection
            except DBAPIError as error:
                raise (error.orig and error.orig.__cause__) or error from None  # the driver's own, as others are


class Pool(Home):
    """At most `size` connections, made when they are needed and kept."""

    def __init__(self, connect: Callable[[], Awaitable[Any]], place: str, size: int) -> None:
        super().__init__(place)
        self._connect = connect
        self._size = size
        self._idle: list[Any] = []
        self._warm: list[Any] = []
        """Those on which a transaction has begun that nobody uses yet."""
        self._busy = 0
        self._cooling: asyncio.Task[None] | None = None
        self._room = asyncio.Semaphore(size)
        # Versions mean nothing but equality. Counted up from chance, they never meet those of another process.
        self._stamps = count(randbits(62))

    def open(self) -> None:
        """Allow calls; the first one connects."""
        if self.move_in():
            self._room = asyncio.Semaphore(self._size)
            self._idle, self._warm, self._busy, self._cooling = [], [], 0, None

    async def do(self, mode: Mode, work: Callable[[Db], T], notice: str = "") -> T:
        """What `work` returns, in a transaction of its own; `notice` is a statement behind its end."""

        async def tried() -> T:
            async with self._room:
                self._busy += 1
                try:
                    return await self._tried(mode, work, _ending(mode, notice))
                finally:
                    self._busy -= 1

        return await self.at_home(tried)

    async def _tried(self, mode: Mode, work: Callable[[Db], T], end: str) -> T:
        for left in reversed(range(TRIES)):
            warmed = self._warmed() if mode.warm and left == TRIES - 1 else None
            connection = warmed or await self._begun(mode)
            try:
                result: T = await greenlet_spawn(self._transact, connection, mode, work, end, warmed is not None)
                if mode.warm:
                    self._keep_warm(connection)
                return result
            except _Again as error:
                if not left:
                    raise fault(error.met, self.place) from error.met
            finally:
                if connection not in self._warm and not connection.is_closed():
                    self._idle.append(connection)
        raise AssertionError("the last try returns or raises")

    def _warmed(self) -> Any:
        """A connection on which a transaction waits, if there is one."""
        while self._warm:
            connection = self._warm.pop()
            if not connection.is_closed():
                return connection
        return None

    def _keep_warm(self, connection: Any) -> None:
        self._warm.append(connection)
        if self._cooling is None:
            self._cooling = asyncio.create_task(self._cool())

    async def _cool(self) -> None:
        """End what waits for nothing: the server would take it for a program that hangs."""
        while self._warm:
            await asyncio.sleep(COOL_S)
            for _ in range(len(self._warm)):
                async with self._room:
                    if connection := self._warmed():
                        await self._cooled(connection)
        self._cooling = None

    async def _cooled(self, connection: Any) -> None:
        await _roll_back(connection, CLOSE_S)
        if not connection.is_closed():
            self._idle.append(connection)

    async def _begun(self, mode: Mode) -> Any:
        """A connection on which a transaction has begun. One that was lost while nobody used it is replaced."""
        while True:
            if not self._idle and self._busy + len(self._warm) > self._size and (connection := self._warmed()):
                await self._cooled(connection)
            idle = bool(self._idle)
            try:
                connection = self._idle.pop() if idle else await self._connect()
            except DRIVER_ERRORS as error:
                raise fault(error, self.place) from error
            if connection.is_closed():
                continue
            try:
                if mode.begin:
                    await connection.execute(mode.begin, timeout=mode.seconds)
            except BaseException as error:
                connection.terminate()
                if not isinstance(error, DRIVER_ERRORS):
                    raise
                if not idle or isinstance(error, TimeoutError):
                    raise fault(error, self.place) from error
            else:
                return connection

    def _transact(self, connection: Any, mode: Mode, work: Callable[[Db], T], end: str, warm: bool) -> T:
        ending = False
        db = PostgresDb(connection, next(self._stamps), mode.seconds)
        try:
            result = work(db)
            ending = True
            if mode.begin:
                await_only(connection.execute(end, timeout=mode.seconds))
        except BaseException as error:
            self._undo(connection, mode, error)
            if code_of(error) in _AGAIN or (warm and not db.answered and _is_gone(error)):
                raise _Again(error) from error
            if isinstance(error, DRIVER_ERRORS):
                raise fault(error, self.place, at_commit=ending and mode.writes) from error
            raise
        return result

    def _undo(self, connection: Any, mode: Mode, error: BaseException) -> None:
        """Roll back where the connection still answers, and can write: it may be its address that leads elsewhere now.
        Else it is of no more use.
        """
        if isinstance(error, LOST) or not isinstance(error, Exception) or code_of(error) == "25006":
            connection.terminate()
        elif mode.begin and not connection.is_closed():
            await_only(_roll_back(connection, mode.seconds))

    async def disconnect(self) -> None:
        await end(self._cooling)
        while connection := self._warmed() or (self._idle.pop() if self._idle else None):
            with suppress(*DRIVER_ERRORS, RotaError):
                await connection.close(timeout=CLOSE_S)


async def _roll_back(connection: Any, seconds: float | None) -> None:
    """Roll back; where that cannot be known to be done, the connection goes."""
    try:
        await connection.execute("ROLLBACK", timeout=seconds)
    except BaseException as error:
        connection.terminate()
        if not isinstance(error, DRIVER_ERRORS):
            raise


def _ending(mode: Mode, notice: str) -> str:
    """Behind the COMMIT, so that the notice holds up no other transaction."""
    if not mode.warm:
        return f"COMMIT; {notice}" if notice else "COMMIT"
    return f"COMMIT; BEGIN; {notice}; COMMIT; {BEGIN}" if notice else f"COMMIT; {BEGIN}"


def _is_gone(error: BaseException) -> bool:
    """Whether the connection was lost before this, while nobody used it."""
    return code_of(error).startswith(_GONE) or (isinstance(error, LOST) and not isinstance(error, TimeoutError))
