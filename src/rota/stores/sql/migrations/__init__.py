"""Alembic, run through its own interface: no file of settings, no path of any machine."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def upgrade(connection: Connection, version_table: str) -> list[str]:
    """Apply what is missing, in the transaction that is under way; the revisions applied, oldest first."""
    applied: list[str] = []
    config = Config(attributes={"connection": connection, "version_table": version_table, "applied": applied})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, "head")
    return applied
