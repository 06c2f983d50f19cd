"""`SqlLogs`: captured lines in the database of the runs. They go when their run is pruned."""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, select

from rota.ports.store import LINES_LIMIT, Line, Sought
from rota.stores.kinds import STEP
from rota.stores.sql import statements
from rota.stores.sql.base import Base
from rota.stores.sql.db import Db
from rota.stores.sql.rows import check
from rota.stores.sql.tables import lines as kept

LATE_MS = 3_600_000


class SqlLogs:
    """A `rota.ports.store.Logs`. A position is the number of a line in the whole database."""

    def __init__(self, base: Base, late: bool = False) -> None:
        self._base = base
        self._late = late

    async def append(self, lines: Sequence[Line]) -> None:
        check(lines, [line.run for line in lines])
        if lines:
            await self._base.write(lambda db: db.write_all(statements.append(db.flavour), lines))

    async def read(self, run: str, after: int = 0, limit: int = 500, text: str = "") -> tuple[list[Line], int]:
        return await self._base.read(partial(_read, run=run, after=after, limit=limit, text=text))

    async def search(self, sought: Sought, before: int = 0, limit: int = 100) -> tuple[list[Line], int]:
        return await self._base.read(partial(_search, sought=sought, before=before, limit=limit), late=self._late)


def _read(db: Db, run: str, after: int, limit: int, text: str) -> tuple[list[Line], int]:
    """Lines of a run behind a position that hold a text, and the position behind them."""
    found: list[Any] = []
    at, step, more = after, limit if text.isascii() else max(limit, STEP), True
    while more and len(found) < limit:
        behind = select(kept).where(kept.c.run == run, kept.c.id > at, *_alike(kept.c.text, text))
        rows = db.select(behind.order_by(kept.c.id).limit(step))
        found += _holding(rows, text)
        more, at = len(rows) == step, rows[-1][0] if rows else at
    found = found[:limit]
    return [Line._make(row[1:]) for row in found], found[-1][0] if found else after


def _search(db: Db, sought: Sought, before: int, limit: int) -> tuple[list[Line], int]:
    """Lines ahead of a position that are what is sought, and the position to go on from."""
    entries = select(kept).order_by(kept.c.id.desc())
    if before:
        entries = entries.where(kept.c.id < before)
    if sought.run:
        entries = entries.where(kept.c.run == sought.run)
    seen = entries.limit(LINES_LIMIT).subquery()
    found = select(seen).order_by(seen.c.id.desc()).limit(limit if sought.text.isascii() else LINES_LIMIT)
    found = found.where(*_alike(seen.c.text, sought.text))
    for name in ("level", "stream"):
        if value := getattr(sought, name):
            found = found.where(seen.c[name] == value)
    if sought.since is not None:
        found = found.where(seen.c.at >= sought.since)
    if sought.until is not None:
        found = found.where(seen.c.at < sought.until)
    rows = _holding(db.select(found), sought.text)[:limit]
    if len(rows) == limit:
        return [Line._make(row[1:]) for row in rows], rows[-1][0]
    last = db.select(select(seen.c.id, seen.c.at).order_by(seen.c.id).limit(1))
    full = db.select(entries.with_only_columns(kept.c.id).limit(1).offset(LINES_LIMIT - 1))
    # Lines come nearly in the order of their time: far behind `since` there are none any more.
    over = not full or (sought.since is not None and last[0][1] < sought.since - LATE_MS)
    return [Line._make(row[1:]) for row in rows], 0 if over else full[0][0]


def _alike(column: Any, text: str) -> list[ColumnElement[bool]]:
    """What holds for each line with this text: databases know the capital letters of the English alphabet alone."""
    return [column.icontains(part, autoescape=True) for part in re.findall(r"[\x01-\x7f]+", text)]


def _holding(rows: Sequence[Any], text: str) -> list[Any]:
    """Those lines that do hold it."""
    return [row for row in rows if text.casefold() in row[-1].casefold()]
