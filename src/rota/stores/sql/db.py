"""One connection inside one transaction: what the synchronous core works with."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection

from rota.stores.sql.flavours import Flavour
from rota.stores.sql.rows import Row

CHUNK = 500
"""Ids in one statement."""


class Db:
    """Statements go to the driver as they are, with tuples: on the hot paths SQLAlchemy only wrote them, once.

    `stamp` is the version of every row that this transaction writes; no two transactions have the same.
    """

    __slots__ = ("_connection", "connection", "flavour", "stamp")

    def __init__(self, connection: Connection, flavour: Flavour, stamp: int) -> None:
        self.connection = connection
        self.flavour = flavour
        self.stamp = stamp
        self._connection = connection.connection

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows of a query."""
        cursor = self._connection.cursor()
        try:
            cursor.execute(statement, parameters)
            return cursor.fetchall()  # type: ignore[return-value]  # the driver's rows are tuples
        finally:
            cursor.close()

    def write(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """One write; the number of rows it changed."""
        cursor = self._connection.cursor()
        try:
            cursor.execute(statement, parameters)
            return int(cursor.rowcount)
        finally:
            cursor.close()

    def write_all(self, statement: str, rows: Sequence[Row]) -> int:
        """One write for each of these rows of parameters; the number of rows they changed."""
        cursor = self._connection.cursor()
        try:
            cursor.executemany(statement, rows)
            return int(cursor.rowcount)
        finally:
            cursor.close()

    def rows_among(self, statement: str, ids: Sequence[Any]) -> list[Row]:
        """All rows of a query whose one parameter is a list."""
        return [row for chunk in chunks(ids) for row in self.rows(statement, (self.flavour.pack(chunk),))]


def chunks(ids: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Parts of at most `CHUNK` ids."""
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]
