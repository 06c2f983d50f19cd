"""The first tables.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

from rota.stores.sql.columns import BEATING, KEY, POSITION, TURNING, moments, numbers, texts
from rota.stores.sql.migrations import index, table

revision = "0001"
down_revision: str | None = None


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
    index("runs_ready", "runs", "lane", "rank", "seq", "created_at", where="state = 'pending'")
    index("runs_due", "runs", "due_at", "seq", where="due_at IS NOT NULL")
    index("runs_live", "runs", "session", "token", "cancel", where="state = 'running'")
    index("runs_time", "runs", "namespace", "created_at", "seq")
    index("runs_task", "runs", "namespace", "task", "created_at", "seq")
    index("runs_state", "runs", "namespace", "state", "created_at", "seq", where="state NOT IN ('pending', 'running')")
    index("runs_ended", "runs", "ended_at", "seq", where="ended_at IS NOT NULL")
    index("runs_schedule", "runs", "namespace", "schedule", "created_at", "seq", where="schedule <> ''")
    unended = "schedule <> '' AND ended_at IS NULL"
    index("runs_unended", "runs", "namespace", "schedule", "created_at", "seq", where=unended)


def definitions() -> None:
    """Tasks, their revisions, schedules and queues."""
    table("tasks", *texts("namespace", "name", "queue"), *numbers("created_at"), *texts("body"))
    index("tasks_time", "tasks", "created_at", "id")
    table("revisions", *numbers("updated_at"), *texts("body"))
    table("schedules", *texts("namespace", "name", "task"), *moments("next_at"), *numbers("created_at"), *texts("body"))
    index("schedules_due", "schedules", "next_at", "id", where="next_at IS NOT NULL")
    index("schedules_time", "schedules", "created_at", "id")
    index("schedules_task", "schedules", "namespace", "task", "created_at", "id")
    table("queues", *texts("namespace", "name", "paused", "body"))


def sessions() -> None:
    """Sessions, their pulses, and terms of leadership."""
    table(
        "sessions",
        *texts("worker"),
        *numbers("slots"),
        sa.Column("draining", sa.Boolean, nullable=False),
        *numbers("opened_at"),
        *moments("closed_at"),
        *texts("body"),
    )
    index("sessions_open", "sessions", "opened_at", where="closed_at IS NULL")
    index("sessions_ended", "sessions", "closed_at", "id", where="closed_at IS NOT NULL")
    table("pulses", *numbers("count"), postgresql_with=BEATING)
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
    table("uniques", *texts("run", "body", "until"), *moments("expires_at"))
    index("uniques_ended", "uniques", "expires_at", "id", where="expires_at IS NOT NULL")
    table("skips", *texts("schedule"), *numbers("revision", "first_at", "last_at", "count"), *texts("reason"))
    index("skips_time", "skips", "first_at", "id")
    table("audit", *numbers("at"), *texts("actor", "action", "target", "before", "after"))
    index("audit_time", "audit", "at", "id")


def values_and_lines() -> None:
    """Large values, tallies and captured lines."""
    table("blobs", *numbers("created_at"), sa.Column("data", sa.LargeBinary, nullable=False))
    table(
        "tallies",
        *numbers("minute"),
        *texts("namespace", "task", "queue", "outcome"),
        *numbers("bucket"),
        *texts("node"),
        *numbers("count", "total_ms"),
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
