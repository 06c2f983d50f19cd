"""A user's own connection to PostgreSQL: what tells whether its transaction can be used, and how it is spoken to."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib import import_module
from secrets import randbits
from typing import Any

import asyncpg
from sqlalchemy.util import await_only

from rota.domain.errors import Invalid, Unavailable
from rota.stores.postgres.faults import LOST, code_of, fault
from rota.stores.postgres.flavour import POSTGRESQL
from rota.stores.postgres.pool import PostgresDb
from rota.stores.sql.borrow import ASYNC, ASYNCPG, driver_of, kinds
from rota.stores.sql.db import Db
from rota.stores.sql.rows import Row

IDLE = 0
"""What libpq says of a connection without a transaction."""
UNLOCKED = replace(POSTGRESQL, locks=False)
"""Users' transactions last as long as they like: rows that are only looked at stay free for others."""
SCHEMA = "SELECT quote_ident(current_schema())"
IDENTITY = """
SELECT (SELECT system_identifier FROM pg_control_system()),
    (SELECT oid::bigint FROM pg_database WHERE datname = current_database()), to_regclass($1::text || '.runs')::bigint
"""
"""Which tables of which server these are, by whatever name they are reached."""
ENTER = f"{IDENTITY.rstrip()}, current_setting('search_path'), set_config('search_path', $1::text || ', pg_temp', true)"
"""The same, where it was looked for tables, and that it is looked for ours now, even before temporary ones."""
LEAVE = "SELECT set_config('search_path', $1::text, true)"
"""Back to where the user's own statements belong; what is undone needs no such step."""

_ITSELF = "it commits each statement by itself; begin a transaction on it first"


class PsycopgDb(PostgresDb):
    """On psycopg 3, sync or async, or on psycopg2."""

    def __init__(self, connection: Any, stamp: int) -> None:
        super().__init__(connection, stamp, None)
        self._found: Callable[[Any], Any] = await_only if kinds(connection) & ASYNC else lambda found: found

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        rows: list[Row] = self._found(self._asked(statement, parameters).fetchall())
        return rows

    def write(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        return max(int(self._asked(statement, parameters).rowcount), 0)

    add_all = Db.add_all  # COPY is another thing in each driver

    def _asked(self, statement: str, parameters: Sequence[Any]) -> Any:
        cursor = _cursor(self._connection)
        # To psycopg a tuple is a record, and a list an array.
        values = (list(value) if isinstance(value, tuple) else value for value in parameters)
        named = {str(number): value for number, value in enumerate(values, 1)}
        self._found(cursor.execute(_named(statement), named))
        return cursor


@lru_cache(maxsize=512)
def _named(statement: str) -> str:
    """With the names of parameters in psycopg's manner."""
    return re.sub(r"\$(\d+)", r"%(\1)s", statement.replace("%", "%%"))


def _cursor(connection: Any) -> Any:
    """One that gives tuples, whatever the user's own give."""
    if "psycopg2.connection" in kinds(connection):
        return connection.cursor(cursor_factory=import_module("psycopg2.extensions").cursor)
    psycopg: Any = import_module("psycopg")
    made = psycopg.AsyncCursor if kinds(connection) & ASYNC else psycopg.Cursor
    return made(connection, row_factory=import_module("psycopg.rows").tuple_row)


def db_of(connection: Any, place: str) -> Db:
    """The transaction that is under way on a connection, or begins now. Raises `Invalid` where there can be none."""
    raw = driver_of(connection)
    kind = kinds(raw)
    if kind & ASYNCPG:
        try:
            closed, begun = raw.is_closed(), raw.is_in_transaction()
        except asyncpg.InterfaceError as error:
            raise Invalid("connection", f"it cannot be used: {error}") from None
        if not closed and not begun:
            raise Invalid("connection", _ITSELF)
    elif kind & {"psycopg.Connection", "psycopg.AsyncConnection", "psycopg2.connection"}:
        closed, state = raw.closed, raw.info.transaction_status
        if not closed and state == IDLE and raw.autocommit:
            raise Invalid("connection", _ITSELF)
    else:
        known = "SQLAlchemy (on asyncpg or psycopg), asyncpg or psycopg"
        raise Invalid("connection", f"{type(raw).__name__} is none of {known} to {place}")
    if closed:
        raise Invalid("connection", "it is closed")
    db = PostgresDb(raw, randbits(62), None) if kind & ASYNCPG else PsycopgDb(raw, randbits(62))
    db.flavour = UNLOCKED
    return db


def meaning(error: Exception, place: str) -> Exception:
    """The error for the user, of whichever driver's."""
    code = code_of(error)
    if code == "25P02":
        return Invalid("connection", "its transaction has failed before; roll it back, and begin anew")
    if code.startswith("40"):
        advice = "roll your transaction back and begin it anew"
        return Unavailable(f"{place}: others wrote the same records meanwhile; {advice} ({error})")
    of_driver = isinstance(error, LOST) or hasattr(error, "sqlstate") or hasattr(error, "pgcode")
    return fault(error, place) if of_driver else error
