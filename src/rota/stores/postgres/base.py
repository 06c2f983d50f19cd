"""`Postgres`: the ways to one PostgreSQL database."""

import asyncio
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode

from rota.domain.errors import Incompatible, Invalid, StoreError, Unavailable
from rota.domain.names import without_password
from rota.servers.address import check_file, patience_of, pool_of, split_url
from rota.stores.postgres.borrow import ENTER, IDENTITY, LEAVE, SCHEMA, db_of, meaning
from rota.stores.postgres.faults import code_of, fault
from rota.stores.postgres.hosts import Hosts
from rota.stores.postgres.notices import CHANNEL, Notices
from rota.stores.postgres.pool import BEGIN, Mode, Pool
from rota.stores.postgres.replica import PATIENCE_S, Replica
from rota.stores.sql.base import Base
from rota.stores.sql.borrow import savepoint
from rota.stores.sql.db import Db

T = TypeVar("T")

log = logging.getLogger("rota")
_tell_once = lru_cache(log.log)

OLDEST = 14
UNNAMED = (
    "does not say which one it is, so no replica is read and nobody submits in a transaction of their own: "
    "GRANT EXECUTE ON FUNCTION pg_control_system() to Rota's user, then start anew"
)
PATIENCE_MS = 2_500
"""How long a write waits for locks, for its statements, and for its own program: a quarter of a term."""
ANSWER_S = 10.0
"""How long to wait for a server that should have refused by then."""
READ_S = 60
STATEMENTS = 512
LOCK = 0x726F7461
"""Whoever changes the schema holds this advisory lock."""
ALTERS, ALTER_MS, ALTER_PAUSE_S = 5, 500, 1.0
"""How often it asks for a table that others use, for how long, and how long others have it to themselves between."""
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
OURS = ("pool", "pooler", "replica", "connect_timeout")
FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
"""Options of the URL that name one."""
_HOST = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?"
_EXAMPLE = "write postgresql://user:password@host:5432/database?sslmode=verify-full"


def _local(settings: Mapping[str, str]) -> str:
    return "".join([f"; SET LOCAL {name} = {value}" for name, value in settings.items()])


class Postgres(Base):
    """One database. Of the URL's options those of `OURS` are ours, the others the driver's.

    With `pooler=transaction` nothing is kept on a connection between two transactions: no prepared statement, no
    setting, no LISTEN.
    """

    shared = False

    def __init__(self, url: str, now: Callable[[], int] | None = None) -> None:
        super().__init__()
        dsn, self._pooled, replica, options = _read(url)
        self._hosts = Hosts(dsn)
        size, self._connect_s = pool_of(options), patience_of(options)
        self.place = without_password(url.partition("?")[0])
        self._now = now
        self._pool = Pool(self._connected, self.place, size)
        there = partial(self._connected, Hosts(replica), PATIENCE_S)
        self._replica = Replica(Pool(there, f"the replica of {self.place}", size)) if replica else None
        self._reached = False
        self._at_primary = False
        """Whether a primary was reached: then no replica will do, for decisions would rest on what is late there."""
        self._tables: tuple[str, tuple[int, ...]] | None = None
        self._notices = Notices(None if self._pooled else self._connected, self.hub.tell)
        each = _local(SETTINGS) if self._pooled else ""
        self._looks = Mode("BEGIN READ ONLY" + each if self._pooled else "", ANSWER_S, writes=False)
        self._reads = Mode(
            f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {READ_S * 1000}",
            READ_S,
            writes=False,
        )
        self._writes = Mode(BEGIN + each, ANSWER_S, warm=not self._pooled)
        # First the lock, however long others hold it; then a table for a moment only, as all others wait behind.
        patient = _local({"statement_timeout": "0", "idle_in_transaction_session_timeout": "0", "lock_timeout": "0"})
        alone = f"; SELECT pg_advisory_xact_lock({LOCK}); SET LOCAL lock_timeout = {ALTER_MS}"
        self._alters = Mode(BEGIN + patient + alone, None)

    async def open(self) -> None:
        self._pool.open()
        if self._replica:
            self._replica.pool.open()

    async def close(self) -> None:
        self.hub.close()
        await self._pool.leave(self._notices.close)
        if self._replica:
            await self._replica.pool.leave()

    async def prepare(self) -> list[str]:
        applied = await super().prepare()
        try:
            self._tables = await self.read(_identified)
        except StoreError as error:
            level = logging.WARNING if self._replica else logging.INFO
            _tell_once(level, f"{self.place} {UNNAMED} ({error.__cause__ or error})")
        return applied

    async def read(self, work: Callable[[Db], T], whole: bool = False, late: bool = False) -> T:
        mode = self._reads if whole else self._looks
        if late and self._replica and self._tables and (found := await self._replica.read(mode, work, self._tables)):
            return found[0]
        return await self._pool.do(mode, work)

    async def write(self, work: Callable[[Db], T], hints: Mapping[str, int] = {}) -> T:
        result = await self._pool.do(self._writes, work, self._notices.statement(hints) if hints else "")
        if hints:
            self.hub.tell(hints)
        return result

    async def alter(self, work: Callable[[Db], T]) -> T:
        for left in reversed(range(ALTERS)):
            try:
                return await self._pool.do(self._alters, work)
            except Unavailable as error:
                if not left or code_of(error.__cause__ or error) != "55P03":
                    raise
            await asyncio.sleep(ALTER_PAUSE_S)
        raise AssertionError("the last try returns or raises")

    @contextmanager
    def borrow(self, connection: Any) -> Iterator[Db]:
        db = db_of(connection, self.place)
        if self._tables is None:
            raise Invalid("connection", f"{self.place} {UNNAMED}")
        schema, identity = self._tables
        try:
            with savepoint(db):
                ((*found, path, _),) = db.rows(ENTER, (schema,))
                if tuple(found) != identity:
                    raise Invalid("connection", f"it leads to another database than the app's store, {self.place}")
                yield db
                db.rows(LEAVE, (path,))
        except Exception as error:
            if (meant := meaning(error, self.place)) is error:
                raise
            raise meant from error

    def post(self, db: Db, hints: Mapping[str, int]) -> None:
        if hints:
            db.rows("SELECT pg_notify($1::text, $2::text)", (CHANNEL, self._notices.notice(hints, theirs=True)))

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
        told = [
            ("ok", f"PostgreSQL {found['server_version']}"),
            ("ok" if durable else "fail", f"commits {'survive' if durable else 'do not survive'} power loss"),
            ("ok" if used < limit * 0.8 else "warn", f"{used} of {limit} connections are in use"),
        ]
        if self._tables is None:
            told.append(("warn", f"the server {UNNAMED}"))
        elif self._replica:
            keeps_up, said = False, "none of this database, or far behind; the primary is asked instead"
            try:
                keeps_up = await self._replica.keeps_up(self._tables)
            except StoreError as error:
                said = str(error)
            told.append(("ok", "the replica keeps up") if keeps_up else ("warn", f"the replica is of no use: {said}"))
        return told

    async def _connected(self, hosts: Hosts | None = None, patience_s: float = 0.0) -> Any:
        try:
            connection = await (hosts or self._hosts).connect(
                primary=self._at_primary and not hosts,
                timeout=patience_s or self._connect_s,
                statement_cache_size=0 if self._pooled else STATEMENTS,
                max_cached_statement_lifetime=0,
                server_settings={} if self._pooled else SETTINGS | {"application_name": "rota", "jit": "off"},
            )
        except (ValueError, OverflowError) as error:
            # Later it is no fault of the URL: a certificate expires, a file goes.
            if self._reached or isinstance(error, OSError):
                raise fault(error, self.place) from error
            raise Invalid("store", f"{error}; {_EXAMPLE}") from None
        self._reached = True
        lack = ""
        if connection.get_server_version().major < OLDEST:
            lack = f"is older than PostgreSQL {OLDEST}; install a newer one"
        elif connection.get_settings().server_encoding != "UTF8":
            lack = "cannot keep every text; make the database with ENCODING 'UTF8'"
        if lack:
            connection.terminate()
            raise Incompatible(f"{self.place} {lack}")
        standby = getattr(connection.get_settings(), "in_hot_standby", "")  # a pooler may say what was so once
        self._at_primary |= not hosts and not self._pooled and standby == "off"
        return connection


def _identified(db: Db) -> tuple[str, tuple[int, ...]]:
    """The schema of the tables, and which ones they are."""
    schema = db.rows(SCHEMA)[0][0]
    return schema, tuple(db.rows(IDENTITY, (schema,))[0])


def _read(url: str) -> tuple[str, bool, str, dict[str, str]]:
    """What of a URL is for the driver, whether a pooler stands between, the same by replica, and what is for us.

    Raises `Invalid`.
    """
    parts = split_url("store", url)
    options = parse_qsl(parts.query, keep_blank_values=True)
    ours = {name: value for name, value in options if name in OURS}
    pooler = ours.get("pooler", "")
    if pooler not in ("", "transaction"):
        raise Invalid("store", f"pooler={pooler} is unknown; write pooler=transaction, or leave it out")
    for name, value in options:
        if name in FILES:
            check_file("store", name, value)
    dsn = parts._replace(query=urlencode([one for one in options if one[0] not in OURS]))
    if replica := ours.get("replica", ""):
        if not re.fullmatch(rf"{_HOST}(,{_HOST})*", replica):
            raise Invalid("store", "replica= names no host (the user and password are the URL's); write host:5432")
        # The same users and databases, elsewhere.
        rest = urlencode([one for one in options if one[0] not in (*OURS, "host", "port", "target_session_attrs")])
        user, sign, _ = parts.netloc.rpartition("@")
        replica = dsn._replace(netloc=f"{user}{sign}{replica}", query=rest).geturl()
    return dsn.geturl(), bool(pooler), replica, ours
