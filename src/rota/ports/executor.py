"""The executor: what turns an assignment into an outcome."""

import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Protocol

from rota.domain.run import Outcome
from rota.domain.task import Task
from rota.ports.desk import Assignment


class About(Protocol):
    """What an attempt can read about itself, whatever it runs in."""

    assignment: Assignment
    """The run, its task and its payload."""
    deadline_at: int | None
    """When the attempt's clock ends it, ms since the epoch."""

    @property
    def run_id(self) -> str:
        """The run's id; with `attempt` a name that is never given twice."""
        return self.assignment.run.id

    @property
    def task(self) -> str:
        """The task's name."""
        return self.assignment.run.task

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1."""
        return self.assignment.run.attempt

    @property
    def tries(self) -> int:
        """Failed tries before this attempt."""
        return self.assignment.run.tries

    @property
    def nominal(self) -> datetime | None:
        """What the schedule said (UTC); None for runs without a schedule."""
        return _moment(self.assignment.run.nominal_at)

    @property
    def deadline(self) -> datetime | None:
        """When the attempt's time is over (UTC)."""
        return _moment(self.deadline_at)

    @property
    def log(self) -> logging.Logger:
        """A logger whose lines are kept with the run."""
        return logging.getLogger(f"rota.task.{self.task}")


class Context(About, Protocol):
    """What a running attempt may see and say. Safe to use from the attempt's own thread."""

    @property
    def cancelled(self) -> bool:
        """Whether the attempt should stop: somebody cancelled it, its time is over, or its worker must leave."""

    def progress(self, text: str) -> None:
        """Say how far it is; shown live and restarts the silence clock."""

    def line(self, stream: str, level: str, text: str) -> None:
        """Keep one line of `stdout`, `stderr` or `log`, as which any other counts; floods are cut and counted."""


class Handler(Protocol):
    """A function that the `python` executor may run, with the conversion of its arguments and result."""

    function: Callable[..., Any]

    def decode(self, payload: bytes, context: Context) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments from JSON, checked against the signature. Raises `Invalid`."""

    def encode(self, result: Any) -> bytes | None:
        """JSON of a result, None for None. Raises `Invalid` for what is not JSON, `TooLarge` over the limit."""


IMPORTING: ContextVar[bool] = ContextVar("importing", default=False)
"""Whether a child process is importing the app, for its handlers only."""
Handlers = Mapping[str, Handler]
Forms = Mapping[str, Callable[[Task], object]]
"""By executor kind: raises `Invalid` for a task whose command or params no worker of the kind could make sense of."""


class Executor(Protocol):
    """One method. Cancelling its coroutine means: stop the work, gently first, by force after the grace.

    It may raise anything; the worker turns that into an outcome. It raises `asyncio.CancelledError` only when nothing
    of the attempt runs any more, save an abandoned thread: one that leaves such behind counts them in an attribute
    `abandoned`, and each keeps a slot of its worker.
    """

    kind: str

    async def run(self, assignment: Assignment, context: Context) -> Outcome:
        """Do the work and say how it ended."""

    async def close(self) -> None:
        """Let go of pools and children; harmless twice."""


def _moment(at: int | None) -> datetime | None:
    return datetime.fromtimestamp(at / 1000, UTC) if at is not None else None
