"""Schedule: a trigger plus its time policy. Occurrence: one nominal instant of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from rota.domain.ids import Named
from rota.domain.task import Owner
from rota.domain.triggers import Trigger


class CatchUp(StrEnum):
    """What happens to occurrences that nobody was there to fire."""

    SKIP = "skip"
    LATEST = "latest"
    EARLIEST = "earliest"
    ALL = "all"


class Overlap(StrEnum):
    """What happens to an occurrence while an earlier run of its schedule is not over."""

    SKIP = "skip"
    BUFFER_ONE = "buffer_one"
    BUFFER_ALL = "buffer_all"
    CANCEL_OTHER = "cancel_other"
    ALLOW = "allow"


class SkipReason(StrEnum):
    """Why an occurrence became no run."""

    MISFIRE = "misfire"
    WINDOW = "window"
    MAXIMUM = "maximum"
    OVERLAP = "overlap"
    BUFFER_FULL = "buffer_full"
    PAUSED = "paused"
    EDITED = "edited"
    MISSED_START = "missed_start"


DAY_MS = 86_400_000
BUFFER_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Policy:
    """The time policy, the same on every store."""

    catch_up: CatchUp = CatchUp.LATEST
    window_ms: int = 365 * DAY_MS
    """Missed occurrences older than this are skipped, whatever `catch_up` says."""
    max_runs: int = 100
    """At most this many missed occurrences are made up for by `all`; the newest are kept."""
    start_deadline_ms: int | None = None
    """A run not started this long after its nominal time ends as failed (missed_start)."""
    overlap: Overlap = Overlap.SKIP
    misfire_ms: int = 5_000
    """An occurrence fired within this time is on time; later it is a missed one and `catch_up` decides."""


class Skip(NamedTuple):
    """A range of occurrences that became no runs, and why. Extended while the reason lasts."""

    schedule: str
    """Id of the schedule."""
    revision: int
    first_at: int
    last_at: int
    count: int  # type: ignore[assignment]  # shadows tuple.count, which nobody needs here
    reason: str

    @property
    def id(self) -> str:
        """`namespace/schedule/first`: ranges of one schedule sort by time."""
        return f"{self.schedule}/{self.first_at:013d}"


@dataclass(frozen=True, slots=True)
class Schedule(Named):
    """When a task runs. `next_at` is the next nominal instant; every occurrence before it is accounted for."""

    task: str
    trigger: Trigger
    payload: bytes = b""
    """JSON arguments of its runs; empty: the task's own."""
    policy: Policy = field(default_factory=Policy)
    owner: Owner = Owner.PEOPLE
    app: str = ""
    """The app whose code registered it, and its version then; empty for people's."""
    version: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Fields that people changed over the code, each with the code's value, so that a reset can restore it."""
    revision: int = 1
    paused: str = ""
    """Why it does not fire; empty: it does."""
    next_at: int | None = None
    """Next nominal instant, by which the time index goes; None: paused or exhausted. If stuck: when to try again."""
    cursor_at: int = 0
    """Every occurrence up to and including this instant has its run or its skip."""
    accounted_from: int = 0
    """The self-audit looks only after this instant; prune raises it."""
    skip: Skip | None = None
    """The range of skips that is still growing."""
    open: tuple[str, ...] = ()
    """Runs it fired (or took in) that were not over when last looked at, oldest first; empty under `allow`."""
    fired: int = 0
    skipped: int = 0
    created_at: int = 0
    updated_at: int = 0

    @property
    def stuck(self) -> bool:
        """Whether it is paused only until its trigger can be asked again, see `domain/timing.py`."""
        return bool(self.paused) and self.next_at is not None


TIMED = ("task", "trigger", "payload", "policy")
"""The fields that make a revision of a schedule."""


class Occurrence(NamedTuple):
    """One nominal instant of a schedule."""

    schedule: str
    nominal_at: int
