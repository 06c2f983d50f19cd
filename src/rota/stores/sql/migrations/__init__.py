"""Alembic, run through its own interface: no file of settings, no path of any machine."""

from pathlib import Path

from alembic import command, op
from alembic.config import Config
from sqlalchemy import Connection, text


def upgrade(connection: Connection, version_table: str) -> list[str]:
    """Apply what is missing, in the transaction that is under way; the revisions applied, oldest first."""
    applied: list[str] = []
    config = Config(attributes={"connection": connection, "version_table": version_table, "applied": applied})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, "head")
    return applied


def index(name: str, table: str, *columns: str, where: str = "") -> None:
    """For a migration: make an index, partial if `where` is given."""
    condition = text(where) if where else None
    op.create_index(name, table, list(columns), sqlite_where=condition, postgresql_where=condition)
