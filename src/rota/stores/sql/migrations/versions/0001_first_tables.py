"""The first tables.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

from rota.stores.sql.columns import BEATING, KEY, POSITION, TURNING, key, moments, numbers, texts
from rota.stores.sql.migrations import index

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

PENDING = "state = 'pending'"
RUNNING = "state = 'running'"
RESTING = "state NOT IN ('pending', 'running')"
SCHEDULED = "schedule <> ''"
UNENDED = "schedule <> '' AND ended_at IS NULL"


def upgrade() -> None:
    """Make everything."""
    runs()
    definitions()
    sessions()
    keys_and_history()
    values_and_lines()


def runs() -> None:
    """Runs and their indexes."""
    op.create_table(
        "runs",
        sa.Column("seq", POSITION, primary_key=True, autoincrement=True),
        sa.Column("id", KEY, nullable=False, unique=True),
        *texts("namespace", "task"),
        *numbers("revision"),
        *texts("queue", "lane"),
        *numbers("priority"),
        *texts("state", "reason", "detail"),
        *numbers("rank"),
        *moments("due_at"),
        *numbers("created_at"),
        *moments("ready_at"),
        sa.Column("payload", sa.LargeBinary),
        *texts("cause", default="submit"),
        *texts("actor", "schedule", default=""),
        *moments("nominal_at"),
        *texts("origin", "gate", default=""),
        sa.Column("keys", sa.Text),
        sa.Column("retry", sa.Text),
        *moments("timeout_ms", "queue_ms", "start_by", "end_by"),
        *numbers("attempt", "token", default=0),
        *texts("session", "worker", default=""),
        *numbers("tries", "lost", default=0),
        *moments("claimed_at", "started_at", "ended_at"),
        *texts("cancel", default=""),
        *numbers("digest", default=0),
        sa.Column("result", sa.LargeBinary),
        sa.Column("spilled", sa.Boolean, nullable=False, server_default=sa.text("false")),
        *texts("error", "progress", default=""),
        sa.Column("history", sa.Text),
        *numbers("version"),
        postgresql_with=TURNING,
    )
    index("runs_ready", "runs", "lane", "rank", "seq", "created_at", where=PENDING)
    index("runs_due", "runs", "due_at", "seq", where="due_at IS NOT NULL")
    index("runs_live", "runs", "session", "token", "cancel", where=RUNNING)
    index("runs_time", "runs", "namespace", "created_at", "seq")
    index("runs_task", "runs", "namespace", "task", "created_at", "seq")
    index("runs_state", "runs", "namespace", "state", "created_at", "seq", where=RESTING)
    index("runs_ended", "runs", "ended_at", "seq", where="ended_at IS NOT NULL")
    index("runs_schedule", "runs", "namespace", "schedule", "created_at", "seq", where=SCHEDULED)
    index("runs_unended", "runs", "namespace", "schedule", "created_at", "seq", where=UNENDED)


def definitions() -> None:
    """Tasks, their revisions, schedules and queues."""
    op.create_table(
        "tasks",
        key(),
        *texts("namespace", "name", "queue"),
        *numbers("created_at"),
        *texts("body"),
        *numbers("version"),
    )
    index("tasks_time", "tasks", "created_at", "id")
    op.create_table("revisions", key(), *numbers("updated_at"), *texts("body"), *numbers("version"))
    op.create_table(
        "schedules",
        key(),
        *texts("namespace", "name", "task"),
        *moments("next_at"),
        *numbers("created_at"),
        *texts("body"),
        *numbers("version"),
    )
    index("schedules_due", "schedules", "next_at", "id", where="next_at IS NOT NULL")
    index("schedules_time", "schedules", "created_at", "id")
    index("schedules_task", "schedules", "namespace", "task", "created_at", "id")
    op.create_table("queues", key(), *texts("namespace", "name", "paused", "body"), *numbers("version"))


def sessions() -> None:
    """Sessions, their pulses, and terms of leadership."""
    op.create_table(
        "sessions",
        key(),
        *texts("worker"),
        *numbers("slots"),
        sa.Column("draining", sa.Boolean, nullable=False),
        *numbers("opened_at"),
        *moments("closed_at"),
        *texts("body"),
        *numbers("version"),
    )
    index("sessions_open", "sessions", "opened_at", where="closed_at IS NULL")
    index("sessions_ended", "sessions", "closed_at", "id", where="closed_at IS NOT NULL")
    op.create_table("pulses", key(), *numbers("count", "version"), postgresql_with=BEATING)
    op.create_table(
        "terms",
        sa.Column("name", KEY, primary_key=True),
        *numbers("number"),
        *texts("holder"),
        *numbers("expires_at"),
        postgresql_with=BEATING,
    )


def keys_and_history() -> None:
    """Unique keys, skipped occurrences and the audit."""
    op.create_table("uniques", key(), *texts("run", "body", "until"), *moments("expires_at"), *numbers("version"))
    index("uniques_ended", "uniques", "expires_at", "id", where="expires_at IS NOT NULL")
    op.create_table(
        "skips",
        key(),
        *texts("schedule"),
        *numbers("revision", "first_at", "last_at", "count"),
        *texts("reason"),
        *numbers("version"),
    )
    index("skips_time", "skips", "first_at", "id")
    op.create_table(
        "audit", key(), *numbers("at"), *texts("actor", "action", "target", "before", "after"), *numbers("version")
    )
    index("audit_time", "audit", "at", "id")


def values_and_lines() -> None:
    """Large values, tallies and captured lines."""
    op.create_table(
        "blobs",
        key(),
        *numbers("created_at"),
        sa.Column("data", sa.LargeBinary, nullable=False),
        *numbers("version"),
    )
    op.create_table(
        "tallies",
        key(),
        *numbers("minute"),
        *texts("namespace", "task", "queue", "outcome"),
        *numbers("bucket"),
        *texts("node"),
        *numbers("count", "total_ms", "version"),
        postgresql_with=BEATING,
    )
    index("tallies_time", "tallies", "minute", "id")
    op.create_table(
        "lines",
        sa.Column("id", POSITION, primary_key=True, autoincrement=True),
        *texts("run"),
        *numbers("attempt", "at"),
        *texts("stream", "level", "text"),
        sqlite_autoincrement=True,
    )
    index("lines_run", "lines", "run", "id")
