"""The desk: the four calls that are all a worker needs of the system, beside the store or across a network."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from rota.domain.records import Load, Session
from rota.domain.run import Fence, Outcome, Run
from rota.domain.states import Verdict
from rota.domain.task import Task
from rota.ports.store import BeatReply, Line, Versioned, Want

LEFT = "drained"
"""Why a session ended whose worker knows of nothing that it still holds."""


class Assignment(NamedTuple):
    """A claimed run with all that its worker needs."""

    run: Run
    task: Task
    payload: bytes
    version: int
    """Of the run as claimed, so that the settle needs no second look."""

    @property
    def held(self) -> Versioned[Run]:
        """The run as claimed."""
        return Versioned(self.run, self.version)


class Taken(NamedTuple):
    """What a claim brought."""

    assignments: tuple[Assignment, ...]
    contended: bool
    open: bool
    waited_ms: int = 0
    """How long the desk waited for something to claim, before it claimed."""


class Settlement(NamedTuple):
    """An attempt's end on its way to the store. `held` spares a read where the reporter still has it."""

    fence: Fence
    outcome: Outcome
    held: Versioned[Run] | None = None
    task: Task | None = None


class Progress(NamedTuple):
    """News of a running attempt: when it started, how far it is."""

    fence: Fence
    started_at: int | None = None
    progress: str = ""


class Desk(Protocol):
    """Four calls, and opening and closing a session. A closed session is told so by `claim` and `beat`."""

    async def enter(self, session: Session) -> None:
        """Open a session."""

    async def leave(self, session: str, reason: str) -> None:
        """Close it; what it still holds is taken back."""

    async def claim(self, want: Want) -> Taken:
        """Ready runs for a session."""

    async def beat(self, session: str, load: Load | None = None) -> BeatReply:
        """A sign of life; with it goes what the worker says of itself, which may be lost."""

    async def held(self, session: str) -> list[Run]:
        """The running runs of a session, for reconciling."""

    async def given(self, session: str, runs: Sequence[str]) -> Taken:
        """Those of these runs that the session holds, as if it had just claimed them."""

    async def report(self, progress: Sequence[Progress], lines: Sequence[Line]) -> list[Verdict]:
        """News of running attempts and lines of their output; one verdict for each progress."""

    async def settle(self, settlements: Sequence[Settlement]) -> list[Verdict]:
        """Ends of attempts; `fresh` and `already` mean committed, `stale` that it changed nothing."""
