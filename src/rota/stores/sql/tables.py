"""The tables and their indexes, the same on every SQL database.

What people filter by and report on is a column; the rest of a definition is its `body` (see `rota.stores.codec`).
`version`, the last column, is drawn anew with every write of a row. Indexes are partial wherever they can be, so that
a run lies in few of them at a time: a claim and a settle together touch five.
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
from sqlalchemy.sql.elements import TextClause

metadata = MetaData()

Key = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is compared byte by byte."""
Position = BigInteger().with_variant(Integer, "sqlite")


def _key() -> Column[Any]:
    return Column("id", Key, primary_key=True)


def _text(name: str, default: str | None = None) -> Column[Any]:
    """Required text; a default is given where most rows hold it, so that inserts need not name it."""
    return Column(name, Key, nullable=False, server_default=None if default is None else text(f"'{default}'"))


def _number(name: str, default: int | None = None) -> Column[Any]:
    return Column(name, BigInteger, nullable=False, server_default=None if default is None else text(str(default)))


def _moment(name: str) -> Column[Any]:
    """Milliseconds (an instant or a duration), or nothing."""
    return Column(name, BigInteger)


def _version() -> Column[Any]:
    return Column("version", BigInteger, nullable=False)


def _index(name: str, table: Table, *columns: str, where: str = "") -> Index:
    """An index, partial if `where` is given; queries must repeat its text for the index to serve them."""
    condition: TextClause | None = text(where) if where else None
    parts = [table.c[column] for column in columns]
    return Index(name, *parts, sqlite_where=condition, postgresql_where=condition)


runs = Table(
    "runs",
    metadata,
    Column("seq", Position, primary_key=True, autoincrement=True),
    Column("id", Key, nullable=False, unique=True),
    _text("namespace"),
    _text("task"),
    _number("revision"),
    _text("queue"),
    _text("lane"),
    _number("priority"),
    _text("state"),
    _text("reason"),
    _text("detail"),
    _number("rank"),
    _moment("due_at"),
    _number("created_at"),
    _moment("ready_at"),
    Column("payload", LargeBinary),
    _text("cause", "submit"),
    _text("actor", ""),
    _text("schedule", ""),
    _moment("nominal_at"),
    _text("origin", ""),
    _text("gate", ""),
    Column("keys", Text),
    Column("retry", Text),
    _moment("timeout_ms"),
    _moment("queue_ms"),
    _moment("start_by"),
    _moment("end_by"),
    _number("attempt", 0),
    _number("token", 0),
    _text("session", ""),
    _text("worker", ""),
    _number("tries", 0),
    _number("lost", 0),
    _moment("claimed_at"),
    _moment("started_at"),
    _moment("ended_at"),
    _text("cancel", ""),
    _number("digest", 0),
    Column("result", LargeBinary),
    Column("spilled", Boolean, nullable=False, server_default=text("false")),
    _text("error", ""),
    _text("progress", ""),
    Column("history", Text),
    _version(),
)

PENDING = "state = 'pending'"
RUNNING = "state = 'running'"
RESTING = "state NOT IN ('pending', 'running')"
SCHEDULED = "schedule <> ''"
UNENDED = "schedule <> '' AND ended_at IS NULL"

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
    _text("namespace"),
    _text("name"),
    _text("queue"),
    _number("created_at"),
    _text("body"),
    _version(),
)

tasks_time = _index("tasks_time", tasks, "created_at", "id")

revisions = Table("revisions", metadata, _key(), _number("updated_at"), _text("body"), _version())

schedules = Table(
    "schedules",
    metadata,
    _key(),
    _text("namespace"),
    _text("name"),
    _text("task"),
    _moment("next_at"),
    _number("created_at"),
    _text("body"),
    _version(),
)
schedules_due = _index("schedules_due", schedules, "next_at", "id", where="next_at IS NOT NULL")

schedules_time = _index("schedules_time", schedules, "created_at", "id")
schedules_task = _index("schedules_task", schedules, "namespace", "task", "created_at", "id")

queues = Table(
    "queues", metadata, _key(), _text("namespace"), _text("name"), _text("paused"), _text("body"), _version()
)

sessions = Table(
    "sessions",
    metadata,
    _key(),
    _text("worker"),
    _number("slots"),
    Column("draining", Boolean, nullable=False),
    _number("opened_at"),
    _moment("closed_at"),
    _text("body"),
    _version(),
)
sessions_ended = _index("sessions_ended", sessions, "closed_at", "id", where="closed_at IS NOT NULL")

pulses = Table("pulses", metadata, _key(), _number("count"), _version())

uniques = Table(
    "uniques", metadata, _key(), _text("run"), _text("body"), _text("until"), _moment("expires_at"), _version()
)
uniques_ended = _index("uniques_ended", uniques, "expires_at", "id", where="expires_at IS NOT NULL")

skips = Table(
    "skips",
    metadata,
    _key(),
    _text("schedule"),
    _number("revision"),
    _number("first_at"),
    _number("last_at"),
    _number("count"),
    _text("reason"),
    _version(),
)
skips_time = _index("skips_time", skips, "first_at", "id")

audit = Table(
    "audit",
    metadata,
    _key(),
    _number("at"),
    _text("actor"),
    _text("action"),
    _text("target"),
    _text("before"),
    _text("after"),
    _version(),
)
audit_time = _index("audit_time", audit, "at", "id")

blobs = Table("blobs", metadata, _key(), _number("created_at"), Column("data", LargeBinary, nullable=False), _version())

tallies = Table(
    "tallies",
    metadata,
    _key(),
    _number("minute"),
    _text("namespace"),
    _text("task"),
    _text("queue"),
    _text("outcome"),
    _number("bucket"),
    _text("node"),
    _number("count"),
    _number("total_ms"),
    _version(),
)
tallies_time = _index("tallies_time", tallies, "minute", "id")

terms = Table(
    "terms",
    metadata,
    Column("name", Key, primary_key=True),
    _number("number"),
    _text("holder"),
    _number("expires_at"),
)

lines = Table(
    "lines",
    metadata,
    Column("id", Position, primary_key=True, autoincrement=True),
    _text("run"),
    _number("attempt"),
    _number("at"),
    _text("stream"),
    _text("level"),
    _text("text"),
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
