"""What Redis's errors mean for the caller: the one place that knows them."""

from ssl import SSLError

from redis import exceptions as said_by

from rota.domain.errors import Incompatible, RotaError, Unavailable, Unclear

_FORBIDDEN = "forbids it; give this user all commands on keys and channels of the prefix"
_BY_CLASS: tuple[tuple[type[Exception], str], ...] = (
    (said_by.BusyLoadingError, "loads its data after a start; try again"),
    (said_by.AuthenticationError, "lets nobody in by this name and password; see the URL, and the server's ACL"),
    (said_by.NoPermissionError, _FORBIDDEN),
    (said_by.OutOfMemoryError, "is full; raise its maxmemory, or shorten the retention"),
    (said_by.ReadOnlyError, "only reads: it is a replica; name the primary, or the Sentinels"),
    (said_by.MasterDownError, "is a replica that has lost its primary"),
    (said_by.MovedError, "is a node of a Redis Cluster that keeps other keys; name the node that keeps this prefix's"),
    (said_by.ClusterDownError, "is a node of a Redis Cluster that is down"),
)
_BY_TEXT = (
    ("The user executing the script can't", _FORBIDDEN),
    ("MISCONF", "cannot write to its disk, so it takes nothing; see its log"),
    ("NOREPLICAS", "has fewer replicas than it is told to write to (min-replicas-to-write)"),
    ("BUSY", "is busy with a long script; try again"),
    ("DB index is out of range", "has no database of this number; see the end of the URL"),
    ("unknown command", "lacks what this version of Rota wants of it; install Redis 7.0 or newer"),
)
DEMOTED = (said_by.ReadOnlyError, said_by.MasterDownError)
"""Errors after which another server is the primary."""


def fault(error: BaseException, place: str, sent: bool = False) -> RotaError:
    """The error for the caller; `sent`: a write was on its way, and no answer came."""
    said = str(error).partition(" script: ")[0] or type(error).__name__
    for kind, meaning in _BY_CLASS:
        if isinstance(error, kind):
            return Unavailable(f"{place} {meaning} ({said})")
    if isinstance(error, said_by.ResponseError):
        for start, meaning in _BY_TEXT:
            if start in said:
                return Unavailable(f"{place} {meaning} ({said})")
        return Incompatible(f"{place} holds or knows other things than this version of Rota wants ({said})")
    if sent:
        return Unclear(f"{place}: no answer to a write, it may or may not count: {said}")
    if isinstance(error, SSLError) or "CERTIFICATE" in said or "SSL" in said:
        return Unavailable(f"{place} does not speak TLS as wanted; see the URL's scheme, host and sslrootcert ({said})")
    return Unavailable(f"{place} does not answer ({said})")
