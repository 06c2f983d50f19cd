import sqlite3

import pytest
from sqlalchemy.exc import OperationalError

from rota.domain.errors import Incompatible, Invalid, Unavailable, Unclear
from rota.stores.sql.faults import code_of, fault


def error(code, text="said the driver"):
    found = sqlite3.OperationalError(text)
    found.sqlite_errorcode = code
    return found


@pytest.mark.parametrize(
    ("code", "kind", "word"),
    [
        (sqlite3.SQLITE_BUSY, Unavailable, "locked"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, Unavailable, "begin it anew"),
        (sqlite3.SQLITE_FULL, Unavailable, "full"),
        (sqlite3.SQLITE_READONLY, Unavailable, "right to write"),
        (sqlite3.SQLITE_READONLY_DBMOVED, Unavailable, "right to write"),
        (sqlite3.SQLITE_IOERR_FSYNC, Unavailable, "failing"),
        (sqlite3.SQLITE_CANTOPEN, Unavailable, "directory"),
        (sqlite3.SQLITE_CORRUPT, Incompatible, "backup"),
        (sqlite3.SQLITE_NOTADB, Incompatible, "no SQLite database"),
        (sqlite3.SQLITE_ERROR, Incompatible, "lacks"),
        (sqlite3.SQLITE_CONSTRAINT_NOTNULL, Invalid, "cannot be stored"),
        (sqlite3.SQLITE_TOOBIG, Invalid, "cannot be stored"),
        (sqlite3.SQLITE_AUTH, Unavailable, "does not answer"),
    ],
)
def test_what_an_error_means_and_what_to_do(code, kind, word):
    found = fault(error(code), "file.db")
    assert type(found) is kind
    assert word in str(found)
    assert "said the driver" in str(found)
    assert kind is Invalid or "file.db" in str(found)


def test_an_error_wrapped_by_sqlalchemy_is_the_same_error():
    wrapped = OperationalError("BEGIN", None, error(sqlite3.SQLITE_BUSY))
    assert code_of(wrapped) == sqlite3.SQLITE_BUSY
    assert isinstance(fault(wrapped, "file.db"), Unavailable)


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT])
def test_a_commit_that_failed_half_way_is_unclear(code):
    assert isinstance(fault(error(code), "file.db", at_commit=True), Unclear)


@pytest.mark.parametrize("code", [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY])
def test_a_commit_that_did_not_begin_to_write_is_not(code):
    assert isinstance(fault(error(code), "file.db", at_commit=True), Unavailable)


def test_an_error_without_a_code_is_passed_on_in_words():
    assert "closed database" in str(fault(sqlite3.ProgrammingError("Cannot operate on a closed database."), "file.db"))
