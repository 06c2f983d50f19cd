"""Users and tokens, and the chain over the audit.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

from rota.stores.sql.columns import moments, numbers, texts
from rota.stores.sql.migrations import index, table

revision = "0002"
down_revision: str | None = "0001"


def upgrade() -> None:
    """Make the new tables, and the audit anew around its entries, so that `version` stays its last column."""
    op.drop_index("audit_time", "audit")
    op.rename_table("audit", "audit_before")
    table(
        "audit",
        *numbers("at"),
        *texts("actor", "action", "target", "before", "after"),
        *texts("origin", default=""),
        *moments("sealed_at"),
    )
    names = 'id, "at", actor, action, target, "before", "after", version'
    op.execute(f"INSERT INTO audit ({names}) SELECT {names} FROM audit_before")  # noqa: S608 - names of ours
    op.drop_table("audit_before")
    index("audit_time", "audit", "at", "id")
    index("audit_open", "audit", "at", "id", where="sealed_at IS NULL")
    index("audit_sealed", "audit", "sealed_at", "id", where="sealed_at IS NOT NULL")
    table("seals", *numbers("at"), *texts("body"))
    index("seals_time", "seals", "at", "id")
    table("users", *numbers("created_at"), *texts("body"))
    index("users_time", "users", "created_at", "id")
    table("tokens", *texts("owner"), *numbers("created_at"), *moments("expires_at"), *texts("body"))
    index("tokens_time", "tokens", "created_at", "id")
    index("tokens_ended", "tokens", "expires_at", "id", where="expires_at IS NOT NULL")
