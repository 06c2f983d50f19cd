"""Listings pass over running runs, which are looked through by themselves: claims write to fewer indexes.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

from rota.stores.sql.migrations import index

revision = "0004"
down_revision: str | None = "0003"

LISTED = "state <> 'running'"
SCHEDULED = "schedule <> '' AND state <> 'running'"
UNENDED = "schedule <> '' AND ended_at IS NULL AND state <> 'running'"


def upgrade() -> None:
    """Make them anew. An earlier version at work meanwhile answers as before, but looks through all runs for it."""
    for name, columns, where in (
        ("runs_time", ("created_at", "seq"), LISTED),
        ("runs_task", ("task", "created_at", "seq"), LISTED),
        ("runs_schedule", ("schedule", "created_at", "seq"), SCHEDULED),
        ("runs_unended", ("schedule", "created_at", "seq"), UNENDED),
    ):
        op.drop_index(name, "runs")
        index(name, "runs", "namespace", *columns, where=where)
