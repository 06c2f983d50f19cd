"""What a running task may see and say."""

from collections.abc import Callable
from contextvars import ContextVar

from rota.domain.flow import storable
from rota.ports.desk import Assignment
from rota.ports.executor import About
from rota.ports.runtime import Clock
from rota.ports.store import Line

current: ContextVar["RunContext | None"] = ContextVar("rota_run", default=None)
"""The context of the attempt that this code runs for."""

STREAMS = frozenset({"stdout", "stderr", "log"})
LEVEL_LIMIT = 40
LINE_LIMIT = 16_384
LINES_LIMIT = 10_000
"""Lines kept of one attempt; the flood behind them is counted."""

Sink = Callable[[Line], None]


class RunContext(About):
    """One attempt, as its task sees it. Safe to use from the attempt's own thread."""

    __slots__ = ("_clock", "_lines", "_sink", "assignment", "deadline_at", "news", "news_at", "stopping", "unended")

    def __init__(self, assignment: Assignment, deadline_at: int | None, clock: Clock, sink: Sink) -> None:
        self.assignment = assignment
        self.deadline_at = deadline_at
        self.stopping = ""
        self.news = ""
        self.news_at = 0
        self.unended: dict[str, str] = {}
        """By stream, what was printed there without a line end yet."""
        self._clock = clock
        self._sink = sink
        self._lines = 0

    @property
    def cancelled(self) -> bool:
        return bool(self.stopping)

    def progress(self, text: object) -> None:
        self.news = storable(str(text)[:500])
        self.news_at = self._clock.monotonic()

    def line(self, stream: str, level: str, text: str) -> None:
        self._lines += 1
        if self._lines > LINES_LIMIT:
            return
        if self._lines == LINES_LIMIT:
            level, text = "warning", f"more than {LINES_LIMIT} lines: the rest of this attempt's output is not kept"
        cut = text if len(text) <= LINE_LIMIT else text[:LINE_LIMIT] + " … cut"
        run, known = self.assignment.run, stream if stream in STREAMS else "log"
        self._sink(Line(run.id, run.attempt, self._clock.now(), known, storable(level[:LEVEL_LIMIT]), storable(cut)))
