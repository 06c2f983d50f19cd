"""Runs are listed state by state: one index less to write to at each end of a run.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

from rota.stores.sql.migrations import index

revision = "0005"
down_revision: str | None = "0004"


def upgrade() -> None:
    """Pending runs come into the index by state, then the one by time goes. An earlier version at work meanwhile
    answers as before, but sorts what it lists, and on SQLite looks through all runs for those of a state.
    """
    op.drop_index("runs_state", "runs")
    index("runs_state", "runs", "namespace", "state", "created_at", "seq", where="state <> 'running'")
    op.drop_index("runs_time", "runs")
