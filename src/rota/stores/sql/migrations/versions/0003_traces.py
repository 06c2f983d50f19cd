"""The trace that a run belongs to. A column more: what an earlier version still writes stays valid.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

from rota.stores.sql.columns import texts

revision = "0003"
down_revision: str | None = "0002"


def upgrade() -> None:
    """Add the column. It stands behind `version` there, and no statement minds: each names its columns."""
    op.add_column("runs", *texts("trace", default=""))
