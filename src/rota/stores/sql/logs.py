"""`SqlLogs`: captured lines in the database of the runs. They go when their run is pruned."""

from collections.abc import Sequence
from functools import partial

from sqlalchemy import select

from rota.ports.store import LINES_LIMIT, Line, Sought
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
        found = select(kept).where(kept.c.run == run, kept.c.id > after).order_by(kept.c.id).limit(limit)
        if text:
            found = found.where(kept.c.text.icontains(text, autoescape=True))
        rows = await self._base.read(lambda db: db.select(found))
        return [Line._make(row[1:]) for row in rows], rows[-1][0] if rows else after

    async def search(self, sought: Sought, before: int = 0, limit: int = 100) -> tuple[list[Line], int]:
        return await self._base.read(partial(_search, sought=sought, before=before, limit=limit), late=self._late)


def _search(db: Db, sought: Sought, before: int, limit: int) -> tuple[list[Line], int]:
    """Lines ahead of a position that are what is sought, and the position to go on from."""
    entries = select(kept).order_by(kept.c.id.desc())
    if before:
        entries = entries.where(kept.c.id < before)
    if sought.run:
        entries = entries.where(kept.c.run == sought.run)
    seen = entries.limit(LINES_LIMIT).subquery()
    found = select(seen).order_by(seen.c.id.desc()).limit(limit)
    if sought.text:
        found = found.where(seen.c.text.icontains(sought.text, autoescape=True))
    for name in ("level", "stream"):
        if value := getattr(sought, name):
            found = found.where(seen.c[name] == value)
    if sought.since is not None:
        found = found.where(seen.c.at >= sought.since)
    if sought.until is not None:
        found = found.where(seen.c.at < sought.until)
    rows = db.select(found)
    if len(rows) == limit:
        return [Line._make(row[1:]) for row in rows], rows[-1][0]
    last = db.select(select(seen.c.id, seen.c.at).order_by(seen.c.id).limit(1))
    full = db.select(entries.with_only_columns(kept.c.id).limit(1).offset(LINES_LIMIT - 1))
    # Lines come nearly in the order of their time: far behind `since` there are none any more.
    over = not full or (sought.since is not None and last[0][1] < sought.since - LATE_MS)
    return [Line._make(row[1:]) for row in rows], 0 if over else full[0][0]
