"""Which index serves which listing.

A listing is one or several streams, each a range of one index in the order of the listing; what no index serves is the
rest. SQLite keeps no statistics here, so the conditions are written such that only the wanted index fits.
"""

from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, TextClause, false, literal_column, text
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from rota.domain.records import Audit
from rota.domain.run import TERMINAL, Run, State
from rota.domain.schedule import Schedule, Skip
from rota.ports.store import Where
from rota.stores.kinds import BORN, ENDED, FIELDS, OPENED, lanes_start
from rota.stores.sql import statements, tables
from rota.stores.sql.db import Db
from rota.stores.sql.rows import KINDS
from rota.stores.sql.tables import runs

Key = tuple[Any, ...]
"""Where a record stands in a listing; the last part is its alone."""
Condition = ColumnElement[bool] | TextClause
Stream = list[Condition]
Columns = ReadOnlyColumnCollection[str, Any]

STREAMS_LIMIT = 64
"""Above so many, of each state with a window of time, a listing that begins walks along all runs instead."""

_SPACES = """
    WITH RECURSIVE found(name) AS (
        SELECT min(namespace) FROM runs WHERE state <> 'running'
        UNION ALL
        SELECT (SELECT min(namespace) FROM runs WHERE namespace > found.name AND state <> 'running')
        FROM found WHERE found.name IS NOT NULL
    )
    SELECT name FROM found WHERE name IS NOT NULL
"""
"""All namespaces that listed runs have, by one step in the index each."""


class Walk(NamedTuple):
    """How a listing is found."""

    order: tuple[Column[Any], ...]
    """Columns; the last is each record's own."""
    streams: list[Stream]
    """Conditions that an index serves, one list for each stream."""
    rest: Where
    """What is looked at record by record."""


def walk_of(db: Db, kind: type, where: Where, after: Key | None = None) -> Walk:
    """The walk for a filter; `after`: where the page before it ended, empty for the first; None: to count."""
    columns = KINDS[kind].table.c
    key, born, ended = columns.id, _moment(BORN, kind, columns), _moment(ENDED, kind, columns)
    tie = columns.get("seq", key)  # orders records of one instant
    # The id of a range of skips begins with that of its schedule.
    prefix = where.prefix or (f"{where.schedule}/" if kind is Skip and where.schedule else "")
    if prefix:
        return Walk((key,), [_starting(key, prefix)], where._replace(prefix=""))
    if where.ended_until is not None and ended is not None:
        stream: Stream = [ended < where.ended_until]
        return Walk((ended, tie), [stream], where._replace(ended_until=None))
    if kind is Run:
        return _walk_runs(db, where, after)
    window, rest = _split(kind, where)
    if kind is Audit and where.open:
        window, rest = [text(tables.UNSEALED), *window], rest._replace(open=None)
    if kind is Schedule and where.namespace and where.task:
        window += conditions(kind, Where(namespace=where.namespace, task=where.task))
        rest = rest._replace(namespace="", task="")
    return Walk((key,) if born is None else (born, tie), [window], rest)


def _walk_runs(db: Db, where: Where, after: Key | None) -> Walk:
    """By the narrowest index that serves one of the fields; the window of time is part of each."""
    window, rest = _split(Run, where)
    streams: list[Stream] = []
    # No index of running runs knows more than their session, but they are few.
    running = [text(tables.RUNNING), *conditions(Run, where._replace(since=None, until=None, states=()))]
    if where.session or where.states == (State.RUNNING,):
        rest = Where()
    elif where.schedule:
        live = bool(where.states) and not TERMINAL & set(where.states)
        partial = text(tables.UNENDED if live else tables.SCHEDULED)
        same = runs.c.schedule == where.schedule
        streams = [[partial, runs.c.namespace == space, same] for space in _spaces(db, where)]
        rest = rest._replace(namespace="", schedule="")
    elif where.task:
        same = runs.c.task == where.task
        streams = [[text(tables.LISTED), runs.c.namespace == space, same] for space in _spaces(db, where)]
        rest = rest._replace(namespace="", task="")
    elif where.states == (State.PENDING,) and (after is None or (where.namespace and where.queue)):
        # It is counted here; a page of these would have all of them sorted.
        place = _starting(runs.c.lane, lanes_start(where)) if where.namespace else []
        streams = [[text(tables.PENDING), *place]]
        rest = rest._replace(namespace="", states=(), queue="" if where.namespace else where.queue)
    else:
        streams = _shelves(db, where)
        rest = rest._replace(namespace="", states=())
    if State.RUNNING in (where.states or State):
        streams.append(running)
    # Along all runs each one outside of the window would be looked at.
    most = STREAMS_LIMIT * len(State) if window else STREAMS_LIMIT
    # A listing goes on as it began, though states and namespaces fill and empty between its pages.
    if [type(part) for part in after or ()] == [int] or (not after and len(streams) > most):
        return Walk((runs.c.seq,), [[]], where)
    return Walk((runs.c.created_at, runs.c.seq), [stream + window for stream in streams], rest)


def _shelves(db: Db, where: Where) -> list[Stream]:
    """For each namespace and state of listed runs that has any, those runs."""
    states = [str(state) for state in dict.fromkeys(where.states or State) if state != State.RUNNING]
    found = db.rows(statements.shelves(db.flavour), [db.flavour.pack(one) for one in (_spaces(db, where), states)])
    return [[text(tables.LISTED), runs.c.namespace == space, runs.c.state == state] for space, state in found]


def _spaces(db: Db, where: Where) -> list[str]:
    return [where.namespace] if where.namespace else [row[0] for row in db.rows(_SPACES)]


def _split(kind: type, where: Where) -> tuple[Stream, Where]:
    """The window of time as conditions, and the filter without it."""
    return conditions(kind, Where(since=where.since, until=where.until)), where._replace(since=None, until=None)


def _starting(column: ColumnElement[Any], prefix: str) -> Stream:
    """Text that starts so, as a range of an index."""
    return [column >= prefix, column < prefix + chr(0x10FFFF)]


def _moment(names: dict[type, str], kind: type, columns: Columns) -> Column[Any] | None:
    """The column that says when a record was made, or ended, if its kind has one."""
    return columns[names[kind].rpartition(".")[2]] if kind in names else None


def conditions(kind: type, where: Where, columns: Columns | None = None) -> Stream:
    """Every field of a filter as a condition; a field that the kind lacks matches nothing."""
    missing: ColumnElement[Any] = literal_column("NULL")
    given = KINDS[kind].table.c if columns is None else columns
    born, ended = _moment(BORN, kind, given), _moment(ENDED, kind, given)
    found: Stream = [given.get(name, missing) == value for name in FIELDS if (value := getattr(where, name))]
    if where.states:
        found.append(given.state.in_([str(state) for state in where.states]) if kind is Run else false())
    if where.prefix:
        found += _starting(given.id, where.prefix)
    if where.since is not None:
        found.append(false() if born is None else born >= where.since)
    if where.until is not None:
        found.append(false() if born is None else born < where.until)
    if where.ended_until is not None:
        found.append(false() if ended is None else ended < where.ended_until)
    if where.open is not None:
        found.append(ended.is_(None) == where.open if kind in OPENED and ended is not None else false())
    return found
