"""Rows to be written, gathered so that those of one shape share a statement.

They are gathered and checked before a transaction begins, so that it holds no lock while Python works.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Table

from rota.domain.records import Tally
from rota.domain.run import Run
from rota.stores.codec import identity
from rota.stores.sql import statements, tables
from rota.stores.sql.db import Db, Moved, chunks
from rota.stores.sql.rows import KINDS, Columns, Row, check, culprit

ALIKE = 4
"""From so many rows with the same new values on, one statement for all of them is faster than one each."""

FEW = 50
"""Runs whose lines go in one statement: there may be thousands of each, and a statement must not take too long."""

BLOBS = ("payload", "result")
"""Large values of a run, `run/payload` and `run/result`."""


class Writes:
    """What is to be added, changed, removed and counted. Raises what the codec does for what cannot be written.

    `own` names the column of a run by which its changes find it: `id`, or the faster `seq` for who has just read it.
    """

    def __init__(self, own: str = "id") -> None:
        self._own = own
        self._added: dict[tuple[Table, Columns], list[Row]] = defaultdict(list)
        self._changed: dict[tuple[Table, Columns], dict[Row, list[Any]]] = defaultdict(lambda: defaultdict(list))
        """By their new values and the version that was, what changes to these."""
        self._removed: dict[type, list[tuple[str, int]]] = defaultdict(list)
        self._counted: dict[Row, list[int]] = defaultdict(lambda: [0, 0])

    def add(self, now: Any) -> None:
        """A new record."""
        kind = KINDS[type(now)]
        columns, row = kind.added(now)
        self._added[kind.table, columns].append(row)

    def change(self, key: Any, was: Any, version: int, now: Any) -> None:
        """A record that stays, if it is still of this version; only what differs is written."""
        kind = KINDS[type(now)]
        columns, values = kind.changed(was, now)
        self._changed[kind.table, columns][*values, version].append(key)

    def remove(self, key: str, kind: type, version: int) -> None:
        """A record that goes, if it is still of this version; a run takes its lines and large values with it."""
        self._removed[kind].append((key, version))

    @property
    def gone(self) -> Sequence[tuple[str, int]]:
        """Ids and versions of the runs that go."""
        return self._removed.get(Run, ())

    def count(self, tally: Tally) -> None:
        """Add to a counter; each cell is written once."""
        total = self._counted[tally[:7]]
        total[0] += tally.count
        total[1] += tally.total_ms

    def check(self) -> None:
        """Raise `Invalid` that names the id of what cannot be stored."""
        for rows, ids in self._all():
            check(rows, ids)

    def flush(self, db: Db) -> int:
        """Write everything; the number of records that were as expected. What the driver refuses is `Invalid`.

        Tables and keys come in one order everywhere, so that two who write the same ones rarely wait for each other.
        """
        try:
            number = 0
            for kind, gone in sorted(self._removed.items(), key=lambda one: one[0].__name__):
                number += _remove(db, KINDS[kind].table, sorted(gone))
            for (table, columns), alike in self._changed.items():
                number += self._change(db, table, columns, alike)
            for (table, columns), rows in sorted(self._added.items(), key=lambda one: one[0][0].name):
                new = [(*row, db.stamp) for row in sorted(rows, key=itemgetter(0))]
                number += db.add_all(table, columns, new)
            if self._counted:
                tallies = [Tally._make((*cell, *total)) for cell, total in sorted(self._counted.items())]
                db.write_all(
                    statements.count_cell(db.flavour), [(identity(tally), *tally, db.stamp) for tally in tallies]
                )
        except Moved:
            raise
        except Exception:
            for given, keys in self._all():
                culprit(given, keys)
            raise
        return number

    def _change(self, db: Db, table: Table, columns: Columns, alike: dict[Row, list[Any]]) -> int:
        own = self._own if table is tables.runs else "id"
        single: list[Row] = []
        number = 0
        for (*values, version), keys in alike.items():
            if len(keys) < ALIKE:
                single += [(*values, db.stamp, key, version) for key in keys]
                continue
            statement = statements.change_all(db.flavour, table, columns, own)
            for chunk in chunks(keys):
                number += db.write(statement, (*values, db.stamp, db.flavour.pack(chunk), version))
        if single:
            number += db.write_all(statements.change(db.flavour, table, columns, own), single)
        return number

    def _all(self) -> Iterator[tuple[Sequence[Row], Sequence[str]]]:
        for rows in self._added.values():
            yield rows, [row[0] for row in rows]
        for alike in self._changed.values():
            yield list(alike), [keys[0] for keys in alike.values()]
        cells = list(self._counted)
        yield cells, [str(cell) for cell in cells]


def _remove(db: Db, table: Table, gone: Sequence[tuple[str, int]]) -> int:
    number = db.write_all(statements.remove(db.flavour, table), gone)
    if table is tables.runs:
        _remove_all(db, tables.lines, "run", [run for run, _ in gone])
        _remove_all(db, tables.blobs, "id", [f"{run}/{name}" for run, _ in gone for name in BLOBS])
    return number


def _remove_all(db: Db, table: Table, column: str, values: Sequence[str]) -> None:
    for chunk in chunks(values, FEW):
        db.write(statements.remove_all(db.flavour, table, column), (db.flavour.pack(chunk),))
