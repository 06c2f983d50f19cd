"""What differs between SQL databases, as far as statements go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import BindParameter, ColumnElement, Dialect, Table, TableValuedAlias, bindparam, func, select
from sqlalchemy.dialects import sqlite

_dumps = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, eq=False)
class Flavour:
    """A kind of database: how it is spoken to, and how a list of any length becomes one parameter."""

    name: str
    dialect: Dialect
    insert: Callable[[Table], Any]
    """An INSERT that knows ON CONFLICT."""
    unfold: Callable[[BindParameter[Any]], TableValuedAlias]
    """The rows, with a column `value`, of a list parameter."""
    pack: Callable[[Sequence[Any]], Any]
    """A list as such a parameter."""
    locks: bool
    """Whether rows must be locked while they are decided about; SQLite has one writer anyway."""
    counts: bool
    """Whether the driver tells how many rows a statement changed that was run for many."""

    def among(self, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
        """Whether a column is among the values of the list parameter `name`."""
        return column.in_(select(self.unfold(bindparam(name)).c.value))


SQLITE = Flavour(
    name="sqlite",
    dialect=sqlite.dialect(),
    insert=sqlite.insert,
    unfold=lambda values: func.json_each(values).table_valued("value"),
    pack=lambda values: _dumps(values).decode(),
    locks=False,
    counts=True,
)
