"""The deadline wheel: one timer for all attempts, so that a run costs no timer of its own."""

import asyncio
from collections.abc import Callable, Mapping

from rota.domain.run import Fence, Outcome
from rota.ports.loops import wait_for_event
from rota.ports.runtime import Clock
from rota.worker.attempt import SILENT, TIMEOUT, TOTAL, Attempt, cut_short

FAR_MS = 60_000
"""How long the wheel sleeps at most."""


class Wheel:
    """Stops attempts whose time is over, and gives up on those that do not end after it; `give_up` takes them out."""

    def __init__(
        self,
        attempts: Mapping[Fence, Attempt],
        clock: Clock,
        grace_ms: int,
        give_up: Callable[[Attempt, Outcome], None],
    ) -> None:
        self._attempts = attempts
        self._clock = clock
        self._grace_ms = grace_ms
        self._give_up = give_up
        self._next = 0
        self._sooner = asyncio.Event()

    def watch(self, attempt: Attempt) -> None:
        """A new attempt: look earlier if its time ends earlier than the wheel would."""
        limit = self._limit(attempt)
        if limit is not None and limit < self._next:
            self._next = limit
            self._sooner.set()

    def stop(self, attempt: Attempt, why: str) -> None:
        """End an attempt early; its grace begins."""
        attempt.stop(why, self._clock.monotonic())
        self._sooner.set()

    async def run(self) -> None:
        """Turn until cancelled."""
        while True:
            self._sooner.clear()
            now = self._clock.monotonic()
            self._next = now + FAR_MS
            for attempt in list(self._attempts.values()):
                self._look(attempt, now)
            await wait_for_event(self._sooner, max(self._next - self._clock.monotonic(), 1) / 1000)

    def _look(self, attempt: Attempt, now: int) -> None:
        limit = self._limit(attempt)
        if not attempt.context.stopping and limit is not None and limit <= now:
            attempt.stop(self._why(attempt, now), now)
        if attempt.context.stopping:
            limit = attempt.stopped + self._grace_ms
            if limit <= now:
                self._give_up(attempt, cut_short(attempt))
                return
        if limit is not None:
            self._next = min(self._next, limit)

    def _limit(self, attempt: Attempt) -> int | None:
        """The instant at which one of its clocks runs out."""
        silence = attempt.assignment.task.clocks.silence_ms
        if silence is None:
            return attempt.limit
        quiet = max(attempt.context.news_at, attempt.began) + silence
        return quiet if attempt.limit is None else min(quiet, attempt.limit)

    def _why(self, attempt: Attempt, now: int) -> str:
        run = attempt.assignment.run
        if attempt.limit is None or attempt.limit > now:
            return SILENT
        own = attempt.began + run.timeout_ms if run.timeout_ms is not None else None
        return TIMEOUT if own is not None and own <= now else TOTAL
