"""What etcd's errors mean for the caller: the one place that knows them."""

from enum import Enum

from grpc import StatusCode
from grpc.aio import AioRpcError

from rota.domain.errors import Incompatible, RotaError, Unavailable, Unclear


class Compacted(Unavailable):
    """What is asked for, as of an old revision, is no longer kept."""


class Full(Unavailable):
    """No room is left. Of a write this may be said though it counts: the one that took up the last room."""


class Next(Enum):
    """What may help after an error that surely changed nothing."""

    NOTHING = 0
    LOGIN = 1
    ELSEWHERE = 2
    """Another member, or the same one later."""


_NOBODY = "lets nobody in by this name and password; see the URL"
_BIG = "takes no request of this size; raise its --max-request-bytes"
_BY_TEXT: tuple[tuple[str, Next, type[RotaError], str], ...] = (
    ("invalid auth token", Next.LOGIN, Unavailable, _NOBODY),
    ("user name is empty", Next.LOGIN, Unavailable, _NOBODY),
    ("revision of auth store is old", Next.LOGIN, Unavailable, _NOBODY),
    ("authentication failed", Next.NOTHING, Unavailable, _NOBODY),
    ("permission denied", Next.NOTHING, Unavailable, "forbids it; let this user's role read and write the prefix"),
    ("no leader", Next.ELSEWHERE, Unavailable, "has no leader: half of its members or more are not reached"),
    ("proposal dropped", Next.ELSEWHERE, Unavailable, "has no leader for now"),
    ("too many requests", Next.ELSEWHERE, Unavailable, "has more to do than it can; try again"),
    ("space exceeded", Next.NOTHING, Full, "is full (alarm NOSPACE): shorten the retention, then compact, "
     "defragment and disarm it, or raise its --quota-backend-bytes"),
    ("has been compacted", Next.NOTHING, Compacted, "keeps this revision no more"),
    ("corrupt cluster", Next.NOTHING, Incompatible, "is damaged: its members differ (alarm CORRUPT)"),
    ("lease not found", Next.NOTHING, Unavailable, "knows this lease no more"),
    ("request is too large", Next.NOTHING, Incompatible, _BIG),
    ("grpc: received message larger", Next.NOTHING, Incompatible, _BIG),
    ("too many operations", Next.NOTHING, Incompatible, "takes fewer operations at once; raise its --max-txn-ops"),
)  # fmt: skip
_UNREACHED = "failed to connect to all addresses", "errors resolving", "DNS resolution failed"
"""Texts by which the library says that it sent nothing."""
_WHY = (
    ("verification check failed", "shows a certificate for other hosts; see the URL"),
    ("CERTIFICATE_VERIFY", "shows a certificate that is not believed; see the URL's ca"),
    ("Handshake read failed", "does not speak TLS; write etcd:// instead of etcds://"),
    ("Unwrap failed", "wants another certificate of this client; see the URL's cert and key"),
    ("SSL", "does not speak TLS as wanted; see the URL's scheme, cert and key"),
    ("Socket closed", "lets nobody in this way; write etcds:// if it speaks TLS"),
    ("resol", "has no address"),
)
_REFUSALS = frozenset({
    StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND, StatusCode.FAILED_PRECONDITION, StatusCode.OUT_OF_RANGE,
    StatusCode.PERMISSION_DENIED, StatusCode.UNAUTHENTICATED, StatusCode.UNIMPLEMENTED,
})  # fmt: skip
"""Codes by which a server says that it did nothing."""


def fault(error: AioRpcError, place: str, writes: bool) -> tuple[Next, RotaError]:
    """What to do next, and the error for the caller if that does not help.

    A write whose error is not known to mean that nothing happened is unclear.
    """
    said = error.details() or error.code().name
    if any(text in said for text in _UNREACHED):
        meaning = next((meaning for text, meaning in _WHY if text in said), "does not answer")
        return Next.ELSEWHERE, Unavailable(f"{place} {meaning} ({said})")
    for text, then, kind, meaning in _BY_TEXT:
        if text in said:
            return then, kind(f"{place} {meaning} ({said})")
    if error.code() in _REFUSALS:
        return Next.NOTHING, Incompatible(f"{place} wants other things than this version of Rota says ({said})")
    if writes:
        return Next.NOTHING, Unclear(f"{place}: no answer to a write, it may or may not count: {said}")
    return Next.ELSEWHERE, Unavailable(f"{place} does not answer ({said})")
