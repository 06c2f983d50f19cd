"""News of running attempts: that they started, how far they are, what they print."""

import asyncio
import threading
from collections.abc import Mapping

from rota.domain.errors import Invalid, Unavailable
from rota.domain.facts import Trouble
from rota.domain.run import Fence
from rota.ports.desk import Desk, Progress
from rota.ports.runtime import Emit
from rota.ports.store import Line
from rota.worker.attempt import Attempt

LINES_LIMIT = 20_000
"""Lines waiting for a report; beyond, new ones are dropped: a task that floods must not harm its neighbours."""
BATCH = 1_000


class Reporter:
    """Collects lines, from any thread, and reports in batches. Losing a line is allowed, blocking a run is not."""

    def __init__(self, desk: Desk, attempts: Mapping[Fence, Attempt], report_ms: int, emit: Emit | None) -> None:
        self._desk = desk
        self._attempts = attempts
        self._report_s = report_ms / 1000
        self._emit = emit
        self._lines: list[Line] = []
        self._guard = threading.Lock()
        self._turn = asyncio.Lock()

    def line(self, line: Line) -> None:
        """Keep a line for the next report."""
        with self._guard:
            if len(self._lines) < LINES_LIMIT:
                self._lines.append(line)

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await asyncio.sleep(self._report_s)
            if self._attempts or self._lines:
                await self._report(self._news())

    async def flush(self) -> None:
        """Report the lines that wait, without news. Returns when a report under way is through as well."""
        if self._lines or self._turn.locked():
            await self._report([])

    async def _report(self, news: list[Progress]) -> None:
        async with self._turn:
            with self._guard:
                lines, self._lines = self._lines, []
            while lines or news:
                try:
                    await self._desk.report(news, lines[:BATCH])
                except Exception as error:
                    self._failed(error, news)
                    if not isinstance(error, Invalid):
                        # What may have been written is not written again; the rest waits, to go first the next time.
                        kept = lines if isinstance(error, Unavailable) else lines[BATCH:]
                        with self._guard:
                            self._lines = (kept + self._lines)[:LINES_LIMIT]
                        return
                lines, news = lines[BATCH:], []

    def _failed(self, error: Exception, news: list[Progress]) -> None:
        if self._emit:
            self._emit(Trouble("report", error))
        if news:
            for attempt in self._attempts.values():
                attempt.told_start = False

    def _news(self) -> list[Progress]:
        """Attempts that have something new to say."""
        news = []
        for attempt in self._attempts.values():
            said = attempt.context.news
            if attempt.started_at and (not attempt.told_start or said != attempt.told_news):
                attempt.told_start, attempt.told_news = True, said
                news.append(Progress(attempt.fence, attempt.started_at, said))
        return news
