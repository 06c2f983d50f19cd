"""`SqlStore`: the port on SQLite. The synchronous core runs in threads of the store, or inline where simulated."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from rota.domain.errors import Incompatible, Invalid, StoreError
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
    Versioned,
    Want,
    Watch,
    Where,
)
from rota.stores.hub import ANYTHING, Hub
from rota.stores.sql import core, schema
from rota.stores.sql.claim import claim
from rota.stores.sql.commit import Moved, Plan, commit
from rota.stores.sql.find import count, find
from rota.stores.sql.health import health
from rota.stores.sql.hints import Post
from rota.stores.sql.link import Link
from rota.stores.sql.logs import SqlLogs

BUSY_MS = 5_000
"""How long to wait for another process's write."""
CHANGES = "PRAGMA data_version"
"""Counts the commits of others."""
_EXAMPLES = "write sqlite:///rota.db or sqlite:////full/path/rota.db"


def wall_ms() -> int:
    """The time by which terms lapse."""
    return time.time_ns() // 1_000_000


def file_of(url: str) -> str:
    """The file that a `sqlite:` URL names, empty for memory. Raises `Invalid`."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise Invalid("store", f"{url!r} is no URL; {_EXAMPLES}") from None
    if parsed.host or parsed.query or parsed.username:
        raise Invalid("store", f"{url!r} names more than a file; {_EXAMPLES}")
    return "" if parsed.database in (None, "", ":memory:") else str(parsed.database)


class SqlStore:
    """A `rota.ports.store.Store` on one SQLite file, or in memory.

    A writer and, for files, a reader, so that nobody who reads waits for a write. In memory every store is a place of
    its own. With `inline` all happens in the caller's thread, for simulation; then hints stay in the process.
    """

    def __init__(
        self, url: str, *, inline: bool = False, busy_ms: int = BUSY_MS, now: Callable[[], int] = wall_ms
    ) -> None:
        file = file_of(url)
        self._file = file
        self.writer = Link(file, busy_ms, inline=inline)
        self.reader = Link(file, busy_ms, writes=False) if file and not inline else self.writer
        self.logs: Logs = SqlLogs(self.writer, self.reader)
        self.shared = not file
        self._now = now
        self._file = "" if inline else file
        self._listen_anew()

    async def open(self) -> None:
        await self.writer.open()
        try:
            await self.writer.run(self._prepare)
        except BaseException:
            await self.writer.close()
            raise
        await self.reader.open()

    async def migrate(self) -> list[str]:
        """Make or upgrade the tables without opening the store; the revisions that were applied."""
        await self.writer.open()
        try:
            return await self.writer.run(self._prepare)
        finally:
            await self.writer.close()

    async def close(self) -> None:
        if self._post is not None:
            self._post.close()
        self._hub.close()
        self._listen_anew()
        await self.reader.close()
        await self.writer.close()

    async def diagnose(self) -> list[tuple[str, str]]:
        """Levels and findings for `rota doctor`; see `health`. Raises `StoreError`."""
        return await self.writer.run(lambda: health(self.writer, self._file))

    async def get(self, kind: type[R], ids: Sequence[str]) -> list[Versioned[R] | None]:
        return await self.reader.do(lambda db: core.get(db, kind, ids))

    async def find(
        self, kind: type[R], where: Where = Where(), cursor: str = "", limit: int = 50, oldest: bool = False
    ) -> Page[R]:
        return await self.reader.do(lambda db: find(db, kind, where, cursor, limit, oldest))

    async def count(self, kind: type[Record], by: str, where: Where = Where()) -> dict[str, int]:
        return await self.reader.do(lambda db: count(db, kind, by, where))

    async def due(self, kind: type[R], now: int, limit: int) -> Due[R]:
        return await self.reader.do(lambda db: core.due(db, kind, now, limit))

    async def commit(self, groups: Sequence[Group], guard: Guard = None, hints: Sequence[Hint] = ()) -> list[Result]:
        return await self.writer.run(partial(self._commit, groups, guard, hints))

    async def claim(self, wants: Sequence[Want], now: int) -> list[Claimed]:
        return await self.writer.do(lambda db: claim(db, wants, now))

    async def beat(self, sessions: Sequence[str]) -> list[BeatReply]:
        return await self.writer.do(lambda db: core.beat(db, sessions))

    async def lead(self, name: str, holder: str, ttl_ms: int) -> Lead:
        return await self.writer.do(lambda db: core.lead(db, name, holder, ttl_ms, self._now()))

    def watch(self, topics: Sequence[str]) -> Watch:
        if self._post is not None:
            self._post.listen()
        return self._hub.watch(topics)

    def _listen_anew(self) -> None:
        self._hub = Hub()
        self._post = Post(self._file, self._hub.tell, self._look) if self._file else None
        self._seen = 0

    def _commit(self, groups: Sequence[Group], guard: Guard, hints: Sequence[Hint]) -> list[Result]:
        ready = Plan(groups)
        try:
            results = self.writer.transact(lambda db: commit(db, ready, guard))
        except Moved:
            results = self.writer.transact(lambda db: commit(db, ready, guard, look=True))
        told: Counter[str] = Counter()
        for topic, number in hints:
            told[topic] += number
        if told:
            self._hub.tell(told)
            if self._post is not None:
                self._post.send(told)
        return results

    def _prepare(self) -> list[str]:
        """Look at the schema before anything is changed: the file may be someone else's."""
        applied: list[str] = []
        if not self._is_current():
            applied = self.writer.transact(lambda db: schema.prepare(db, self.writer.place))
        self.writer.log_ahead()
        self._seen = self.writer.first(CHANGES)
        return applied

    def _is_current(self) -> bool:
        try:
            return bool(self.writer.first(schema.NEWEST) == schema.REVISIONS[-1])
        except Incompatible:
            return False

    def _look(self) -> None:
        self.writer.call(self._compare)

    def _compare(self) -> None:
        """Wake everybody if another process changed the file, whether or not its hint arrived."""
        with suppress(StoreError):
            seen = self.writer.first(CHANGES)
            if seen != self._seen:
                self._hub.tell({ANYTHING: 1})
            self._seen = seen
