"""Users and tokens, and the chain over the audit.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

from rota.stores.sql.columns import key, moments, numbers, texts
from rota.stores.sql.migrations import index

revision = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Make the new tables, and the audit anew around its entries, so that `version` stays its last column."""
    op.drop_index("audit_time", "audit")
    op.rename_table("audit", "audit_before")
    op.create_table(
        "audit",
        key(),
        *numbers("at"),
        *texts("actor", "action", "target", "before", "after"),
        *texts("origin", default=""),
        *moments("sealed_at"),
        *numbers("version"),
    )
    names = 'id, "at", actor, action, target, "before", "after", version'
    op.execute(f"INSERT INTO audit ({names}) SELECT {names} FROM audit_before")  # noqa: S608 - names of ours
    op.drop_table("audit_before")
    index("audit_time", "audit", "at", "id")
    index("audit_open", "audit", "at", "id", where="sealed_at IS NULL")
    index("audit_sealed", "audit", "sealed_at", "id", where="sealed_at IS NOT NULL")
    op.create_table("seals", key(), *numbers("at"), *texts("body"), *numbers("version"))
    index("seals_time", "seals", "at", "id")
    op.create_table("users", key(), *numbers("created_at"), *texts("body"), *numbers("version"))
    index("users_time", "users", "created_at", "id")
    op.create_table(
        "tokens",
        key(),
        *texts("owner"),
        *numbers("created_at"),
        *moments("expires_at"),
        *texts("body"),
        *numbers("version"),
    )
    index("tokens_time", "tokens", "created_at", "id")
    index("tokens_ended", "tokens", "expires_at", "id", where="expires_at IS NOT NULL")
