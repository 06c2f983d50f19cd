"""Run: one wanted execution. Attempt: one claim of it. Fence: what every later write of an attempt must name.

A run is a named tuple because it is the one record that is made three times for each piece of work: building one from
a row takes a third of a microsecond, a frozen dataclass of the same width five.
"""

from enum import StrEnum
from typing import Any, NamedTuple

from rota.domain.retry import Retry


class State(StrEnum):
    """The nine states of a run; the last four are terminal and absorbing."""

    SCHEDULED = "scheduled"
    BLOCKED = "blocked"
    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


TERMINAL = frozenset({State.SUCCESS, State.FAILED, State.CANCELLED, State.SKIPPED})
LIVE = frozenset(State) - TERMINAL


class Reason(StrEnum):
    """Why a run is in its state. Worded for people by `engine/explain.py`; `Run.detail` holds the inputs."""

    SUBMITTED = "submitted"
    DELAYED = "delayed"
    DUE = "due"
    OVERLAP = "overlap"
    RELEASED = "released"
    CLAIMED = "claimed"
    DONE = "done"
    ERROR = "error"
    TIMEOUT = "timeout"
    SILENT = "silent"
    TOTAL_TIMEOUT = "total_timeout"
    MISSED_START = "missed_start"
    NO_HANDLER = "no_handler"
    BAD_PAYLOAD = "bad_payload"
    BAD_RESULT = "bad_result"
    UNSTORABLE = "unstorable"
    SNOOZED = "snoozed"
    RETURNED = "returned"
    LOST = "lost"
    POISON = "poison"
    CANCELLED = "cancelled"


class Cause(StrEnum):
    """What brought a run into the world."""

    SUBMIT = "submit"
    SCHEDULE = "schedule"
    TRIGGER = "trigger"
    RETRY = "retry"


class Fence(NamedTuple):
    """Names one attempt. A write with another fence changes nothing and is told so."""

    run: str
    attempt: int
    token: int


class Attempt(NamedTuple):
    """How an earlier claim of a run ended."""

    number: int
    token: int
    worker: str
    session: str
    claimed_at: int
    started_at: int | None
    ended_at: int
    reason: str
    error: str
    digest: int


class Run(NamedTuple):
    """One wanted execution; instants in ms since the epoch, durations in ms."""

    id: str
    namespace: str
    task: str
    revision: int
    queue: str
    lane: str
    priority: int
    state: State
    reason: str
    detail: str
    """Inputs of the reason, for explain; short text."""
    rank: int
    """Place in the ready order; meaningful while pending."""
    due_at: int | None
    """When the time index looks at it: due (scheduled, retrying), missed start (pending), overdue (running)."""
    created_at: int
    ready_at: int | None
    """When it last became pending."""
    payload: bytes | None
    """JSON of the arguments; None: too large, in a record of its own."""
    cause: str = Cause.SUBMIT
    actor: str = ""
    schedule: str = ""
    """Name of the schedule that fired it, in the same namespace."""
    nominal_at: int | None = None
    """What the schedule said."""
    origin: str = ""
    """The run that this one retries."""
    gate: str = ""
    """The schedule whose next occurrence waits for this run's end."""
    keys: tuple[str, ...] = ()
    """Unique keys to free when it ends."""
    retry: Retry | None = None
    """Overrides the task's policy."""
    timeout_ms: int | None = None
    """The attempt clock, copied so that a claim needs no look at the task."""
    queue_ms: int | None = None
    """The queue clock, likewise."""
    start_by: int | None = None
    """The first attempt must start by this instant (a schedule's start deadline)."""
    end_by: int | None = None
    """The total clock as an instant."""
    attempt: int = 0
    """Number of the newest claim; rises at every claim, never reused."""
    token: int = 0
    session: str = ""
    worker: str = ""
    tries: int = 0
    """Attempts that count against the retry policy."""
    lost: int = 0
    """Attempts whose worker vanished."""
    claimed_at: int | None = None
    started_at: int | None = None
    ended_at: int | None = None
    cancel: str = ""
    """Who asked to cancel the running attempt."""
    digest: int = 0
    """Digest of the outcome that ended the newest attempt, so that a repeated settle is known again."""
    result: bytes | None = None
    """JSON; None: none, or too large and in a record of its own (`spilled`)."""
    spilled: bool = False
    error: str = ""
    progress: str = ""
    history: tuple[Attempt, ...] = ()
    """Ended attempts before the newest, oldest first; bounded."""
    trace: str = ""
    """W3C traceparent of whoever asked for it, if they said one."""

    @property
    def fence(self) -> Fence:
        """The fence of the newest attempt."""
        return Fence(self.id, self.attempt, self.token)

    @property
    def isolated(self) -> bool:
        """Whether the next attempt is the last one, alone in a child process, after its workers vanished too often."""
        return self.lost >= LOST_LIMIT


_PLACES = {name: place for place, name in enumerate(Run._fields)}


def _replaced(run: Run, **new: Any) -> Run:
    values = list(run)
    for name, value in new.items():
        values[_PLACES[name]] = value
    return tuple.__new__(Run, values)


Run._replace = _replaced  # type: ignore[method-assign,assignment]  # the same in half the time, for so many fields

LOST_LIMIT = 3
HISTORY_LIMIT = 20
GRACE_MS = 15_000
"""How long after an attempt's deadline `recover` ends it, should its worker not have done so."""


class End(StrEnum):
    """The kinds of outcome."""

    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"
    SNOOZE = "snooze"
    RETURNED = "returned"
    LOST = "lost"


class Outcome(NamedTuple):
    """How an attempt ended, as a value."""

    end: End
    result: bytes | None = None
    """JSON of the result (success)."""
    reason: str = ""
    """Why (anything but success)."""
    error: str = ""
    """What people read: type, message, end of the traceback."""
    errors: tuple[str, ...] = ()
    """Class names of the error and its bases, for the retry policy; empty: not judged by name."""
    final: bool = False
    """Ends the run at once, whatever the policy says."""
    delay_ms: int = 0
    """Snooze: how long. Failure: at least this long before the next try."""
    started_at: int | None = None
    progress: str = ""
    """What it said last of how far it was, if anything."""


SUCCESS = Outcome(End.SUCCESS)
