"""The statements of the hot paths, one function each, compiled once per shape to the driver's own SQL.

Their parameters are bound by position, in the order that each docstring tells.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Index,
    Select,
    Table,
    bindparam,
    case,
    delete,
    exists,
    func,
    literal_column,
    null,
    select,
    text,
    true,
    update,
)
from sqlalchemy.sql import ClauseElement

from rota.stores.sql import tables
from rota.stores.sql.columns import KEY
from rota.stores.sql.flavours import Flavour
from rota.stores.sql.tables import runs, sessions, terms

compiled_once = lru_cache(maxsize=512)

ZERO: ColumnElement[int] = literal_column("0")
ONE: ColumnElement[int] = literal_column("1")


def render(flavour: Flavour, statement: ClauseElement, *order: str) -> str:
    """The driver's SQL; `order` is what its positions must be."""
    compiled: Any = statement.compile(dialect=flavour.dialect)
    found = tuple(compiled.positiontup or ())
    if found != order:
        raise AssertionError(f"parameters are {found}, not {order}")
    return str(compiled)


@compiled_once
def read(flavour: Flavour, table: Table) -> str:
    """Whole rows by id. (ids)."""
    return render(flavour, select(*_whole(table)).where(flavour.among(table.c.id, "ids")), "ids")


@compiled_once
def read_by(flavour: Flavour, table: Table, column: str) -> str:
    """Whole rows by a column that is each row's own, and that column. (values)."""
    own = table.c[column]
    return render(flavour, select(*_whole(table), own.label("own")).where(flavour.among(own, "values")), "values")


@compiled_once
def placed(flavour: Flavour, column: str) -> str:
    """Whole runs by id or by seq, and their seq. (values)."""
    found = select(*_whole(runs), runs.c.seq).where(flavour.among(runs.c[column], "values"))
    return render(flavour, _locked(flavour, found.order_by(runs.c[column])), "values")


@compiled_once
def versions(flavour: Flavour, table: Table) -> str:
    """Ids and versions, of rows that stay as they are until the end of the transaction. (ids)."""
    statement = select(table.c.id, table.c.version).where(flavour.among(table.c.id, "ids"))
    return render(flavour, _locked(flavour, statement.order_by(table.c.id)), "ids")


@compiled_once
def add(flavour: Flavour, table: Table, columns: tuple[str, ...]) -> str:
    """Each new row, unless there is one of its id. (columns in the table's order, version)."""
    names = (*columns, "version")
    return render(flavour, _adding(flavour, table, names).on_conflict_do_nothing(index_elements=["id"]), *names)


@compiled_once
def change(flavour: Flavour, table: Table, columns: tuple[str, ...], own: str) -> str:
    """New values of each row as it was. (columns in the table's order, version, its own, old version)."""
    new: Any = _each(flavour, {name: table.c[name] for name in (*columns, "version")} | _old(table, own))
    found = update(table).values({name: new[name] for name in (*columns, "version")})
    return render(flavour, found.where(*_unchanged(table, own, new)), *columns, "version", *_old(table, own))


@compiled_once
def change_all(flavour: Flavour, table: Table, columns: tuple[str, ...], own: str) -> str:
    """The same new values of rows as they were. (columns in the table's order, version, their own, old version)."""
    new: dict[str, Any] = {name: bindparam(name) for name in (*columns, "version")}
    found = update(table).values(new).where(flavour.among(table.c[own], "_own"), table.c.version == bindparam("_was"))
    return render(flavour, found, *columns, "version", "_own", "_was")


@compiled_once
def remove(flavour: Flavour, table: Table) -> str:
    """Delete each row as it was. (id, old version)."""
    gone = _each(flavour, _old(table, "id"))
    return render(flavour, delete(table).where(*_unchanged(table, "id", gone)), *_old(table, "id"))


@compiled_once
def remove_all(flavour: Flavour, table: Table, column: str) -> str:
    """Delete rows by a column. (values)."""
    return render(flavour, delete(table).where(flavour.among(table.c[column], "values")), "values")


@compiled_once
def some_lines(flavour: Flavour) -> str:
    """Run and id of the first lines of these runs, run by run. (runs, limit)."""
    lines = tables.lines
    found = select(lines.c.run, lines.c.id).where(flavour.among(lines.c.run, "runs")).order_by(lines.c.run, lines.c.id)
    return render(flavour, found.limit(bindparam("limit")).offset(ZERO), "runs", "limit")


@compiled_once
def count_cell(flavour: Flavour) -> str:
    """Add to each tally. (all columns, version)."""
    names = tuple(tables.tallies.c.keys())
    new = _adding(flavour, tables.tallies, names)
    grown = {name: tables.tallies.c[name] + new.excluded[name] for name in ("count", "total_ms")}
    statement = new.on_conflict_do_update(index_elements=["id"], set_={**grown, "version": new.excluded.version})
    return render(flavour, statement, *names)


@compiled_once
def count_beat(flavour: Flavour) -> str:
    """Raise each pulse to the present instant, by one at least. (id, now, version)."""
    names = tuple(tables.pulses.c.keys())
    new = _adding(flavour, tables.pulses, names)
    count, now = tables.pulses.c["count"], new.excluded["count"]
    raised = {"count": case((now > count, now), else_=count + ONE), "version": new.excluded.version}
    return render(flavour, new.on_conflict_do_update(index_elements=["id"], set_=raised), *names)


@compiled_once
def term(flavour: Flavour, share: bool) -> str:
    """Number, holder and end of a term, which stays so; with `share` others may look at it, too. (name)."""
    columns = select(terms.c.number, terms.c.holder, terms.c.expires_at)
    return render(flavour, _locked(flavour, columns.where(terms.c.name == bindparam("name")), share), "name")


@compiled_once
def begin_term(flavour: Flavour) -> str:
    """Make a term that nobody holds, unless there is one. (name)."""
    blank = {"name": bindparam("name"), "number": ZERO, "holder": literal_column("''"), "expires_at": ZERO}
    return render(flavour, flavour.insert(terms).values(blank).on_conflict_do_nothing(), "name")


@compiled_once
def grant(flavour: Flavour) -> str:
    """Set a term. (number, holder, end, name)."""
    new: dict[str, Any] = {name: bindparam(name) for name in ("number", "holder", "expires_at")}
    return render(flavour, update(terms).values(new).where(terms.c.name == bindparam("_name")), *new, "_name")


@compiled_once
def open_sessions(flavour: Flavour) -> str:
    """Ids of those sessions that are open, and stay so. (ids)."""
    statement = select(sessions.c.id).where(flavour.among(sessions.c.id, "ids"), sessions.c.closed_at.is_(None))
    return render(flavour, _locked(flavour, statement, share=True), "ids")


@compiled_once
def held(flavour: Flavour) -> str:
    """Session, number, digest and cancelled ids of its running runs, from the index alone. (sessions)."""
    digest = func.sum(runs.c.token.bitwise_and(literal_column(str((1 << 31) - 1))))
    cancelled = case((text("cancel <> ''"), runs.c.id), else_=null())
    comma: Any = literal_column("','")
    columns = runs.c.session, func.count(), digest, func.aggregate_strings(cancelled, comma)
    running = select(*columns).where(text(tables.RUNNING), flavour.among(runs.c.session, "sessions"))
    return render(flavour, running.group_by(runs.c.session), "sessions")


@compiled_once
def paused(flavour: Flavour) -> str:
    """Ids of paused queues. ()."""
    return render(flavour, select(tables.queues.c.id).where(text("paused <> ''")))


@compiled_once
def stocked(flavour: Flavour) -> str:
    """Those of these lanes that hold ready runs. (lanes)."""
    lane = flavour.unfold("lanes")
    first = select(ONE).where(text(tables.PENDING), runs.c.lane == lane).limit(ONE).offset(ZERO).correlate_except(runs)
    return render(flavour, select(lane).where(first.scalar_subquery().is_not(None)), "lanes")


@compiled_once
def shelves(flavour: Flavour) -> str:
    """Those of these namespaces and states in which runs are listed, in pairs. (namespaces, states)."""
    space, state = flavour.unfold("namespaces"), flavour.unfold("states")
    own = text(tables.LISTED), runs.c.namespace == space, runs.c.state == state
    first = select(ONE).where(*own).limit(ONE).offset(ZERO).correlate_except(runs)
    found = select(space, state).where(first.scalar_subquery().is_not(None))
    return render(flavour, found, "namespaces", "states")


@compiled_once
def ready(flavour: Flavour, excluding: bool, whole: bool) -> str:
    """The first ready runs of a lane whose queue is not paused. (lane, queue, [tasks,] limit).

    Whole rows and seq, or rank and seq from the index.
    """
    columns = [*_whole(runs), runs.c.seq] if whole else [runs.c.rank, runs.c.seq]
    first = _ready(flavour, columns, bindparam("lane"), bindparam("queue"), excluding)
    order = ("lane", "queue", *(("tasks",) if excluding else ()), "limit")
    return render(flavour, first.order_by(runs.c.rank, runs.c.seq).limit(bindparam("limit")).offset(ZERO), *order)


@compiled_once
def taken(flavour: Flavour, excluding: bool) -> str:
    """The first ready runs of each of these lanes: whole rows, seq, and how many there are in all of them, up to the
    limit in each, with those that somebody else is about to take. (session, lanes, their queues, [tasks,] limit).

    Nobody else can take them meanwhile, nor close the session. An open one gets a row of each lane at least, perhaps
    with an empty seq.
    """
    is_open = sessions.c.id == bindparam("session"), sessions.c.closed_at.is_(None)
    alive = select(ONE.label("one")).where(*is_open).with_for_update(read=True).cte("alive")
    each: Any = flavour.each
    line, other = (each({"_lane": KEY, "_queue": KEY}) for _ in range(2))
    whole = _ready(flavour, [*_whole(runs), runs.c.seq], line.c._lane, line.c._queue, excluding)
    whole = whole.order_by(runs.c.rank, runs.c.seq).limit(bindparam("limit")).with_for_update(skip_locked=True)
    some = _ready(flavour, [ONE], other.c._lane, other.c._queue, excluding).limit(bindparam("limit")).lateral("some")
    stock = select(func.count().label("number")).select_from(other.join(some, true())).cte("stock")
    first = whole.lateral("first")
    found = alive.join(stock, true()).join(line, true()).outerjoin(first, true())
    order = ("session", "_lane", "_queue", *(("tasks",) if excluding else ()), "limit")
    return render(flavour, select(*first.c, stock.c.number).select_from(found), *order)


@compiled_once
def due(flavour: Flavour, index: Index) -> str:
    """Whole rows whose time has come, earliest first. (now, limit)."""
    moment, tie = index.expressions
    table: Any = index.table
    found = select(*_whole(table)).where(moment <= bindparam("now")).order_by(moment, tie)
    found = found.limit(bindparam("limit")).offset(ZERO)
    return render(flavour, found, "now", "limit")


@compiled_once
def next_due(flavour: Flavour, index: Index) -> str:
    """The first instant that has not come. (now)."""
    moment: Any = index.expressions[0]
    found = select(moment).where(moment > bindparam("now")).order_by(moment).limit(ONE).offset(ZERO)
    return render(flavour, found, "now")


@compiled_once
def append(flavour: Flavour) -> str:
    """Each new line of a log. (run, attempt, at, stream, level, text)."""
    names = tuple(tables.lines.c.keys()[1:])
    return render(flavour, _adding(flavour, tables.lines, names), *names)


def _ready(flavour: Flavour, columns: Sequence[Any], lane: Any, queue: Any, excluding: bool) -> Select[Any]:
    """Ready runs of a lane whose queue is not paused."""
    paused = exists().where(tables.queues.c.id == queue, text("queues.paused <> ''")).correlate_except(tables.queues)
    found = select(*columns).select_from(runs).where(text(tables.PENDING), runs.c.lane == lane, ~paused)
    if excluding:
        task = runs.c.namespace.concat(literal_column("'/'")).concat(runs.c.task)
        found = found.where(~flavour.among(task, "tasks"))
    return found


def _whole(table: Table) -> list[ColumnElement[Any]]:
    """The columns of a record, and its version."""
    return [column for column in table.c if column.name != "seq"]


def _each(flavour: Flavour, types: Mapping[str, Column[Any]]) -> Any:
    """The values of each row, where a statement is for many."""
    if flavour.each is None:
        return {name: bindparam(name) for name in types}
    return flavour.each({name: column.type for name, column in types.items()}).c


def _adding(flavour: Flavour, table: Table, names: Sequence[str]) -> Any:
    values = _each(flavour, {name: table.c[name] for name in names})
    new = flavour.insert(table)
    if flavour.each is None:
        return new.values(values)
    return new.from_select(names, select(*values.values()))


def _old(table: Table, own: str) -> dict[str, Column[Any]]:
    return {"_own": table.c[own], "_was": table.c.version}


def _unchanged(table: Table, own: str, each: Mapping[str, ColumnElement[Any]]) -> list[ColumnElement[bool]]:
    return [table.c[own] == each["_own"], table.c.version == each["_was"]]


def _locked(flavour: Flavour, statement: Select[Any], share: bool = False) -> Select[Any]:
    return statement.with_for_update(read=share) if flavour.locks else statement
