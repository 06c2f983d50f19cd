"""What differs between SQL databases, as far as statements go."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Dialect, Table, TableValuedAlias, bindparam, func, select
from sqlalchemy.dialects import sqlite

_dumps = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, eq=False)
class Flavour:
    """A kind of database: how it is spoken to, and how a list of any length becomes one parameter."""

    dialect: Dialect
    insert: Callable[[Table], Any]
    """An INSERT that knows ON CONFLICT."""
    unfold: Callable[[str], ColumnElement[Any]]
    """The column of a table that a list parameter of texts, of this name, is unfolded to."""
    among: Callable[[ColumnElement[Any], str], ColumnElement[bool]]
    """Whether a column is among the values of the list parameter of this name."""
    pack: Callable[[Sequence[Any]], Any]
    """A list as such a parameter."""
    each: Callable[[Mapping[str, Any]], TableValuedAlias] | None
    """The table that lists, by name and type, are unfolded to; None: the driver repeats a statement for each row."""
    locks: bool
    """Whether rows must be locked while they are decided about; SQLite has one writer anyway."""
    tables: str
    """The query for the names of all tables."""


def _in_json(name: str) -> ColumnElement[Any]:
    return func.json_each(bindparam(name)).table_valued("value").c.value


SQLITE = Flavour(
    dialect=sqlite.dialect(),
    insert=sqlite.insert,
    unfold=_in_json,
    among=lambda column, name: column.in_(select(_in_json(name))),
    pack=lambda values: _dumps(values).decode(),
    each=None,
    locks=False,
    tables="SELECT name FROM sqlite_master WHERE type = 'table'",
)
