"""Records as rows and back.

Every field of a run is a column; retry, keys and history are compact JSON there, NULL if empty.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import compress
from math import isfinite
from operator import attrgetter, is_not, itemgetter, ne
from typing import Any

import msgspec
from sqlalchemy import Table

from rota.domain.errors import Invalid
from rota.domain.people import Token, User
from rota.domain.records import Audit, Blob, Pulse, Queue, Seal, Session, Tally, Unique, Until
from rota.domain.retry import Retry
from rota.domain.run import Attempt, Run, State
from rota.domain.schedule import Schedule, Skip
from rota.domain.task import Revision, Task
from rota.ports.store import Versioned
from rota.stores import codec
from rota.stores.codec import identity, without_nul
from rota.stores.sql import tables

Row = tuple[Any, ...]
Columns = tuple[str, ...]

_JSON = msgspec.json.Encoder().encode
_STATES: dict[str, State] = {state.value: state for state in State}
_INT64 = 1 << 63
_MASK = (1 << 64) - 1


class Kind:
    """How records of a kind lie in their table."""

    def __init__(self, table: Table, head: Callable[[Any], Row], record: Callable[[Sequence[Any]], Any]) -> None:
        """`head`: all columns of a record, the id first; `record`: the record from them."""
        self.table = table
        self.record = record
        self.columns: Columns = tuple(name for name in table.c.keys()[:-1] if name != "seq")
        """Names of all columns of a record, without the version."""
        self._head = head

    def row(self, record: Any) -> Row:
        """All columns but the version."""
        return self._head(record)

    def added(self, record: Any) -> tuple[Columns, Row]:
        """Names and values of the columns of a new one."""
        return self.columns, self.row(record)

    def changed(self, was: Any, now: Any) -> tuple[Columns, Row]:
        """Names and values of the columns that differ; a body always does."""
        new = self._head(now)
        places = list(compress(range(len(new)), map(ne, self._head(was), new)))
        return tuple(self.columns[place] for place in places), tuple(new[place] for place in places)

    def versioned(self, row: Sequence[Any]) -> Versioned[Any]:
        """The record from a whole row, the version last."""
        return Versioned(self.record(row[:-1]), row[-1])


class _Bodied(Kind):
    """A kind whose record lies in the last column, its body; those ahead of it are what people filter by."""

    def __init__(self, kind: type, table: Table, *fields: str) -> None:
        """`fields`: where they are named otherwise than the columns."""
        head = attrgetter(*(fields or table.c.keys()[:-2]))
        super().__init__(table, head, lambda row: codec.decode(kind, row[-1]))

    def row(self, record: Any) -> Row:
        return *self._head(record), codec.encode(record).decode()

    def changed(self, was: Any, now: Any) -> tuple[Columns, Row]:
        columns, values = super().changed(was, now)
        return (*columns, "body"), (*values, codec.encode(now, was).decode())


class _Runs(Kind):
    """Runs: of a new one only what is not at its default is written."""

    def added(self, record: Run) -> tuple[Columns, Row]:
        columns, cells_of = _shape(filled(record))
        return columns, cells_of(record)

    def changed(self, was: Run, now: Run) -> tuple[Columns, Row]:
        columns, cells_of = _shape(changed(was, now))
        return columns, cells_of(now)


def signed(token: int) -> int:
    """64 random bits as databases keep them; `token & 0x7fffffff` is the same on either side."""
    return token - (1 << 64) if token >= _INT64 else token


def _json(value: object) -> str | None:
    return without_nul(_JSON(value)).decode() if value else None


def _retry(retry: Retry | None) -> str | None:
    if retry is not None and not (isfinite(retry.rate) and isfinite(retry.jitter)):
        raise ValueError("retry: rate and jitter are finite numbers")
    return _json(retry)


_PLACE = {name: place for place, name in enumerate(Run._fields)}
_WRITTEN: dict[str, Callable[[Any], Any]] = {
    # Members of an enum go to the driver as plain values: it would look for an adapter of each.
    "priority": int,
    "state": str.__str__,
    "reason": str.__str__,
    "cause": str.__str__,
    "keys": _json,
    "retry": _retry,
    "token": signed,
    "history": _json,
}
_STATE, _KEYS, _RETRY, _TOKEN = (_PLACE[name] for name in ("state", "keys", "retry", "token"))
_SPILLED, _HISTORY = _PLACE["spilled"], _PLACE["history"]
_read_keys = msgspec.json.Decoder(tuple[str, ...]).decode
_read_retry = msgspec.json.Decoder(Retry).decode
_read_history = msgspec.json.Decoder(tuple[Attempt, ...]).decode

_WIDTH = len(Run._fields)
_PLACES = range(_WIDTH)
_DEFAULTS = tuple(Run._field_defaults.get(name, _JSON) for name in Run._fields)

Places = tuple[int, ...]
"""Columns of a run, by their place among its fields."""


def changed(was: Run, now: Run) -> Places:
    """What differs. Equal values that are not the same object may be among it, never the id."""
    places = tuple(compress(_PLACES, map(is_not, was, now)))
    return places[1:] if places and places[0] == 0 else places


def filled(run: Run) -> Places:
    """What is not at its default; the columns have the same defaults."""
    return tuple(compress(_PLACES, map(is_not, run, _DEFAULTS)))


def names(places: Places) -> Columns:
    """Columns by place."""
    return tuple(Run._fields[place] for place in places)


def cells(places: Places) -> Callable[[Run], Row]:
    """The function that gives the values of these columns as the database keeps them."""
    written = [(spot, _WRITTEN[name]) for spot, name in enumerate(names(places)) if name in _WRITTEN]
    take = itemgetter(*places) if len(places) > 1 else lambda run: tuple(run[place] for place in places)
    if not written:
        return take

    def converted(run: Run) -> Row:
        values = list(take(run))
        for spot, write in written:
            values[spot] = write(values[spot])
        return tuple(values)

    return converted


def run_of(row: Sequence[Any]) -> Run:
    """The run from the columns of its table; more may follow."""
    values = list(row[:_WIDTH])
    values[_STATE] = _STATES[values[_STATE]]
    values[_KEYS] = _read_keys(values[_KEYS]) if values[_KEYS] else ()
    if values[_RETRY]:
        values[_RETRY] = _read_retry(values[_RETRY])
    values[_TOKEN] &= _MASK
    values[_SPILLED] = bool(values[_SPILLED])
    values[_HISTORY] = _read_history(values[_HISTORY]) if values[_HISTORY] else ()
    return tuple.__new__(Run, values)


@lru_cache(maxsize=512)
def _shape(places: Places) -> tuple[Columns, Callable[[Run], Row]]:
    return names(places), cells(places)


KINDS: dict[type, Kind] = {
    Run: _Runs(tables.runs, cells(tuple(_PLACES)), run_of),
    Task: _Bodied(Task, tables.tasks),
    Revision: _Bodied(Revision, tables.revisions, "id", "task.updated_at"),
    Schedule: _Bodied(Schedule, tables.schedules),
    Queue: _Bodied(Queue, tables.queues),
    Session: _Bodied(Session, tables.sessions),
    Pulse: Kind(tables.pulses, tuple, Pulse._make),
    Unique: Kind(
        tables.uniques,
        lambda one: (one.id, one.run, one.body, str.__str__(one.until), one.expires_at),
        lambda row: Unique(row[0], row[1], row[2], Until(row[3]), row[4]),
    ),
    Skip: Kind(
        tables.skips,
        lambda skip: (skip.id, *skip[:5], str.__str__(skip.reason)),
        lambda row: Skip._make(row[1:]),
    ),
    Audit: Kind(tables.audit, attrgetter(*tables.audit.c.keys()[:-1]), lambda row: Audit(*row)),
    Seal: _Bodied(Seal, tables.seals),
    User: _Bodied(User, tables.users),
    Token: _Bodied(Token, tables.tokens),
    Blob: Kind(tables.blobs, attrgetter("id", "created_at", "data"), lambda row: Blob(row[0], row[2], row[1])),
    Tally: Kind(tables.tallies, lambda tally: (identity(tally), *tally), lambda row: Tally._make(row[1:])),
}


def check(rows: Iterable[Row], ids: Sequence[str]) -> None:
    """Raise `Invalid` that names the id of the first row with a value no database keeps: NUL, a lone surrogate."""
    rows = list(rows)
    try:
        without_nul(_JSON(rows))
    except (ValueError, TypeError):
        culprit(rows, ids)


def culprit(rows: Sequence[Row], ids: Sequence[str]) -> None:
    """Look at each value; raise `Invalid` for the first that cannot be kept."""
    for row, one in zip(rows, ids, strict=True):
        for value in row:
            if fault := _fault(value):
                raise Invalid(one, f"cannot be stored: {fault}")


def _fault(value: Any) -> str:
    if isinstance(value, str):
        if "\0" in value:
            return "text cannot hold NUL"
        return "" if value.isascii() or not any("\ud800" <= one <= "\udfff" for one in value) else "a lone surrogate"
    if isinstance(value, int):
        return "" if -_INT64 <= value < _INT64 else f"{value} has more than 64 bits"
    return "" if value is None or isinstance(value, bytes) else f"a {type(value).__name__} is no column's type"
