"""The store: eleven methods behind which SQLite, PostgreSQL, Redis and etcd are alike.

A store never decides. It compares and sets records, finds what is due, lets sessions take ready runs, counts beats,
lends one leadership term and passes hints on. What a retry or a cancel is, only `rota.domain.states` knows. One suite,
`rota.testing.contracts`, proves every store.

Instants are ms since the epoch, durations ms. Any method may raise `Unavailable` (nothing happened), and those that
write may raise `Unclear` (it may have happened).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from rota.domain.people import Token, User
from rota.domain.records import Audit, Blob, Pulse, Queue, Seal, Session, Tally, Unique
from rota.domain.run import Run
from rota.domain.schedule import Schedule, Skip
from rota.domain.task import Revision, Task

Record = (
    Task | Revision | Schedule | Run | Queue | Session | Pulse | Unique | Skip
    | Audit | Seal | Blob | Tally | User | Token
)  # fmt: skip
"""What a store keeps. All but `Tally` have an `id` that is unique within their kind."""

R = TypeVar("R", bound=Record)

GROUP_LIMIT = 24
"""Changes in one all-or-nothing group."""
GROUP_BYTES = 524_288
LOOK_LIMIT = 2_000
"""Records that one `find` looks at before it returns a short page and a cursor."""


class Versioned(NamedTuple, Generic[R]):
    """A record as read. The version is the store's and means nothing but equality."""

    record: R
    version: int


class Change(NamedTuple):
    """From `was` (None: the record must be new) to `now` (None: deleted)."""

    was: Versioned[Any] | None
    now: Any


class Group(NamedTuple):
    """Changes that happen together or not at all, and the counters that count them if they do."""

    changes: tuple[Change, ...]
    tally: Tally | None = None


class Applied(NamedTuple):
    """The group is in the store, durably."""

    word: str = "applied"


class Already(NamedTuple):
    """The store held exactly what was wanted: an earlier, unclear try of the same group counted."""

    word: str = "already"


class Conflict(NamedTuple):
    """Nothing of the group happened. `current`: what the store holds for each change, None where nothing."""

    current: tuple[Versioned[Any] | None, ...]


Result = Applied | Already | Conflict
APPLIED = Applied()
ALREADY = Already()


class Term(NamedTuple):
    """Guard of a leader's write: it commits only while term `number` of `name` is the newest one."""

    name: str
    number: int


Guard = Term | None


class Hint(NamedTuple):
    """Something may be worth a look: a lane, a duty's topic, a session. May be lost, doubled or late."""

    topic: str
    count: int = 1  # type: ignore[assignment]  # shadows tuple.count, which nobody needs here


class Where(NamedTuple):
    """What `find` can filter by; empty means any. Combinations beyond one field may return short pages."""

    namespace: str = ""
    states: tuple[str, ...] = ()
    task: str = ""
    queue: str = ""
    schedule: str = ""
    """Name of a schedule (runs), or id of one (skips)."""
    session: str = ""
    prefix: str = ""
    """Start of the record's id."""
    since: int | None = None
    """Runs: created at or after. Audit, tally, skip: at or after."""
    until: int | None = None
    """Runs: created before. Ended runs for prune: see `ended_until`."""
    ended_until: int | None = None
    """Terminal runs that ended before; closed sessions that closed before; unique keys and tokens that expired before;
    audit entries that were sealed before.
    """
    open: bool | None = None
    """Sessions: open or closed. Audit: not sealed yet, or sealed."""


class Page(NamedTuple, Generic[R]):
    """Records found, newest first unless asked otherwise; `cursor` continues, empty at the end."""

    items: tuple[Versioned[R], ...]
    cursor: str


class Due(NamedTuple, Generic[R]):
    """Records whose time has come, earliest first, and the first instant not yet come (None: nothing waits)."""

    items: tuple[Versioned[R], ...]
    next_at: int | None


class Want(NamedTuple):
    """What a session can take now: any of these lanes, or exactly these runs."""

    session: str
    worker: str
    token: int
    """64 random bits, drawn before asking; all attempts of one claim share it, the fence still tells them apart."""
    limit: int
    lanes: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    """Ids of tasks (`namespace/name`) that this session lacks the handler of."""
    runs: tuple[str, ...] = ()


class Claimed(NamedTuple):
    """What a want got. `contended`: fewer than asked does not mean that nothing is left."""

    runs: tuple[Versioned[Run], ...]
    contended: bool
    open: bool
    """Whether the session was open; a closed one gets nothing."""


class BeatReply(NamedTuple):
    """What the store knows of the session: whether it is open, what it holds, what people want of it."""

    open: bool
    held: int
    """Number of running runs of the session."""
    digest: int
    """Sum of their attempts' tokens, modulo 2^31 each."""
    cancels: tuple[str, ...]
    """Ids of held runs whose cancel was asked."""
    slots: int
    draining: bool
    labels: tuple[str, ...] = ()
    hinted: bool = False
    """Whether it was asked for early, by a hint to the session. The desk knows, the store does not."""


class Lead(NamedTuple):
    """The newest term of a leadership: its number, its holder, and whether the asker is it."""

    number: int
    holder: str
    mine: bool


class Watch(Protocol):
    """An open ear for hints."""

    async def wait(self, seconds: float | None) -> Mapping[str, int]:
        """Topics hinted at since the last call, with counts; empty after `seconds` (None: no limit) without any."""

    def wake(self) -> None:
        """Let a waiting `wait` return at once, from any thread."""

    def close(self) -> None:
        """Stop listening; harmless twice."""


class Line(NamedTuple):
    """One captured line of a task's output or logging."""

    run: str
    attempt: int
    at: int
    stream: str
    """`stdout`, `stderr` or `log`."""
    level: str
    text: str


class Sought(NamedTuple):
    """What `search` finds lines by; empty means any."""

    run: str = ""
    text: str = ""
    """As plain text, small and capital letters alike."""
    level: str = ""
    stream: str = ""
    since: int | None = None
    until: int | None = None


LINES_LIMIT = 10_000
"""Lines that one `search` looks at before it returns few and a position."""


class Logs(Protocol):
    """Where captured lines go. Losing a line is allowed, blocking a run is not."""

    async def append(self, lines: Sequence[Line]) -> None:
        """Keep these lines, in order."""

    async def read(self, run: str, after: int = 0, limit: int = 500, text: str = "") -> tuple[list[Line], int]:
        """Lines of a run from position `after` on (with `text`, as in `Sought`), and the position behind them."""

    async def search(self, sought: Sought, before: int = 0, limit: int = 100) -> tuple[list[Line], int]:
        """Lines ahead of position `before` (0: all), newest first, and the position to go on from, 0 at the end.

        May return few lines, or none, and a position.
        """


class Store(Protocol):
    """See the module's docstring. Methods are safe to call from several tasks and threads at once."""

    logs: Logs
    """Where captured lines go with this store."""
    shared: bool
    """Whether it lives in this object alone (a store in memory), so that a second connection would be another store."""

    @property
    def late(self) -> "Store":
        """The same for people who look: what it reads may be some seconds old. Never for what a decision rests on."""

    async def open(self) -> None:
        """Connect and check the schema. Raises `Incompatible` for data of a newer version or none of ours."""

    async def close(self) -> None:
        """Let go of all resources; harmless twice and without `open`."""

    async def get(self, kind: type[R], ids: Sequence[str]) -> list[Versioned[R] | None]:
        """The newest committed records of these ids, in their order, None where there is none."""

    async def find(
        self, kind: type[R], where: Where = Where(), cursor: str = "", limit: int = 50, oldest: bool = False
    ) -> Page[R]:
        """Records by creation time, newest (or oldest) first; by end with `ended_until`, by id with `prefix`.

        May return short pages with a cursor.
        """

    async def count(self, kind: type[Record], by: str, where: Where = Where()) -> dict[str, int]:
        """Numbers of records by the value of one indexed field; of tallies what they count."""

    async def commit(self, groups: Sequence[Group], guard: Guard = None, hints: Sequence[Hint] = ()) -> list[Result]:
        """Try each group on its own; the groups of one call must not share keys.

        A group applies only if every change's `was` is what the store holds. Durable when it returns. Hints are passed
        on after. Raises `Stale` (nothing happened) when the guard does not hold, even where every group conflicts,
        and `Invalid` (nothing happened) for a value that no store can keep: NUL, lone surrogates, NaN. Deleting a run
        deletes its lines and blobs.
        """

    async def due(self, kind: type[R], now: int, limit: int) -> Due[R]:
        """Runs by `due_at`, schedules by `next_at`; each is due as the record stands that is given."""

    async def claim(self, wants: Sequence[Want], now: int) -> list[Claimed]:
        """Give each want ready runs in rank order, made `running` by `domain.states`, durably.

        Runs of paused queues are passed over; a session that is not open gets nothing; both are checked atomically
        with the claim. No run is given twice.
        """

    async def beat(self, sessions: Sequence[str]) -> list[BeatReply]:
        """Raise the counters of these sessions (open ones), read by `get(Pulse, …)`; one reply each, in order."""

    async def lead(self, name: str, holder: str, ttl_ms: int) -> Lead:
        """Take the term if it is free or lapsed, keep it if held, resign it with `ttl_ms` 0. Numbers never fall.

        `ttl_ms` is at most ten minutes: a lease further ahead may be taken for one of a wall clock set back since.
        """

    def watch(self, topics: Sequence[str]) -> Watch:
        """Hints of these topics; one ending in `*` means every topic that starts so."""
