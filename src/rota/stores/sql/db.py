"""One connection inside one transaction: what the synchronous core works with."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any

from sqlalchemy import Connection, Select, Table

from rota.stores.sql import statements
from rota.stores.sql.flavours import SQLITE, Flavour
from rota.stores.sql.rows import Row

CHUNK = 500
"""Ids in one statement."""


Asked = tuple[str, tuple[str, ...]]
"""A query, and the names of its parameters by position."""


class Moved(Exception):
    """Some record is not what it was thought to be. It undoes the transaction: whoever began it must look first."""


class Db(ABC):
    """Statements go to the driver as they are, with tuples: SQLAlchemy only wrote them, the hot ones once.

    `stamp` is the version of every row that this transaction writes; no two transactions have the same.
    """

    flavour: Flavour
    stamp: int

    @abstractmethod
    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows of a query."""

    @abstractmethod
    def write(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """One write; the number of rows it changed."""

    @abstractmethod
    def write_all(self, statement: str, rows: Sequence[Row]) -> int:
        """One write for each of these rows of parameters; the number of rows they changed."""

    def add_all(self, table: Table, columns: tuple[str, ...], rows: Sequence[Row]) -> int:
        """Insert rows of these columns and their version, but for those whose id is there; the number of new ones.

        May raise `Moved` instead of passing over any.
        """
        return self.write_all(statements.add(self.flavour, table, columns), rows)

    @abstractmethod
    def alembic(self) -> AbstractContextManager[Connection]:
        """This connection as Alembic wants it, in the transaction that is under way."""

    def rows_among(self, statement: str, ids: Sequence[Any]) -> list[Row]:
        """All rows of a query whose one parameter is a list."""
        return [row for chunk in chunks(ids) for row in self.rows(statement, (self.flavour.pack(chunk),))]

    def ask(self, asked: Asked, given: Mapping[str, Any]) -> list[Row]:
        """All rows of a query, with the values of its parameters by name."""
        statement, names = asked
        return [tuple(row) for row in self.rows(statement, [given[name] for name in names])]

    def select(self, query: Select[Any]) -> list[Row]:
        """All rows of a query that is written for this occasion."""
        written: Any = query.compile(dialect=self.flavour.dialect, compile_kwargs={"render_postcompile": True})
        return self.rows(str(written), [written.params[name] for name in written.positiontup])


class SqliteDb(Db):
    """On SQLite's own driver."""

    flavour = SQLITE

    def __init__(self, connection: Any, stamp: int, whole: Any = None) -> None:
        """`whole`: SQLAlchemy's connection around the driver's; for migrations only."""
        self.stamp = stamp
        self._connection = connection
        self._whole = whole

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        with closing(self._connection.cursor()) as cursor:
            cursor.row_factory = None  # whatever a user's own connection makes of rows
            cursor.execute(statement, parameters)
            return cursor.fetchall()  # type: ignore[no-any-return]  # the driver's rows are tuples

    def write(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(statement, parameters)
            return int(cursor.rowcount)

    def write_all(self, statement: str, rows: Sequence[Row]) -> int:
        with closing(self._connection.cursor()) as cursor:
            cursor.executemany(statement, rows)
            return int(cursor.rowcount)

    def alembic(self) -> AbstractContextManager[Connection]:
        return nullcontext(self._whole)


def chunks(ids: Sequence[Any], size: int = CHUNK) -> Iterator[Sequence[Any]]:
    """Parts of at most `size` ids."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
