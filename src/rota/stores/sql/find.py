"""`find` and `count`: pages merged from the streams of a listing (see `walks`), each looked at in its order.

What no index serves is filtered on the way, at most `LOOK_LIMIT` entries of a stream a page.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Select, func, literal, select, tuple_

from rota.domain.errors import Invalid
from rota.domain.records import Tally
from rota.domain.run import Run, State
from rota.ports.store import LOOK_LIMIT, Page, Where
from rota.stores.kinds import BORN, ENDED, FIELDS, summed
from rota.stores.sql import statements
from rota.stores.sql.db import Db
from rota.stores.sql.rows import KINDS
from rota.stores.sql.walks import Columns, Condition, Key, Stream, Walk, conditions, walk_of

LOOKED_AT = {*FIELDS, "id", "state", *(name.rpartition(".")[2] for name in (*BORN.values(), *ENDED.values()))}
"""Columns that a listing may be filtered by."""

ALL = 1 << 62

_CURSOR = msgspec.json.Decoder(list[int | str])


def find(db: Db, kind: type, where: Where, cursor: str, limit: int, oldest: bool) -> Page[Any]:
    """One page. Where it is short, its cursor stands behind the last entry looked at."""
    shape = KINDS[kind]
    stopped = _stopped(cursor)
    walk = walk_of(db, kind, where, stopped or ())
    start = _start(walk, stopped, oldest)
    keys: list[Key] = []
    edges: list[Key] = []
    for stream in walk.streams:
        found, edge = _looked(db, kind, walk, [*stream, *start], limit, oldest)
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
    statement = statements.read_by(db.flavour, shape.table, walk.order[-1].name)
    rows = {row[-1]: row[:-1] for row in db.rows_among(statement, [key[-1] for key in page])}
    return Page(tuple(shape.versioned(rows[key[-1]]) for key in page), after)


def count(db: Db, kind: type, by: str, where: Where) -> dict[str, int]:
    """Numbers by the value of a column."""
    shape = KINDS[kind]
    if by not in shape.table.c:
        raise Invalid("by", f"{by!r} is no column; choose from {', '.join(shape.columns)}")
    if kind is Run and by == "state":
        return _count_states(db, where)
    total: Counter[str] = Counter()
    walk = walk_of(db, kind, where)
    names = (by, "count") if kind is Tally else (by,)
    for stream in walk.streams:
        seen = _fitting(kind, walk, stream, *names)
        number = func.sum(seen["count"]) if kind is Tally else func.count()
        for value, found in db.select(select(seen[by], number).group_by(seen[by])):
            total[str(value)] += int(found)
    return dict(total)


def _count_states(db: Db, where: Where) -> dict[str, int]:
    """State by state, so that each is counted in its own index."""
    pairs: list[tuple[str, int]] = []
    for state in dict.fromkeys(where.states or State):
        walk = walk_of(db, Run, where._replace(states=(state,)))
        for stream in walk.streams:
            seen = _fitting(Run, walk, stream, "seq")
            pairs.append((str(state), db.select(select(func.count(seen["seq"])))[0][0]))
    return summed(pairs)


def _fitting(kind: type, walk: Walk, stream: Stream, *names: str) -> Columns:
    """The entries of a stream that fit the rest as well. The limit, which is none, keeps planners from taking an index
    that serves the rest.
    """
    table = KINDS[kind].table
    if walk.rest == Where():
        return select(*[table.c[name] for name in names]).where(*stream).subquery().c
    seen = select(table).where(*stream).limit(ALL).subquery()
    return select(seen).where(*conditions(kind, walk.rest, seen.c)).subquery().c


def _looked(
    db: Db, kind: type, walk: Walk, stream: Sequence[Condition], limit: int, oldest: bool
) -> tuple[list[Key], list[Key]]:
    """Keys of one stream, one more than a page; and its last key looked at, if there may be more behind it."""
    order = [column.asc() if oldest else column.desc() for column in walk.order]
    entries = select(*walk.order).where(*stream).order_by(*order)
    if walk.rest == Where():
        return _keys(db, entries.limit(limit + 1)), []
    more = [column for column in KINDS[kind].table.c if column.name in LOOKED_AT and column not in set(walk.order)]
    seen = entries.add_columns(*more).limit(LOOK_LIMIT).subquery()
    kept = [seen.c[column.name] for column in walk.order]
    fit = select(*kept).where(*conditions(kind, walk.rest, seen.c))
    found = _keys(db, fit.order_by(*[column.asc() if oldest else column.desc() for column in kept]).limit(limit + 1))
    if len(found) > limit:
        return found, []
    return found, _keys(db, entries.limit(1).offset(LOOK_LIMIT - 1))


def _keys(db: Db, statement: Select[Any]) -> list[Key]:
    return [tuple(row) for row in db.select(statement)]


def _stopped(cursor: str) -> Key | None:
    """Where the page ended that gave this cursor; None at the beginning."""
    try:
        return tuple(_CURSOR.decode(cursor)) if cursor else None
    except (ValueError, UnicodeError):
        return ()


def _start(walk: Walk, stopped: Key | None, oldest: bool) -> list[Condition]:
    """The condition that continues behind the page before."""
    if stopped is None:
        return []
    if len(stopped) != len(walk.order):
        raise Invalid("cursor", "is none that this listing gave; begin again without it")
    here = tuple_(*walk.order)
    there = tuple_(*map(literal, stopped))
    return [here > there if oldest else here < there]
