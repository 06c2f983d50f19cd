"""What happened, for those who watch: logs, metrics, tests. Told per batch, and only where somebody listens."""

from collections.abc import Sequence
from dataclasses import dataclass

from rota.domain.run import Run
from rota.domain.schedule import Schedule


@dataclass(frozen=True, slots=True)
class RunsSubmitted:
    """These runs are durably in the store."""

    runs: Sequence[Run]


@dataclass(frozen=True, slots=True)
class RunsClaimed:
    """A session took these runs."""

    runs: Sequence[Run]


@dataclass(frozen=True, slots=True)
class RunsSettled:
    """Attempts of these runs ended; the runs are as after it."""

    runs: Sequence[Run]


@dataclass(frozen=True, slots=True)
class ReportsRefused:
    """Reports under old fences, which changed nothing."""

    runs: Sequence[str]


@dataclass(frozen=True, slots=True)
class SchedulesFired:
    """These schedules made runs or skips; the schedules are as after it."""

    schedules: Sequence[Schedule]


@dataclass(frozen=True, slots=True)
class SessionChanged:
    """A session opened or closed, with the reason."""

    session: str
    open: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Beaten:
    """A session's sign of life was answered after so long."""

    took_ms: int


@dataclass(frozen=True, slots=True)
class LeaderChanged:
    """A term was granted, kept no longer, or found with another holder."""

    holder: str
    term: int
    leading: bool


@dataclass(frozen=True, slots=True)
class Trouble:
    """A loop met an error, backs off and goes on."""

    where: str
    error: BaseException


Fact = (
    RunsSubmitted | RunsClaimed | RunsSettled | ReportsRefused | SchedulesFired
    | SessionChanged | Beaten | LeaderChanged | Trouble
)  # fmt: skip
