"""What SQLite's errors mean for the caller: the one place that knows its error codes."""

import sqlite3

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from rota.domain.errors import Incompatible, Invalid, RotaError, Unavailable, Unclear

_FOR_NOW = {
    sqlite3.SQLITE_BUSY: "is locked by another transaction; end what holds it (a shell, a backup, a stopped process)",
    sqlite3.SQLITE_BUSY_SNAPSHOT: "was written by others since this transaction read; roll it back and begin it anew",
    sqlite3.SQLITE_LOCKED: "is locked by another connection; end what holds it",
    sqlite3.SQLITE_PROTOCOL: "is opened and closed by too many processes at once; try again",
    sqlite3.SQLITE_FULL: "cannot grow, its disk is full; free some space or move the file",
    sqlite3.SQLITE_READONLY: "cannot be written; give this user the right to write the file and its directory",
    sqlite3.SQLITE_PERM: "may not be opened; give this user the right to read and write the file",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; see that its directory exists and that this user may write there",
    sqlite3.SQLITE_IOERR: "cannot be read or written; see whether its disk is full or failing",
    sqlite3.SQLITE_NOMEM: "needs more memory than there is",
    sqlite3.SQLITE_INTERRUPT: "was interrupted",
}
_FOR_GOOD = {
    sqlite3.SQLITE_CORRUPT: "is damaged; stop all processes, keep a copy and restore a backup",
    sqlite3.SQLITE_NOTADB: "is no SQLite database; choose another file, or restore a backup",
    sqlite3.SQLITE_FORMAT: "is no SQLite database; choose another file, or restore a backup",
    sqlite3.SQLITE_SCHEMA: "has tables that this version of Rota does not know",
    sqlite3.SQLITE_ERROR: "lacks what this version of Rota wants of it",
}
_NOTHING_HAPPENED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY}
"""Errors of a COMMIT after which the transaction is known to be undone."""

KEEPS = {*_NOTHING_HAPPENED, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG}
"""Errors after which a connection is as good as before."""

DRIVER_ERRORS = (sqlite3.Error, SQLAlchemyError)


def code_of(error: BaseException) -> int:
    """SQLite's primary result code, or -1."""
    original = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(original, "sqlite_errorcode", None)
    return -1 if code is None else int(code) & 0xFF


def fault(error: BaseException, place: str, at_commit: bool = False) -> RotaError:
    """The error for the caller: what is the matter, with which file, and what helps."""
    code, said = code_of(error), str(error.orig if isinstance(error, DBAPIError) else error)
    if at_commit and code not in _NOTHING_HAPPENED:
        return Unclear(f"{place}: the end of a transaction failed, it may or may not count: {said}")
    if meant := _FOR_NOW.get(getattr(error, "sqlite_errorcode", code)) or _FOR_NOW.get(code):
        return Unavailable(f"{place} {meant} ({said})")
    if code in _FOR_GOOD:
        return Incompatible(f"{place} {_FOR_GOOD[code]} ({said})")
    if code in (sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG):
        return Invalid("record", f"cannot be stored: {said}")
    return Unavailable(f"{place} does not answer ({said})")
