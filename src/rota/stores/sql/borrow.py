"""A transaction that is not ours: what is done there exists exactly if its owner commits."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.util import await_only

from rota.domain.errors import Invalid
from rota.ports.loops import on_loop
from rota.stores.sql.db import Db

T = TypeVar("T")

REGISTRIES = {"sqlalchemy.scoped_session", "sqlalchemy.async_scoped_session"}
"""What gives each thread or task a session of its own, and is then used as if it were that."""
ASYNCPG = {"asyncpg.Connection", "asyncpg.PoolConnectionProxy"}
ASYNC = {"sqlalchemy.AsyncConnection", "sqlalchemy.AsyncSession", "psycopg.AsyncConnection"} | ASYNCPG
"""Kinds of connections that must be awaited."""


class Borrowed:
    """The way of the verbs to the records, on a connection where a transaction is under way.

    It has what those of `rota.stores.sql.base.Base` have that get and commit. It waits in its greenlet only.
    """

    def __init__(self, db: Db, place: str, post: Callable[[Db, Mapping[str, int]], None]) -> None:
        self.place = place
        self._db = db
        self._post = post

    async def read(self, work: Callable[[Db], T], whole: bool = False, late: bool = False) -> T:
        return work(self._db)

    async def write(self, work: Callable[[Db], T], hints: Mapping[str, int] = {}) -> T:
        with savepoint(self._db):
            result = work(self._db)
            self._post(self._db, hints)
        return result


_busy: set[int] = set()


@contextmanager
def alone(connection: Any) -> Iterator[Any]:
    """The connection, or the asker's own session. Raises `Invalid` while another call has it: their savepoints would
    undo each other's work.
    """
    own = connection() if kinds(connection) & REGISTRIES else connection
    if id(own) in _busy:
        raise Invalid("connection", "another call is under way on it; await one after the other, or use `asubmit_many`")
    _busy.add(id(own))
    try:
        yield own
    finally:
        _busy.discard(id(own))


@contextmanager
def savepoint(db: Db) -> Iterator[None]:
    """What raises in the block is undone, and the transaction around it goes on."""
    db.write("SAVEPOINT rota")
    try:
        yield
    except BaseException:
        with suppress(Exception):  # a connection that is lost has no transaction any more
            db.write("ROLLBACK TO SAVEPOINT rota")
            db.write("RELEASE SAVEPOINT rota")
        raise
    db.write("RELEASE SAVEPOINT rota")


def kinds(connection: object) -> set[str]:
    """Its classes, by the package that they come from; so that no driver is imported to know its connections."""
    return {f"{one.__module__.partition('.')[0]}.{one.__name__}" for one in type(connection).__mro__}


def driver_of(connection: Any) -> Any:
    """The driver's own connection beneath one of SQLAlchemy, whose transaction has then begun; any other as it is.

    Raises `Invalid` for one that SQLAlchemy cannot use, and for one that must be awaited where nobody does.
    """
    kind = kinds(connection)
    if kind & ASYNC and not on_loop():
        raise Invalid("connection", "it is asynchronous; await `asubmit` or `asubmit_many`")
    try:
        if "sqlalchemy.AsyncSession" in kind:
            connection = await_only(connection.connection())
        elif "sqlalchemy.Session" in kind:
            connection = connection.connection()
        connection = getattr(connection, "sync_connection", connection)
        if isinstance(connection, Connection):
            connection.exec_driver_sql("SELECT 1").close()
            return connection.connection.driver_connection
    except SQLAlchemyError as error:
        raise Invalid("connection", f"it cannot be used: {error}") from error
    return connection
