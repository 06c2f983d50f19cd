"""`Postgres`: the ways to one PostgreSQL database."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg

from rota.domain.errors import Incompatible, Invalid, Unavailable
from rota.domain.names import without_password
from rota.stores.postgres.notices import Notices
from rota.stores.postgres.pool import Mode, Pool
from rota.stores.sql.base import Base
from rota.stores.sql.db import Db

T = TypeVar("T")

OLDEST = 14
CONNECT_S = 5.0
PATIENCE_MS = 2_500
"""How long a write waits for locks, for its statements, and for its own program: a quarter of a term."""
ANSWER_S = 10.0
"""How long to wait for a server that should have refused by then."""
READ_S = 60
POOL = 4
STATEMENTS = 512
LOCK = 0x726F7461
"""Whoever changes the schema holds this advisory lock."""
CLOCK = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
SETTINGS = {
    "lock_timeout": str(PATIENCE_MS * 4 // 5),
    "statement_timeout": str(PATIENCE_MS),
    "idle_in_transaction_session_timeout": str(PATIENCE_MS),
    # Each statement has an index that it was written for. Statistics lag behind a queue and would mislead the planner.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "plan_cache_mode": "force_generic_plan",
    # A plan for no values in particular expects many rows, and would start processes to count none.
    "max_parallel_workers_per_gather": "0",
}
_EXAMPLE = "write postgresql://user:password@host:5432/database?sslmode=verify-full"


def _local(settings: Mapping[str, str]) -> str:
    return "".join([f"; SET LOCAL {name} = {value}" for name, value in settings.items()])


class Postgres(Base):
    """One database. Of the URL's options `pool` and `pooler` are ours, the others the driver's.

    With `pooler=transaction` nothing is kept on a connection between two transactions: no prepared statement, no
    setting, no LISTEN.
    """

    shared = False

    def __init__(self, url: str, now: Callable[[], int] | None = None) -> None:
        super().__init__()
        self._dsn, size, self._pooled = _read(url)
        self.place = without_password(url.partition("?")[0])
        self._now = now
        self._pool = Pool(self._connected, self.place, size)
        self._notices = Notices(None if self._pooled else self._connected, self._tell)
        each = _local(SETTINGS) if self._pooled else ""
        self._looks = Mode("BEGIN READ ONLY" + each if self._pooled else "", ANSWER_S, writes=False)
        self._reads = Mode(
            f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {READ_S * 1000}",
            READ_S,
            writes=False,
        )
        self._writes = Mode("BEGIN" + each, ANSWER_S)
        # First the lock, however long others hold it; then no table is waited for so long that all others wait behind.
        patient = _local({"statement_timeout": "0", "idle_in_transaction_session_timeout": "0", "lock_timeout": "0"})
        alone = f"; SELECT pg_advisory_xact_lock({LOCK}); SET LOCAL lock_timeout = {PATIENCE_MS}"
        self._alters = Mode("BEGIN" + patient + alone, None)

    async def open(self) -> None:
        self._pool.open()

    async def close(self) -> None:
        self.deafen()
        with suppress(Unavailable):  # never opened, or its loop is no more
            await self._pool.at_home(self._notices.close)
            await self._pool.close()

    async def read(self, work: Callable[[Db], T], whole: bool = False) -> T:
        return await self._pool.do(self._reads if whole else self._looks, work)

    async def write(self, work: Callable[[Db], T], hints: Mapping[str, int] = {}) -> T:
        # Behind the COMMIT, so that the notice holds up no other transaction.
        end = f"COMMIT; {self._notices.statement(hints)}" if hints else "COMMIT"
        result = await self._pool.do(self._writes, work, end)
        if hints:
            self.hub.tell(hints)
        return result

    async def alter(self, work: Callable[[Db], T]) -> T:
        return await self._pool.do(self._alters, work)

    def now(self, db: Db) -> int:
        return self._now() if self._now else int(db.rows(CLOCK)[0][0])

    def listen(self, topics: Sequence[str]) -> None:
        self._pool.soon(self._notices.listen)

    async def diagnose(self) -> list[tuple[str, str]]:
        names = ["server_version", "synchronous_commit", "fsync", "full_page_writes", "max_connections"]
        query = "SELECT name, setting FROM pg_settings WHERE name = ANY($1)"
        found = await self.read(lambda db: dict(map(tuple, db.rows(query, (names,)))))
        used = await self.read(lambda db: db.rows("SELECT count(*) FROM pg_stat_activity")[0][0])
        durable = all(found[name] != "off" for name in names[1:4])
        limit = int(found["max_connections"])
        return [
            ("ok", f"PostgreSQL {found['server_version']}"),
            ("ok" if durable else "fail", f"commits {'survive' if durable else 'do not survive'} power loss"),
            ("ok" if used < limit * 0.8 else "warn", f"{used} of {limit} connections are in use"),
        ]

    def _tell(self, hints: Mapping[str, int]) -> None:
        self.hub.tell(hints)

    async def _connected(self) -> Any:
        try:
            connection = await asyncpg.connect(
                self._dsn,
                timeout=CONNECT_S,
                statement_cache_size=0 if self._pooled else STATEMENTS,
                max_cached_statement_lifetime=0,
                server_settings={} if self._pooled else SETTINGS | {"application_name": "rota", "jit": "off"},
            )
        except ValueError as error:
            raise Invalid("store", f"{error}; {_EXAMPLE}") from None
        lack = ""
        if connection.get_server_version().major < OLDEST:
            lack = f"is older than PostgreSQL {OLDEST}; install a newer one"
        elif connection.get_settings().server_encoding != "UTF8":
            lack = "cannot keep every text; make the database with ENCODING 'UTF8'"
        if lack:
            connection.terminate()
            raise Incompatible(f"{self.place} {lack}")
        return connection


def _read(url: str) -> tuple[str, int, bool]:
    """What of a URL is for the driver, the size of the pool, and whether a pooler stands between. Raises `Invalid`."""
    parts = urlsplit(url)
    options = parse_qsl(parts.query, keep_blank_values=True)
    ours = {name: value for name, value in options if name in ("pool", "pooler")}
    size, pooler = ours.get("pool", str(POOL)), ours.get("pooler", "")
    if not size.isdecimal() or not 1 <= int(size) <= 100:
        raise Invalid("store", f"pool={size} is no number of connections from 1 to 100")
    if pooler not in ("", "transaction"):
        raise Invalid("store", f"pooler={pooler} is unknown; write pooler=transaction, or leave it out")
    rest = urlencode([one for one in options if one[0] not in ours])
    return parts._replace(query=rest).geturl(), int(size), bool(pooler)
