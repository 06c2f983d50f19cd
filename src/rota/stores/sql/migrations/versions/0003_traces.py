"""The trace that a run belongs to. A column more: what an earlier version still writes stays valid.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the column. It stands behind `version` there, and no statement minds: each names its columns."""
    op.add_column("runs", sa.Column("trace", KEY, nullable=False, server_default=sa.text("''")))
