"""`find` and `count`: pages merged from the streams of a listing (see `walks`), each looked at in its order.

What no index serves is filtered on the way, at most `LOOK_LIMIT` entries of a stream a page.
"""

from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Select, bindparam, func, select, text, tuple_

from rota.domain.errors import Invalid
from rota.domain.records import Tally
from rota.domain.run import Run, State
from rota.ports.store import LOOK_LIMIT, Page, Where
from rota.stores.kinds import BORN, ENDED, FIELDS, summed
from rota.stores.sql import statements
from rota.stores.sql.db import Asked, Db
from rota.stores.sql.flavours import Flavour
from rota.stores.sql.rows import KINDS
from rota.stores.sql.walks import Columns, Key, Stream, Walk, conditions, named, values, walk_of

LOOKED_AT = {*FIELDS, "id", "state", *(name.rpartition(".")[2] for name in (*BORN.values(), *ENDED.values()))}
"""Columns that a listing may be filtered by."""

ALL = 1 << 62

_BEHIND = ("behind0", "behind1")
"""Names of the parts of a cursor."""

_CURSOR = msgspec.json.Decoder(list[int | str])


class Form(NamedTuple):
    """What listings have in common that one statement serves; names stand in place of values."""

    kind: type
    order: tuple[str, ...]
    stream: Stream
    rest: Where
    begun: bool
    """Whether a page came before."""
    oldest: bool


def find(db: Db, kind: type, where: Where, cursor: str, limit: int, oldest: bool) -> Page[Any]:
    """One page. Where it is short, its cursor stands behind the last entry looked at."""
    shape = KINDS[kind]
    stopped = _stopped(cursor)
    walk = walk_of(db, kind, where, stopped or ())
    if stopped is not None and len(stopped) != len(walk.order):
        raise Invalid("cursor", "is none that this listing gave; begin again without it")
    keys: list[Key] = []
    edges: list[Key] = []
    for stream in walk.streams:
        found, edge = _looked(db, kind, walk, stream, stopped, limit, oldest)
        keys += found
        edges += edge
    keys.sort(reverse=not oldest)
    after = ""
    if edges:
        # What lies behind the nearest edge may have company from the stream that was not looked at further.
        last = min(edges) if oldest else max(edges)
        keys = [key for key in keys if (key <= last if oldest else key >= last)]
        after = msgspec.json.encode(last).decode()
    page = keys[:limit]
    if len(keys) > limit:
        after = msgspec.json.encode(page[-1]).decode() if page else cursor
    statement = statements.read_by(db.flavour, shape.table, walk.order[-1])
    rows = {row[-1]: row[:-1] for row in db.rows_among(statement, [key[-1] for key in page])}
    return Page(tuple(shape.versioned(rows[key[-1]]) for key in page), after)


def count(db: Db, kind: type, by: str, where: Where) -> dict[str, int]:
    """Numbers by the value of a column."""
    shape = KINDS[kind]
    if by not in shape.table.c:
        raise Invalid("by", f"{by!r} is no column; choose from {', '.join(shape.columns)}")
    if not (kind is Run and by == "state"):
        return summed((str(value), int(number)) for value, number in _counted(db, kind, by, where))
    # State by state, so that each is counted in its own index.
    parts = {state: where._replace(states=(state,)) for state in where.states or State}
    return summed((str(state), number) for state, part in parts.items() for (number,) in _counted(db, kind, "", part))


def _counted(db: Db, kind: type, by: str, where: Where) -> list[Key]:
    walk = walk_of(db, kind, where)
    asked = [(_numbers(db.flavour, _form(kind, walk, stream), by), _values(walk, stream)) for stream in walk.streams]
    return [row for one, given in asked for row in db.ask(one, {**given, "all": ALL})]


def _looked(
    db: Db, kind: type, walk: Walk, stream: Stream, stopped: Key | None, limit: int, oldest: bool
) -> tuple[list[Key], list[Key]]:
    """Keys of one stream, one more than a page; and its last key looked at, if there may be more behind it."""
    form = _form(kind, walk, stream, stopped is not None, oldest)
    given = {**_values(walk, stream), **dict(zip(_BEHIND, stopped or (), strict=False))}
    given |= {"limit": limit + 1, "most": LOOK_LIMIT, "last": LOOK_LIMIT - 1, "one": 1}
    found = db.ask(_fitting(db.flavour, form), given)
    if walk.rest == Where() or len(found) > limit:
        return found, []
    return found, db.ask(_edge(db.flavour, form), given)


def _form(kind: type, walk: Walk, stream: Stream, begun: bool = False, oldest: bool = False) -> Form:
    return Form(kind, walk.order, stream._replace(where=named(stream.where)), named(walk.rest), begun, oldest)


def _values(walk: Walk, stream: Stream) -> dict[str, Any]:
    return {**values(stream.where), **values(walk.rest, "rest_")}


def _written(flavour: Flavour, query: Select[Any]) -> Asked:
    compiled: Any = query.compile(dialect=flavour.dialect)
    return str(compiled), tuple(compiled.positiontup)


@statements.compiled_once
def _fitting(flavour: Flavour, form: Form) -> Asked:
    """The keys of those entries of a stream that fit the rest, the first ones."""
    if form.rest == Where():
        return _written(flavour, _first("limit", _entries(form)))
    table = KINDS[form.kind].table
    more = [column for column in table.c if column.name in LOOKED_AT and column.name not in form.order]
    seen = _first("most", _entries(form).add_columns(*more)).subquery().c
    fit = select(*[seen[name] for name in form.order]).where(*conditions(form.kind, form.rest, seen, "rest_"))
    return _written(flavour, _first("limit", fit.order_by(*_sorted(form, seen))))


@statements.compiled_once
def _edge(flavour: Flavour, form: Form) -> Asked:
    """The key of the last entry that is looked at."""
    return _written(flavour, _entries(form).limit(bindparam("one")).offset(bindparam("last")))


@statements.compiled_once
def _numbers(flavour: Flavour, form: Form, by: str) -> Asked:
    """Numbers by the value of a column, if one is given, of the entries that fit. The limit, which is none, keeps
    planners from taking an index that serves the rest.
    """
    columns: Columns = KINDS[form.kind].table.c
    fit = _ranged(form, select(*columns))
    if form.rest != Where():
        seen = _first("all", fit).subquery()
        fit = select(seen).where(*conditions(form.kind, form.rest, seen.c, "rest_"))
    fitting = fit.subquery()
    number = func.sum(fitting.c["count"]) if form.kind is Tally else func.count()
    each = [fitting.c[by]] if by else []
    return _written(flavour, select(*each, number).select_from(fitting).group_by(*each))


def _entries(form: Form) -> Select[Any]:
    """The keys of a stream in their order, from where the page before ended."""
    columns = KINDS[form.kind].table.c
    keys = [columns[name] for name in form.order]
    found = _ranged(form, select(*keys)).order_by(*_sorted(form, columns))
    if not form.begun:
        return found
    here = tuple_(*keys)
    there = tuple_(*[bindparam(name, type_=key.type) for name, key in zip(_BEHIND, keys, strict=False)])
    return found.where(here > there if form.oldest else here < there)


def _ranged(form: Form, query: Select[Any]) -> Select[Any]:
    stream, columns = form.stream, KINDS[form.kind].table.c
    found = query.where(*conditions(form.kind, stream.where, columns, starting=stream.starting))
    return found.where(text(stream.within)) if stream.within else found


def _first(limit: str, query: Select[Any]) -> Select[Any]:
    return query.limit(bindparam(limit)).offset(statements.ZERO)


def _sorted(form: Form, columns: Columns) -> list[Any]:
    return [columns[name].asc() if form.oldest else columns[name].desc() for name in form.order]


def _stopped(cursor: str) -> Key | None:
    """Where the page ended that gave this cursor; None at the beginning."""
    try:
        return tuple(_CURSOR.decode(cursor)) if cursor else None
    except (ValueError, UnicodeError):
        return ()
