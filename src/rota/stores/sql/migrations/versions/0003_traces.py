"""The trace that a run belongs to. A column more: what an earlier version still writes stays valid.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

from rota.stores.sql.columns import texts

revision = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add the column. It stands behind `version` there, and no statement minds: each names its columns."""
    op.add_column("runs", *texts("trace", default=""))
