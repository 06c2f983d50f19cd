"""The smaller records: queues, sessions, unique keys, blobs, the audit."""

from bisect import bisect_left
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from rota.domain.ids import Named

PULL = "pull"
DISPATCH = (PULL, "round_robin", "random", "least_load", "weighted", "consistent_hash")
"""How runs of a queue get to workers: a free one takes them itself, or the leader chooses one by this strategy."""


@dataclass(frozen=True, slots=True)
class Queue(Named):
    """A named line of runs. A queue without a record has these defaults."""

    paused: str = ""
    """Who paused it and why; empty: open."""
    strict: bool = False
    dispatch: str = PULL
    updated_at: int = 0


@dataclass(frozen=True, slots=True)
class Session:
    """One life of a worker process."""

    id: str
    worker: str
    """The worker's name, the same over its lives; two processes may share it and still are two sessions."""
    host: str
    pid: int
    lanes: tuple[str, ...]
    queues: tuple[str, ...]
    executors: tuple[str, ...]
    labels: tuple[str, ...] = ()
    slots: int = 10
    """Capacity; people may change it while the worker runs."""
    draining: bool = False
    """People asked it to finish what it holds and leave."""
    ttl_ms: int = 10_000
    opened_at: int = 0
    closed_at: int | None = None
    reason: str = ""
    version: str = ""
    opened_by: str = ""
    """The credential that opened it through the API; empty: a worker beside the store."""
    address: str = ""
    """URL at which the worker is reached, where it said one; or the kind of broker that it is behind."""

    @property
    def open(self) -> bool:
        """Whether it may claim."""
        return self.closed_at is None

    @property
    def takes_runs(self) -> bool:
        """Whether it can be given any: a worker at a URL whose credential cannot sign what is posted cannot."""
        return bool(self.executors)

    @property
    def carrier(self) -> str:
        """The kind of broker that it is behind; empty: none."""
        return "" if "://" in self.address else self.address

    @property
    def asks(self) -> bool:
        """Whether it asks what it holds, and so finds what it was not told of; who is only posted to does not."""
        return self.pid > 0


class Pulse(NamedTuple):
    """A session's beat counter. It lives apart from the session, so that beating and closing never conflict.

    Every beat raises it, to the ms since the epoch by the store's clock or by one at least: so people can be shown when
    the last beat was. Nothing is decided by that but whether it changed.
    """

    id: str
    count: int  # type: ignore[assignment]  # shadows tuple.count, which nobody needs here


class Load(NamedTuple):
    """What a worker says of its session with a beat: for people, and for whoever chooses among workers."""

    total: int
    """Attempts that began."""
    completed: int
    failed: int
    cpu_percent: int
    """Of one processor, by its process, since it said so before."""
    memory_mb: int
    """MiB of its process."""
    busy_percent: int
    """Of its machine, by processors or memory, whichever is scarcer; at most 100."""


class Until(StrEnum):
    """How long a unique key holds."""

    TERMINAL = "terminal"
    INSTANT = "instant"


@dataclass(frozen=True, slots=True)
class Unique:
    """A unique or idempotency key and the run that has it."""

    id: str
    """`namespace/kind/value`, and the actor for idempotency keys."""
    run: str
    body: str
    """Hash of what was asked, so that the same key with another body can be refused."""
    until: Until
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Blob:
    """A payload or result above the inline limit, written once."""

    id: str
    """`run/payload` or `run/result`."""
    data: bytes
    created_at: int = 0


@dataclass(frozen=True, slots=True)
class Audit:
    """One change by a person or program: who did what to which thing."""

    id: str
    at: int
    actor: str
    action: str
    target: str
    before: str = ""
    after: str = ""
    origin: str = ""
    """Where from: an address; empty where it was this machine's own command line or code."""
    sealed_at: int | None = None
    """When the leader took it into the chain; None: not yet."""


@dataclass(frozen=True, slots=True)
class Seal:
    """A link of the chain over the audit: it holds what entries were, and the digest of the seal before it.

    Sealed are whichever entries were not yet, late ones too; so the chain follows the order of sealing, not of time.
    """

    id: str
    """Its number, twelve digits, from 1 on without gaps."""
    at: int
    """Later than that of the seal before it."""
    entries: tuple[str, ...]
    """Ids; empty once they were pruned: then it is the anchor at which the chain begins."""
    root: str
    """Digest of the entries."""
    former: str
    """Digest of the seal before it."""
    digest: str
    """Of its number, its instant, `root` and `former`."""


class Tally(NamedTuple):
    """A counter cell: what ended in this minute. Written in the settling commit, read by totals and charts."""

    minute: int
    namespace: str
    task: str
    queue: str
    outcome: str
    bucket: int
    """Upper bound in ms of the duration's class; 0 where nothing ran."""
    node: str
    count: int = 1  # type: ignore[assignment]  # shadows tuple.count, which nobody needs here
    total_ms: int = 0


INLINE_LIMIT = 4_096
VALUE_LIMIT = 262_144
"""Bytes of a payload or result, each."""
DURATIONS_MS = (1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000, 60_000, 300_000, 3_600_000)


def bucket(duration_ms: int) -> int:
    """The class of a duration: its upper bound in ms, -1 above the last."""
    place = bisect_left(DURATIONS_MS, duration_ms)
    return DURATIONS_MS[place] if place < len(DURATIONS_MS) else -1
