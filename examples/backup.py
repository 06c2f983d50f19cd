"""Backups of a SQLite database: consistent while it is in use, checked before they count, the newest kept."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rota import Cancel, Context, Fail

PAGES_AT_ONCE = 1_000


@dataclass(frozen=True)
class Backup:
    """What a run made, and what it threw away."""

    file: Path
    size: int
    removed: int


def back_up(
    context: Context, database: Path = Path("data/sample.db"), folder: Path = Path("data/backups"), keep: int = 24
) -> Backup:
    """Copy a SQLite database into a folder, check the copy, keep the newest few."""
    if not database.exists():
        make_sample(database)
        context.log.info("made a sample database: %s", database)
    folder.mkdir(parents=True, exist_ok=True)
    # Named after the nominal time: another attempt of the same occurrence replaces the file, it adds none.
    taken_at = (context.nominal or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    target = folder / f"{database.stem}-{taken_at}.db"
    # No two attempts ever share this name, not even one whose worker was believed dead.
    partial = folder / f".{context.run_id}-{context.attempt}.partial"
    try:
        copy(database, partial, context)
        check(partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    made = Backup(target, target.stat().st_size, remove_old(folder, database.stem, keep))
    context.log.info("%s: %d bytes, %d old ones removed", made.file, made.size, made.removed)
    return made


def copy(database: Path, target: Path, context: Context) -> None:
    """Copy page by page; writers of the database are not held up. Stops when the run is cancelled."""

    def told(_: int, left: int, pages: int) -> None:
        context.progress(f"{pages - left} of {pages} pages")
        if context.cancelled:
            raise Cancel("cancelled before the copy was whole")

    source = f"{database.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(source, uri=True)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other, pages=PAGES_AT_ONCE, progress=told)


def check(database: Path) -> None:
    """Raises `Fail` for a database that is damaged: trying again would copy the damage again."""
    with closing(sqlite3.connect(database)) as connection:
        try:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        except sqlite3.DatabaseError as error:
            raise Fail(f"the copy cannot be read: {error}") from error
    if found != ["ok"]:
        raise Fail(f"the copy is damaged: {'; '.join(found[:3])}")


def remove_old(folder: Path, stem: str, keep: int) -> int:
    """Remove all but the newest `keep` backups; how many went. Their names sort by time."""
    old = sorted(folder.glob(f"{stem}-*.db"), reverse=True)[keep:]
    for file in old:
        file.unlink()
    return len(old)


def make_sample(database: Path, rows: int = 10_000) -> None:
    """A small database to try this with."""
    database.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE measurement (id INTEGER PRIMARY KEY, name TEXT, value REAL)")
        values = ((f"sensor {row % 100}", row / 7) for row in range(rows))
        connection.executemany("INSERT INTO measurement (name, value) VALUES (?, ?)", values)
