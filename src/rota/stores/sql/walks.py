"""Which index serves which listing.

A listing is one or several streams, each a range of one index in the order of the listing; what no index serves is the
rest. SQLite keeps no statistics here, so the conditions are written such that only the wanted index fits.
"""

from operator import ge, lt
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, ColumnElement, TextClause, bindparam, false
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from rota.domain.records import Audit, Session
from rota.domain.run import TERMINAL, Run, State
from rota.domain.schedule import Schedule, Skip
from rota.ports.store import Where
from rota.stores.kinds import BORN, ENDED, FIELDS, OPENED, lanes_start
from rota.stores.sql import statements, tables
from rota.stores.sql.db import Db
from rota.stores.sql.rows import KINDS

Key = tuple[Any, ...]
"""Where a record stands in a listing; the last part is its alone."""
Condition = ColumnElement[bool] | TextClause
Columns = ReadOnlyColumnCollection[str, Any]

STREAMS_LIMIT = 64
"""Above so many, of each state for a count or with a window of time, what begins walks along all runs instead."""

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


_STILL_OPEN: dict[type, str] = {Session: tables.UNCLOSED, Audit: tables.UNSEALED}
"""Kinds that have an index of what is open alone."""


class Stream(NamedTuple):
    """A range of one index."""

    where: Where
    """What the index serves."""
    within: str = ""
    """The condition of an index that has but some of the records."""
    starting: str = "id"
    """The column that begins with the prefix."""


class Walk(NamedTuple):
    """How a listing is found."""

    order: tuple[str, ...]
    """Columns; the last is each record's own."""
    streams: list[Stream]
    rest: Where
    """What is looked at record by record."""


def walk_of(db: Db, kind: type, where: Where, after: Key | None = None) -> Walk:
    """The walk for a filter; `after`: where the page before it ended, empty for the first; None: to count."""
    born, ended = column_of(BORN, kind), column_of(ENDED, kind)
    tie = "seq" if "seq" in KINDS[kind].table.c else "id"  # orders records of one instant
    # The id of a range of skips begins with that of its schedule.
    prefix = where.prefix or (f"{where.schedule}/" if kind is Skip and where.schedule else "")
    if prefix:
        return Walk(("id",), [Stream(Where(prefix=prefix))], where._replace(prefix=""))
    if where.ended_until is not None and ended:
        stream = Stream(Where(ended_until=where.ended_until))
        return Walk((ended, tie), [stream], where._replace(ended_until=None))
    if kind is Run:
        return _walk_runs(db, where, after)
    stream, rest = Stream(_window(where)), where._replace(since=None, until=None)
    if where.open and kind in _STILL_OPEN:
        stream, rest = stream._replace(within=_STILL_OPEN[kind]), rest._replace(open=None)
    if kind is Schedule and where.namespace and where.task:
        stream = Stream(stream.where._replace(namespace=where.namespace, task=where.task))
        rest = rest._replace(namespace="", task="")
    return Walk((born, tie) if born else ("id",), [stream], rest)


def _walk_runs(db: Db, where: Where, after: Key | None) -> Walk:
    """By the narrowest index that serves one of the fields; the window of time is part of each."""
    window, rest = _window(where), where._replace(since=None, until=None)
    streams: list[Stream] = []
    if where.session or where.states == (State.RUNNING,):
        rest = Where()
    elif where.schedule:
        live = bool(where.states) and not TERMINAL & set(where.states)
        same = window._replace(schedule=where.schedule)
        within = tables.UNENDED if live else tables.SCHEDULED
        streams = [Stream(same._replace(namespace=space), within) for space in _spaces(db, where)]
        rest = rest._replace(namespace="", schedule="")
    elif where.task:
        same = window._replace(task=where.task)
        streams = [Stream(same._replace(namespace=space), tables.LISTED) for space in _spaces(db, where)]
        rest = rest._replace(namespace="", task="")
    elif where.states == (State.PENDING,) and (after is None or (where.namespace and where.queue)):
        # It is counted here; a page of these would have all of them sorted.
        place = lanes_start(where) if where.namespace else ""
        streams = [Stream(window._replace(prefix=place), tables.PENDING, "lane")]
        rest = rest._replace(namespace="", states=(), queue="" if where.namespace else where.queue)
    else:
        streams = [
            Stream(window._replace(namespace=space, states=(state,)), tables.LISTED)
            for space, state in _shelves(db, where)
        ]
        rest = rest._replace(namespace="", states=())
    if State.RUNNING in (where.states or State):
        # No index of running runs knows more than their session, but they are few.
        streams.append(Stream(where._replace(states=()), tables.RUNNING))
    # Along all runs each one that is outside of the window, or not to be counted, would be looked at.
    most = STREAMS_LIMIT * len(State) if window != Where() or after is None else STREAMS_LIMIT
    # A listing goes on as it began, though states and namespaces fill and empty between its pages.
    if [type(part) for part in after or ()] == [int] or (not after and len(streams) > most):
        return Walk(("seq",), [Stream(Where())], where)
    return Walk(("created_at", "seq"), streams, rest)


def _shelves(db: Db, where: Where) -> list[tuple[str, str]]:
    """Each namespace and state of listed runs that has any."""
    states = [str(state) for state in dict.fromkeys(where.states or State) if state != State.RUNNING]
    found = db.rows(statements.shelves(db.flavour), [db.flavour.pack(one) for one in (_spaces(db, where), states)])
    return [(space, state) for space, state in found]


def _spaces(db: Db, where: Where) -> list[str]:
    return [where.namespace] if where.namespace else [row[0] for row in db.rows(_SPACES)]


def _window(where: Where) -> Where:
    return Where(since=where.since, until=where.until)


def column_of(moments: dict[type, str], kind: type) -> str:
    """The column that says when a record was made, or ended; empty if its kind has none."""
    return moments.get(kind, "").rpartition(".")[2]


def named(where: Where) -> Where:
    """The filter with names in place of its values: filters of one form need but one statement."""
    given: dict[str, Any] = {name: name for name in Where._fields if getattr(where, name) not in ("", None)}
    states = tuple(f"state{place}" for place in range(len(where.states)))
    return Where(**{**given, "states": states, "open": where.open})


def values(where: Where, tag: str = "") -> dict[str, Any]:
    """The values by those names, behind a tag."""
    states = {f"state{place}": str(state) for place, state in enumerate(where.states)}
    # No character comes behind this one.
    found = {**where._asdict(), **states, "prefix_end": where.prefix + chr(0x10FFFF)}
    return {tag + name: value for name, value in found.items()}


def conditions(kind: type, names: Where, columns: Columns, tag: str = "", starting: str = "id") -> list[Condition]:
    """Every field of a filter as a condition on the value of its name; a field that the kind lacks matches nothing."""

    def value(name: str) -> BindParameter[Any]:
        return bindparam(tag + name)

    none = false()
    born, ended = column_of(BORN, kind), column_of(ENDED, kind)
    found: list[Condition] = [
        columns[name] == value(name) if name in columns else none for name in FIELDS if getattr(names, name)
    ]
    if names.states:
        found.append(columns.state.in_([value(name) for name in names.states]) if kind is Run else none)
    if names.prefix:
        found += [columns[starting] >= value("prefix"), columns[starting] < value("prefix_end")]
    for name, column, compare in (("since", born, ge), ("until", born, lt), ("ended_until", ended, lt)):
        if getattr(names, name) is not None:
            found.append(compare(columns[column], value(name)) if column else none)
    if names.open is not None:
        found.append(columns[ended].is_(None) == names.open if kind in OPENED else none)
    return found
