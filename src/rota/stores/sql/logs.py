"""`SqlLogs`: captured lines in the database of the runs. They go when their run is pruned."""

from collections.abc import Sequence
from functools import partial

from sqlalchemy import select

from rota.ports.store import Line
from rota.stores.sql import statements
from rota.stores.sql.db import Db
from rota.stores.sql.link import Link
from rota.stores.sql.rows import check
from rota.stores.sql.tables import lines as kept


class SqlLogs:
    """A `rota.ports.store.Logs`. A position is the number of a line in the whole database."""

    def __init__(self, writer: Link, reader: Link) -> None:
        self._writer = writer
        self._reader = reader

    async def append(self, lines: Sequence[Line]) -> None:
        if lines:
            await self._writer.do(partial(append, new=lines))

    async def read(self, run: str, after: int = 0, limit: int = 500, text: str = "") -> tuple[list[Line], int]:
        return await self._reader.do(partial(read, run=run, after=after, limit=limit, text=text))


def append(db: Db, new: Sequence[Line]) -> None:
    """Add lines, in order. Raises `Invalid`."""
    check(new, [line.run for line in new])
    db.write_all(statements.append(db.flavour), new)


def read(db: Db, run: str, after: int, limit: int, text: str) -> tuple[list[Line], int]:
    """Lines behind a position, and the position behind them."""
    found = select(kept).where(kept.c.id > after).order_by(kept.c.id).limit(limit)
    if run:
        found = found.where(kept.c.run == run)
    if text:
        found = found.where(kept.c.text.icontains(text, autoescape=True))
    rows = db.connection.execute(found).all()
    return [Line._make(row[1:]) for row in rows], rows[-1][0] if rows else after
