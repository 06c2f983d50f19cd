"""Alembic, run through its own interface: no file of settings, no path of any machine."""

from pathlib import Path
from typing import Any

from alembic import command, op
from alembic.config import Config
from sqlalchemy import Column, Connection, text

from rota.stores.sql.columns import key, numbers


def upgrade(connection: Connection, version_table: str) -> list[str]:
    """Apply what is missing, in the transaction that is under way; the revisions applied, oldest first."""
    applied: list[str] = []
    config = Config(attributes={"connection": connection, "version_table": version_table, "applied": applied})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, "head")
    return applied


def table(name: str, *columns: Column[Any], **how: Any) -> None:
    """For a migration: make a table of records; the id comes first, the version last."""
    op.create_table(name, key(), *columns, *numbers("version"), **how)


def index(name: str, table: str, *columns: str, where: str = "") -> None:
    """For a migration: make an index, partial if `where` is given."""
    condition = text(where) if where else None
    op.create_index(name, table, list(columns), sqlite_where=condition, postgresql_where=condition)
