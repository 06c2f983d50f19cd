"""`SqlStore`: the port on SQL databases. The verbs are synchronous functions inside one transaction each."""

from collections.abc import Callable, Coroutine, Sequence
from copy import copy
from functools import cached_property, partial
from typing import Any, TypeVar

from sqlalchemy.util import greenlet_spawn

from rota.domain.errors import Invalid, Unavailable
from rota.ports.loops import at_once
from rota.ports.store import (
    BeatReply,
    Claimed,
    Due,
    Group,
    Guard,
    Hint,
    Lead,
    Logs,
    Page,
    R,
    Record,
    Result,
    Store,
    Versioned,
    Want,
    Watch,
    Where,
)
from rota.stores.kinds import summed
from rota.stores.sql import core
from rota.stores.sql.base import Base
from rota.stores.sql.borrow import Borrowed, alone
from rota.stores.sql.claim import claim
from rota.stores.sql.commit import Plan, clear, commit
from rota.stores.sql.db import Moved
from rota.stores.sql.find import count, find
from rota.stores.sql.logs import SqlLogs
from rota.stores.sql.sqlite import BUSY_MS, Sqlite

T = TypeVar("T")

TRIES = 8
"""How often a commit looks anew at what others change while it is under way."""


class SqlStore:
    """A `rota.ports.store.Store` on the database that a URL names; see `Sqlite` and `Postgres`.

    `inline` and `busy_ms` are for SQLite; `now` stands for the clock by which terms lapse.
    """

    def __init__(
        self, url: str, *, inline: bool = False, busy_ms: int = BUSY_MS, now: Callable[[], int] | None = None
    ) -> None:
        self.base = _base(url, inline, busy_ms, now)
        self.logs: Logs = SqlLogs(self.base)
        self.shared = self.base.shared
        self._late = False

    @cached_property
    def late(self) -> "SqlStore":
        other = copy(self)
        other._late, other.logs = True, SqlLogs(self.base, late=True)
        return other

    async def open(self) -> None:
        await self.migrate(close=False)

    async def migrate(self, close: bool = True) -> list[str]:
        """Make or upgrade the tables; the revisions that were applied."""
        await self.base.open()
        try:
            applied = await self.base.prepare()
        except BaseException:
            await self.close()
            raise
        if close:
            await self.close()
        return applied

    async def close(self) -> None:
        await self.base.close()

    async def diagnose(self) -> list[tuple[str, str]]:
        """Levels and findings for `rota doctor`. Raises `StoreError`."""
        return await self.base.diagnose()

    async def get(self, kind: type[R], ids: Sequence[str]) -> list[Versioned[R] | None]:
        return await self.base.read(lambda db: core.get(db, kind, ids), late=self._late)

    async def find(
        self, kind: type[R], where: Where = Where(), cursor: str = "", limit: int = 50, oldest: bool = False
    ) -> Page[R]:
        return await self.base.read(lambda db: find(db, kind, where, cursor, limit, oldest), True, self._late)

    async def count(self, kind: type[Record], by: str, where: Where = Where()) -> dict[str, int]:
        return await self.base.read(lambda db: count(db, kind, by, where), True, self._late)

    async def due(self, kind: type[R], now: int, limit: int) -> Due[R]:
        return await self.base.read(lambda db: core.due(db, kind, now, limit))

    async def commit(self, groups: Sequence[Group], guard: Guard = None, hints: Sequence[Hint] = ()) -> list[Result]:
        plan = Plan(groups)
        # Runs may have thousands of lines each: deleted all at once they would keep beats and terms waiting.
        gone = plan.writes.gone
        while gone:
            gone = await self.base.write(partial(clear, gone=gone, guard=guard))
        for attempt in range(TRIES):
            try:
                return await self.base.write(partial(commit, plan=plan, guard=guard, look=attempt > 0), summed(hints))
            except Moved:
                continue
        raise Unavailable(f"{self.base.place}: others change the same records all the time; try again")

    async def claim(self, wants: Sequence[Want], now: int) -> list[Claimed]:
        return await self.base.write(lambda db: claim(db, wants, now))

    async def beat(self, sessions: Sequence[str]) -> list[BeatReply]:
        return await self.base.write(lambda db: core.beat(db, sessions, self.base.now(db)))

    async def lead(self, name: str, holder: str, ttl_ms: int) -> Lead:
        return await self.base.write(lambda db: core.lead(db, name, holder, ttl_ms, self.base.now(db)))

    def watch(self, topics: Sequence[str]) -> Watch:
        return self.base.watch(topics)


async def within(store: Store, connection: Any, verb: Callable[[Store], Coroutine[Any, Any, T]]) -> T:
    """What a verb returns that gets and commits, done in the transaction of a user's own connection.

    Waits for nothing but that, if it is asynchronous. Raises `Invalid` for a connection with which it cannot be done;
    whatever is raised, the transaction is as it was.
    """
    if not isinstance(store, SqlStore):
        raise Invalid("connection", "the app's store is none that a transaction of others could reach")
    base = store.base

    def work() -> T:
        with alone(connection) as own, base.borrow(own) as db:
            inside = copy(store)
            inside.base = Borrowed(db, base.place, base.post)  # type: ignore[assignment]  # all that get and commit use
            return at_once(verb(inside))

    found: T = await greenlet_spawn(work)
    return found


def _base(url: str, inline: bool, busy_ms: int, now: Callable[[], int] | None) -> Base:
    if url.partition(":")[0] == "sqlite":
        return Sqlite(url, inline, busy_ms, now)
    from rota.stores.postgres.base import Postgres

    return Postgres(url, now)
