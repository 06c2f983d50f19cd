"""What PostgreSQL's errors mean for the caller: the one place that knows its error codes."""

from ssl import SSLCertVerificationError

import asyncpg

from rota.domain.errors import Incompatible, Invalid, RotaError, Unavailable, Unclear

_FOR_NOW = {
    "08P01": "does not take what a connection wants; where a pooler stands between, write pooler=transaction",
    "26000": "has forgotten what was prepared; where a pooler stands between, write pooler=transaction",
    "25006": "only reads: it is a replica, or set to read only; name the primary",
    "25P03": "ended a transaction whose program had paused too long; nothing of it happened",
    "28": "lets nobody in by this name, password and sslmode; see the URL, and the server's pg_hba.conf",
    "3D000": "does not exist; make it with CREATE DATABASE",
    "3F000": "has no such schema; make it with CREATE SCHEMA",
    "42501": "forbids it; give this user the right to read, write and make tables",
    "40": "met others who wrote the same records, again and again",
    "53100": "cannot grow, its disk is full; free some space",
    "53300": "has no connection left; raise max_connections, lower `pool=` in the URL, or use a pooler",
    "55P03": "holds rows that others have locked for too long; see pg_locks for who",
    "57014": "was too slow; see pg_stat_activity for what it does",
    "57P03": "starts or stops just now",
}
_FOR_GOOD = {
    "42704": "does not know what the URL or a statement names; see the options of the URL",
    "42": "lacks tables or columns that this version of Rota wants; run `rota migrate`",
    "XX001": "is damaged; restore a backup",
    "XX002": "has a damaged index; rebuild it with REINDEX",
}
_NOT_STORED = ("22", "23", "54")
_UNDONE = ("40", "23")
"""Errors of a COMMIT after which the transaction is known to be undone."""

LOST = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, EOFError)
"""Errors after which a connection is of no more use; a timeout is an `OSError`.

The driver's internal error is that of a connection which the server has taken leave of, but not closed yet.
"""
DRIVER_ERRORS = (asyncpg.PostgresError, *LOST)


def code_of(error: BaseException) -> str:
    """The SQLSTATE, or nothing; psycopg2 has another name for it."""
    return str(getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or "")


def fault(error: BaseException, place: str, at_commit: bool = False) -> RotaError:
    """The error for the caller: what is the matter, with which database, and what helps."""
    code, said = code_of(error), str(error) or type(error).__name__
    if at_commit and not code.startswith(_UNDONE):
        return Unclear(f"{place}: no answer to the end of a transaction, it may or may not count: {said}")
    if isinstance(error, SSLCertVerificationError):
        return Unavailable(
            f"{place} shows a certificate that is not believed; see the URL's host and sslrootcert ({said})"
        )
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return Unavailable(f"{place} leads to no primary now, or to none that its target_session_attrs wants ({said})")
    for meaning, kind in ((_FOR_NOW, Unavailable), (_FOR_GOOD, Incompatible)):
        for start in (code, code[:2]):
            if start in meaning:
                return kind(f"{place} {meaning[start]} ({said})")
    if code.startswith(_NOT_STORED):
        return Invalid("record", f"cannot be stored: {said}")
    return Unavailable(f"{place} does not answer ({said})")
