"""The executor: what turns an assignment into an outcome."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from rota.domain.run import Outcome
from rota.ports.desk import Assignment


class Context(Protocol):
    """What a running attempt may see and say. Safe to use from the attempt's own thread."""

    @property
    def assignment(self) -> Assignment:
        """The run, its task and its payload."""
        ...

    @property
    def deadline_at(self) -> int | None:
        """When the attempt's clock ends it, ms since the epoch."""
        ...

    @property
    def cancelled(self) -> bool:
        """Whether the attempt should stop: somebody cancelled it, its time is over, or its worker must leave."""
        ...

    def progress(self, text: str) -> None:
        """Say how far it is; shown live and restarts the silence clock."""
        ...

    def line(self, stream: str, level: str, text: str) -> None:
        """Keep one line of output; floods are cut and counted."""
        ...


class Handler(Protocol):
    """A function that the `python` executor may run, with the conversion of its arguments and result."""

    function: Callable[..., Any]

    def decode(self, payload: bytes, context: Context) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments from JSON, checked against the signature. Raises `Invalid`."""
        ...

    def encode(self, result: Any) -> bytes | None:
        """JSON of a result, None for None. Raises `Invalid` for what is not JSON, `TooLarge` over the limit."""
        ...


Handlers = Mapping[str, Handler]


class Executor(Protocol):
    """One method. Cancelling its coroutine means: stop the work, gently first, by force after the grace.

    It may raise anything; the worker turns that into an outcome. It raises `asyncio.CancelledError` only when nothing
    of the attempt runs any more, save an abandoned thread, which it must name by `context.line`.
    """

    kind: str
    abandoned: int
    """Threads still at work that nobody waits for; each keeps a slot of its worker."""

    async def run(self, assignment: Assignment, context: Context) -> Outcome:
        """Do the work and say how it ended."""
        ...

    async def close(self) -> None:
        """Let go of pools and children; harmless twice."""
        ...
