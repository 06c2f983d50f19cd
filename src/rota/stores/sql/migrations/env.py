"""What Alembic runs for each command. The connection is given, and so is the transaction on it."""

from typing import Any

from alembic import context

given: dict[str, Any] = context.config.attributes


def note(ctx: Any, step: Any, heads: Any, run_args: Any) -> None:
    """Keep the names of what was applied."""
    given["applied"].append(step.up_revision_id)


context.configure(connection=given["connection"], version_table=given["version_table"], on_version_apply=note)
with context.begin_transaction():
    context.run_migrations()
