"""The tables and their indexes, the same on every SQL database.

What people filter by and report on is a column; the rest of a definition is its `body` (see `rota.stores.codec`).
`version`, the last column (but for what migrations added behind it), is drawn anew with every write of a row. Indexes
are partial wherever they can be, so that a run lies in few of them at a time: a claim and a settle together touch four.
"""

from typing import Any

from sqlalchemy import Boolean, Column, Index, LargeBinary, MetaData, PrimaryKeyConstraint, String, Table, Text, text

from rota.stores.sql.columns import BEATING, KEY, POSITION, TURNING, key, moments, numbers, texts

metadata = MetaData()


def _table(name: str, *columns: Column[Any], **info: Any) -> Table:
    """Records of a kind: the id comes first, the version last."""
    return Table(name, metadata, key(), *columns, *numbers("version"), info=info)


def _index(name: str, table: Table, *columns: str, where: str = "") -> Index:
    """An index, partial if `where` is given; queries must repeat its text for the index to serve them."""
    condition = text(where) if where else None
    parts = [table.c[column] for column in columns]
    return Index(name, *parts, info={"sqlite_where": condition, "postgresql_where": condition})


runs = Table(
    "runs",
    metadata,
    Column("seq", POSITION, primary_key=True, autoincrement=True),
    Column("id", KEY, nullable=False, unique=True),
    *texts("namespace", "task"),
    *numbers("revision"),
    *texts("queue", "lane"),
    *numbers("priority"),
    *texts("state", "reason", "detail"),
    *numbers("rank"),
    *moments("due_at"),
    *numbers("created_at"),
    *moments("ready_at"),
    Column("payload", LargeBinary),
    *texts("cause", default="submit"),
    *texts("actor", "schedule", default=""),
    *moments("nominal_at"),
    *texts("origin", "gate", default=""),
    Column("keys", Text),
    Column("retry", Text),
    *moments("timeout_ms", "queue_ms", "start_by", "end_by"),
    *numbers("attempt", "token", default=0),
    *texts("session", "worker", default=""),
    *numbers("tries", "lost", default=0),
    *moments("claimed_at", "started_at", "ended_at"),
    *texts("cancel", default=""),
    *numbers("digest", default=0),
    Column("result", LargeBinary),
    Column("spilled", Boolean, nullable=False, server_default=text("false")),
    *texts("error", "progress", default=""),
    Column("history", Text),
    *texts("trace", default=""),
    *numbers("version"),
    info={"postgresql_with": TURNING},
)

PENDING = "state = 'pending'"
RUNNING = "state = 'running'"
LISTED = "state <> 'running'"
SCHEDULED = "schedule <> '' AND state <> 'running'"
UNENDED = "schedule <> '' AND ended_at IS NULL AND state <> 'running'"
UNSEALED = "sealed_at IS NULL"
UNCLOSED = "closed_at IS NULL"

# A run's id is long, and many runs are made in one millisecond: `seq` breaks ties in a few bytes. Running runs are few,
# so listings look through all of them, and a claim writes to no index that listings follow.
runs_ready = _index("runs_ready", runs, "lane", "rank", "seq", "created_at", where=PENDING)
runs_due = _index("runs_due", runs, "due_at", "seq", where="due_at IS NOT NULL")
runs_live = _index("runs_live", runs, "session", "token", "cancel", where=RUNNING)
runs_task = _index("runs_task", runs, "namespace", "task", "created_at", "seq", where=LISTED)
runs_state = _index("runs_state", runs, "namespace", "state", "created_at", "seq", where=LISTED)
runs_ended = _index("runs_ended", runs, "ended_at", "seq", where="ended_at IS NOT NULL")
runs_schedule = _index("runs_schedule", runs, "namespace", "schedule", "created_at", "seq", where=SCHEDULED)
runs_unended = _index("runs_unended", runs, "namespace", "schedule", "created_at", "seq", where=UNENDED)

tasks = _table("tasks", *texts("namespace", "name", "queue"), *numbers("created_at"), *texts("body"))
tasks_time = _index("tasks_time", tasks, "created_at", "id")

revisions = _table("revisions", *numbers("updated_at"), *texts("body"))

schedules = _table(
    "schedules", *texts("namespace", "name", "task"), *moments("next_at"), *numbers("created_at"), *texts("body")
)
schedules_due = _index("schedules_due", schedules, "next_at", "id", where="next_at IS NOT NULL")
schedules_time = _index("schedules_time", schedules, "created_at", "id")
schedules_task = _index("schedules_task", schedules, "namespace", "task", "created_at", "id")

queues = _table("queues", *texts("namespace", "name", "paused", "body"))

sessions = _table(
    "sessions",
    *texts("worker"),
    *numbers("slots"),
    Column("draining", Boolean, nullable=False),
    *numbers("opened_at"),
    *moments("closed_at"),
    *texts("body"),
)
sessions_open = _index("sessions_open", sessions, "opened_at", where=UNCLOSED)
sessions_ended = _index("sessions_ended", sessions, "closed_at", "id", where="closed_at IS NOT NULL")

pulses = _table("pulses", *numbers("count"), postgresql_with=BEATING)

uniques = _table("uniques", *texts("run", "body", "until"), *moments("expires_at"))
uniques_ended = _index("uniques_ended", uniques, "expires_at", "id", where="expires_at IS NOT NULL")

skips = _table("skips", *texts("schedule"), *numbers("revision", "first_at", "last_at", "count"), *texts("reason"))
skips_time = _index("skips_time", skips, "first_at", "id")

audit = _table(
    "audit",
    *numbers("at"),
    *texts("actor", "action", "target", "before", "after"),
    *texts("origin", default=""),
    *moments("sealed_at"),
)
audit_time = _index("audit_time", audit, "at", "id")
audit_open = _index("audit_open", audit, "at", "id", where=UNSEALED)
audit_sealed = _index("audit_sealed", audit, "sealed_at", "id", where="sealed_at IS NOT NULL")

seals = _table("seals", *numbers("at"), *texts("body"))
seals_time = _index("seals_time", seals, "at", "id")

users = _table("users", *numbers("created_at"), *texts("body"))
users_time = _index("users_time", users, "created_at", "id")

tokens = _table("tokens", *texts("owner"), *numbers("created_at"), *moments("expires_at"), *texts("body"))
tokens_time = _index("tokens_time", tokens, "created_at", "id")
tokens_ended = _index("tokens_ended", tokens, "expires_at", "id", where="expires_at IS NOT NULL")

blobs = _table("blobs", *numbers("created_at"), Column("data", LargeBinary, nullable=False))

tallies = _table(
    "tallies",
    *numbers("minute"),
    *texts("namespace", "task", "queue", "outcome"),
    *numbers("bucket"),
    *texts("node"),
    *numbers("count", "total_ms"),
    postgresql_with=BEATING,
)
tallies_time = _index("tallies_time", tallies, "minute", "id")

terms = Table(
    "terms",
    metadata,
    Column("name", KEY, primary_key=True),
    *numbers("number"),
    *texts("holder"),
    *numbers("expires_at"),
    info={"postgresql_with": BEATING},
)

lines = Table(
    "lines",
    metadata,
    Column("id", POSITION, primary_key=True, autoincrement=True),
    *texts("run"),
    *numbers("attempt", "at"),
    *texts("stream", "level", "text"),
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
