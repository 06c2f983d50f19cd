"""What happened, for those who watch: logs, metrics, tests. Told per batch."""

from collections.abc import Sequence
from typing import NamedTuple

from rota.domain.run import Run
from rota.domain.schedule import Schedule


class RunsSubmitted(NamedTuple):
    """These runs are durably in the store."""

    runs: Sequence[Run]


class RunsClaimed(NamedTuple):
    """A session took these runs."""

    runs: Sequence[Run]


class RunsSettled(NamedTuple):
    """Attempts of these runs ended; the runs are as after it."""

    runs: Sequence[Run]


class ReportsRefused(NamedTuple):
    """Reports under old fences, which changed nothing."""

    runs: Sequence[str]


class SchedulesFired(NamedTuple):
    """These schedules made runs or skips; the schedules are as after it."""

    schedules: Sequence[Schedule]


class SessionChanged(NamedTuple):
    """A session opened or closed, with the reason."""

    session: str
    open: bool
    reason: str


class Beaten(NamedTuple):
    """A session's sign of life was answered after so long."""

    took_ms: int


class LeaderChanged(NamedTuple):
    """A term was granted, kept no longer, or found with another holder."""

    holder: str
    term: int
    leading: bool


class Trouble(NamedTuple):
    """A loop met an error, backs off and goes on."""

    where: str
    error: BaseException


Fact = (
    RunsSubmitted | RunsClaimed | RunsSettled | ReportsRefused | SchedulesFired
    | SessionChanged | Beaten | LeaderChanged | Trouble
)  # fmt: skip
