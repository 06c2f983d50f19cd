"""The tables and their indexes, the same on every SQL database.

What people filter by and report on is a column; the rest of a definition is its `body` (see `rota.stores.codec`).
`version`, the last column (but for what migrations added behind it), is drawn anew with every write of a row. Indexes
are partial wherever they can be, so that a run lies in few of them at a time: a claim and a settle together touch five.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData()

Key = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is compared byte by byte."""
Position = BigInteger().with_variant(Integer, "sqlite")


TURNING = {"autovacuum_vacuum_scale_factor": 0.02, "autovacuum_analyze_scale_factor": 0.02}
"""PostgreSQL: every row changes a few times and then rests; what is left of old ones must go early."""
BEATING = {"fillfactor": 50, "autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 500}
"""PostgreSQL: few rows that change all the time, in place if there is room beside them."""


def _key() -> Column[Any]:
    return Column("id", Key, primary_key=True)


def _texts(*names: str, default: str | None = None) -> list[Column[Any]]:
    """Required text; a default is given where most rows hold it, so that inserts need not name it."""
    value = None if default is None else text(f"'{default}'")
    return [Column(name, Key, nullable=False, server_default=value) for name in names]


def _numbers(*names: str, default: int | None = None) -> list[Column[Any]]:
    """Required whole numbers."""
    value = None if default is None else text(str(default))
    return [Column(name, BigInteger, nullable=False, server_default=value) for name in names]


def _moments(*names: str) -> list[Column[Any]]:
    """Milliseconds (an instant or a duration), or nothing."""
    return [Column(name, BigInteger) for name in names]


def _index(name: str, table: Table, *columns: str, where: str = "") -> Index:
    """An index, partial if `where` is given; queries must repeat its text for the index to serve them."""
    condition = text(where) if where else None
    parts = [table.c[column] for column in columns]
    return Index(name, *parts, sqlite_where=condition, postgresql_where=condition)


runs = Table(
    "runs",
    metadata,
    Column("seq", Position, primary_key=True, autoincrement=True),
    Column("id", Key, nullable=False, unique=True),
    *_texts("namespace", "task"),
    *_numbers("revision"),
    *_texts("queue", "lane"),
    *_numbers("priority"),
    *_texts("state", "reason", "detail"),
    *_numbers("rank"),
    *_moments("due_at"),
    *_numbers("created_at"),
    *_moments("ready_at"),
    Column("payload", LargeBinary),
    *_texts("cause", default="submit"),
    *_texts("actor", "schedule", default=""),
    *_moments("nominal_at"),
    *_texts("origin", "gate", default=""),
    Column("keys", Text),
    Column("retry", Text),
    *_moments("timeout_ms", "queue_ms", "start_by", "end_by"),
    *_numbers("attempt", "token", default=0),
    *_texts("session", "worker", default=""),
    *_numbers("tries", "lost", default=0),
    *_moments("claimed_at", "started_at", "ended_at"),
    *_texts("cancel", default=""),
    *_numbers("digest", default=0),
    Column("result", LargeBinary),
    Column("spilled", Boolean, nullable=False, server_default=text("false")),
    *_texts("error", "progress", default=""),
    Column("history", Text),
    *_texts("trace", default=""),
    *_numbers("version"),
    postgresql_with=TURNING,
)

PENDING = "state = 'pending'"
RUNNING = "state = 'running'"
RESTING = "state NOT IN ('pending', 'running')"
SCHEDULED = "schedule <> ''"
UNENDED = "schedule <> '' AND ended_at IS NULL"
UNSEALED = "sealed_at IS NULL"

# A run's id is long, and many runs are made in one millisecond: `seq` breaks ties in a few bytes.
runs_ready = _index("runs_ready", runs, "lane", "rank", "seq", "created_at", where=PENDING)
runs_due = _index("runs_due", runs, "due_at", "seq", where="due_at IS NOT NULL")
runs_live = _index("runs_live", runs, "session", "token", "cancel", where=RUNNING)
runs_time = _index("runs_time", runs, "namespace", "created_at", "seq")
runs_task = _index("runs_task", runs, "namespace", "task", "created_at", "seq")
runs_state = _index("runs_state", runs, "namespace", "state", "created_at", "seq", where=RESTING)
runs_ended = _index("runs_ended", runs, "ended_at", "seq", where="ended_at IS NOT NULL")
runs_schedule = _index("runs_schedule", runs, "namespace", "schedule", "created_at", "seq", where=SCHEDULED)
runs_unended = _index("runs_unended", runs, "namespace", "schedule", "created_at", "seq", where=UNENDED)

tasks = Table(
    "tasks",
    metadata,
    _key(),
    *_texts("namespace", "name", "queue"),
    *_numbers("created_at"),
    *_texts("body"),
    *_numbers("version"),
)
tasks_time = _index("tasks_time", tasks, "created_at", "id")

revisions = Table("revisions", metadata, _key(), *_numbers("updated_at"), *_texts("body"), *_numbers("version"))

schedules = Table(
    "schedules",
    metadata,
    _key(),
    *_texts("namespace", "name", "task"),
    *_moments("next_at"),
    *_numbers("created_at"),
    *_texts("body"),
    *_numbers("version"),
)
schedules_due = _index("schedules_due", schedules, "next_at", "id", where="next_at IS NOT NULL")
schedules_time = _index("schedules_time", schedules, "created_at", "id")
schedules_task = _index("schedules_task", schedules, "namespace", "task", "created_at", "id")

queues = Table("queues", metadata, _key(), *_texts("namespace", "name", "paused", "body"), *_numbers("version"))

sessions = Table(
    "sessions",
    metadata,
    _key(),
    *_texts("worker"),
    *_numbers("slots"),
    Column("draining", Boolean, nullable=False),
    *_numbers("opened_at"),
    *_moments("closed_at"),
    *_texts("body"),
    *_numbers("version"),
)
sessions_open = _index("sessions_open", sessions, "opened_at", where="closed_at IS NULL")
sessions_ended = _index("sessions_ended", sessions, "closed_at", "id", where="closed_at IS NOT NULL")

pulses = Table("pulses", metadata, _key(), *_numbers("count", "version"), postgresql_with=BEATING)

uniques = Table(
    "uniques", metadata, _key(), *_texts("run", "body", "until"), *_moments("expires_at"), *_numbers("version")
)
uniques_ended = _index("uniques_ended", uniques, "expires_at", "id", where="expires_at IS NOT NULL")

skips = Table(
    "skips",
    metadata,
    _key(),
    *_texts("schedule"),
    *_numbers("revision", "first_at", "last_at", "count"),
    *_texts("reason"),
    *_numbers("version"),
)
skips_time = _index("skips_time", skips, "first_at", "id")

audit = Table(
    "audit",
    metadata,
    _key(),
    *_numbers("at"),
    *_texts("actor", "action", "target", "before", "after"),
    *_texts("origin", default=""),
    *_moments("sealed_at"),
    *_numbers("version"),
)
audit_time = _index("audit_time", audit, "at", "id")
audit_open = _index("audit_open", audit, "at", "id", where=UNSEALED)
audit_sealed = _index("audit_sealed", audit, "sealed_at", "id", where="sealed_at IS NOT NULL")

seals = Table("seals", metadata, _key(), *_numbers("at"), *_texts("body"), *_numbers("version"))
seals_time = _index("seals_time", seals, "at", "id")

users = Table("users", metadata, _key(), *_numbers("created_at"), *_texts("body"), *_numbers("version"))
users_time = _index("users_time", users, "created_at", "id")

tokens = Table(
    "tokens",
    metadata,
    _key(),
    *_texts("owner"),
    *_numbers("created_at"),
    *_moments("expires_at"),
    *_texts("body"),
    *_numbers("version"),
)
tokens_time = _index("tokens_time", tokens, "created_at", "id")
tokens_ended = _index("tokens_ended", tokens, "expires_at", "id", where="expires_at IS NOT NULL")

blobs = Table(
    "blobs",
    metadata,
    _key(),
    *_numbers("created_at"),
    Column("data", LargeBinary, nullable=False),
    *_numbers("version"),
)

tallies = Table(
    "tallies",
    metadata,
    _key(),
    *_numbers("minute"),
    *_texts("namespace", "task", "queue", "outcome"),
    *_numbers("bucket"),
    *_texts("node"),
    *_numbers("count", "total_ms", "version"),
    postgresql_with=BEATING,
)
tallies_time = _index("tallies_time", tallies, "minute", "id")

terms = Table(
    "terms",
    metadata,
    Column("name", Key, primary_key=True),
    *_numbers("number"),
    *_texts("holder"),
    *_numbers("expires_at"),
    postgresql_with=BEATING,
)

lines = Table(
    "lines",
    metadata,
    Column("id", Position, primary_key=True, autoincrement=True),
    *_texts("run"),
    *_numbers("attempt", "at"),
    *_texts("stream", "level", "text"),
    # A reader follows by position, so none may be used again after the newest lines were deleted.
    sqlite_autoincrement=True,
)
lines_run = _index("lines_run", lines, "run", "id")

revision = Table(
    "rota_revision",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="rota_revision_pkc"),
)
"""The newest migration that the database has seen, as Alembic keeps it."""
