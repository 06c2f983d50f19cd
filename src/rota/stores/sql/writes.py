"""Rows to be written, gathered so that those of one shape share a statement.

They are gathered and checked before a transaction begins, so that it holds no lock while Python works.
"""

from collections import defaultdict
from collections.abc import Callable, Container, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Table

from rota.domain.run import Run
from rota.stores.sql import statements, tables
from rota.stores.sql.db import Db, chunks
from rota.stores.sql.rows import KINDS, Row, cells, changed, check, culprit, filled, names

ALIKE = 4
"""From so many rows with the same new values on, one statement for all of them is faster than one each."""

BLOBS = ("payload", "result")
"""Large values of a run, `run/payload` and `run/result`."""


class _Entry(NamedTuple):
    """One row: the group that it belongs to, its id, and the values to set."""

    owner: int
    id: str
    values: Row


class _Columns(NamedTuple):
    """Columns that a statement sets."""

    table: Table
    names: tuple[str, ...]


_Shaped = tuple[_Columns, Callable[[Any], Row]]


@lru_cache(maxsize=512)
def _run_shape(places: tuple[int, ...]) -> _Shaped:
    return _Columns(tables.runs, names(places)), cells(places)


@lru_cache(maxsize=None)
def _kind_shape(kind: type, fresh: bool) -> _Shaped:
    table, columns, take = KINDS[kind].table, KINDS[kind].columns, KINDS[kind].row
    return (_Columns(table, columns), take) if fresh else (_Columns(table, columns[1:]), lambda now: take(now)[1:])


class Writes:
    """What is to be added, changed and removed, by whom; `owner` is the number of a group."""

    def __init__(self) -> None:
        self._added: dict[_Columns, list[_Entry]] = defaultdict(list)
        self._changed: dict[_Columns, list[_Entry]] = defaultdict(list)
        self._removed: dict[Table, list[_Entry]] = defaultdict(list)

    def add(self, owner: int, key: str, now: Any) -> None:
        """A new record."""
        columns, take = _run_shape(filled(now)) if type(now) is Run else _kind_shape(type(now), fresh=True)
        self._added[columns].append(_Entry(owner, key, take(now)))

    def change(self, owner: int, key: str, was: Any, now: Any) -> None:
        """A record that stays; of a run only what differs is written."""
        columns, take = _run_shape(changed(was, now)) if type(now) is Run else _kind_shape(type(now), fresh=False)
        self._changed[columns].append(_Entry(owner, key, take(now)))

    def remove(self, owner: int, key: str, kind: type) -> None:
        """A record that goes; a run takes its lines and large values with it."""
        self._removed[KINDS[kind].table].append(_Entry(owner, key, ()))

    def check(self) -> None:
        """Raise `Invalid` that names the id of what cannot be stored."""
        for entries in (*self._added.values(), *self._changed.values()):
            check([entry.values for entry in entries], [entry.id for entry in entries])

    def flush(self, db: Db, owners: Container[int]) -> None:
        """Write all that belongs to these groups. What the driver refuses for its values is `Invalid`."""
        try:
            for table, gone in self._removed.items():
                self._remove(db, table, [entry.id for entry in gone if entry.owner in owners])
            for columns, entries in self._changed.items():
                self._change(db, columns, [entry for entry in entries if entry.owner in owners])
            for columns, entries in self._added.items():
                rows = [(*values, db.stamp) for owner, _, values in entries if owner in owners]
                if rows:
                    db.write_all(statements.add(db.flavour, *columns), rows)
        except Exception:
            self._blame()
            raise

    def _remove(self, db: Db, table: Table, ids: Sequence[str]) -> None:
        self._delete(db, table, ids)
        if table is tables.runs:
            self._delete(db, tables.lines, ids, "run")
            self._delete(db, tables.blobs, [f"{one}/{name}" for one in ids for name in BLOBS])

    def _delete(self, db: Db, table: Table, values: Sequence[str], column: str = "id") -> None:
        for chunk in chunks(values):
            db.write(statements.remove(db.flavour, table, column), (db.flavour.pack(chunk),))

    def _change(self, db: Db, columns: _Columns, entries: Sequence[_Entry]) -> None:
        alike: dict[Row, list[str]] = defaultdict(list)
        for _, key, values in entries:
            alike[values].append(key)
        single: list[Row] = []
        for values, ids in alike.items():
            if len(ids) < ALIKE:
                single += [(*values, db.stamp, key) for key in ids]
                continue
            for chunk in chunks(ids):
                db.write(statements.change_all(db.flavour, *columns), (*values, db.stamp, db.flavour.pack(chunk)))
        if single:
            db.write_all(statements.change(db.flavour, *columns), single)

    def _blame(self) -> None:
        for entries in (*self._added.values(), *self._changed.values()):
            culprit([entry.values for entry in entries], [entry.id for entry in entries])
