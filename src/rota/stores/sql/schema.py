"""The schema of a database: made where there is none, brought up to date where it is older, refused where it is newer.

A fresh database gets its tables from `tables`, an older one by Alembic, which is imported for nothing else; a test
proves that both come to the same.
"""

from functools import cache
from typing import Any

from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement

from rota.domain.errors import Incompatible
from rota.stores.sql import tables
from rota.stores.sql.db import Db
from rota.stores.sql.flavours import Flavour

REVISIONS = ("0001", "0002", "0003", "0004", "0005")
"""All migrations, oldest first."""

NEWEST = f"SELECT version_num FROM {tables.revision.name}"  # noqa: S608 - a name of ours
"""The one cheap look that tells whether anything must be done."""


def newest(db: Db, place: str) -> str:
    """The last migration that a database has seen, empty for an empty one. Raises `Incompatible`."""
    names = [row[0] for row in db.rows(db.flavour.tables)]
    if tables.revision.name not in names:
        if names:
            raise Incompatible(f"{place} is a database, but not one of Rota ({', '.join(names[:3])}); choose another")
        return ""
    found = "".join(row[0] for row in db.rows(NEWEST))
    if found not in REVISIONS:
        raise Incompatible(f"{place} was made by a newer version of Rota (its revision is {found!r}); install that one")
    return str(found)


def prepare(db: Db, place: str) -> list[str]:
    """Make or upgrade the tables, inside a transaction that holds the write lock; the revisions that were applied."""
    before = newest(db, place)
    if before == REVISIONS[-1]:
        return []
    if before:
        return migrate(db)
    for statement in _created(db.flavour):
        db.write(statement)
    db.write(f"INSERT INTO {tables.revision.name} VALUES ('{REVISIONS[-1]}')")  # noqa: S608 - names of ours
    return list(REVISIONS)


def migrate(db: Db) -> list[str]:
    """Apply all migrations that a database lacks, in the transaction that is under way; their names."""
    from rota.stores.sql.migrations import upgrade

    with db.alembic() as connection:
        return upgrade(connection, tables.revision.name)


@cache
def _created(flavour: Flavour) -> list[str]:
    """The statements that make everything."""
    made: list[DDLElement] = []
    for table in (*tables.metadata.sorted_tables, tables.revision):
        parts: list[Any] = [table, *table.indexes]
        for part in parts:
            # Only now: an option loads all of its dialect, which for PostgreSQL is much.
            options = {name: value for name, value in part.info.items() if name.startswith(flavour.dialect.name)}
            part.dialect_kwargs.update(options)
        made.append(CreateTable(table))
        made.extend(CreateIndex(index) for index in sorted(table.indexes, key=lambda one: str(one.name)))
    return [str(one.compile(dialect=flavour.dialect)) for one in made]
