"""A listener for facts, so that a test can wait for what happened instead of sleeping."""

import asyncio
from collections import Counter
from collections.abc import Callable
from threading import Lock
from typing import TypeVar

from rota.domain.facts import Fact

F = TypeVar("F")


class Recorder:
    """Give it as `emit`: it keeps every fact in `facts`, in order, from whatever thread."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self._passed: Counter[type] = Counter()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._lock = Lock()

    def __call__(self, fact: Fact) -> None:
        """Keep a fact and wake whoever waits."""
        with self._lock:
            self.facts.append(fact)
            waiting, self._waiting = self._waiting, []
        for loop, event in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def of(self, kind: type[F]) -> list[F]:
        """All facts of a class so far, oldest first."""
        return [fact for fact in self.facts if isinstance(fact, kind)]

    async def next(self, kind: type[F], timeout: float = 10.0, matching: Callable[[F], bool] = lambda _: True) -> F:
        """The first fact of a class (and `matching`) that no earlier `next` of the class has passed.

        Raises `TimeoutError`, which tells what was seen instead, after `timeout` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                while True:
                    event = asyncio.Event()
                    # Before the look, so that no fact falls between the look and the wait.
                    with self._lock:
                        self._waiting.append((asyncio.get_running_loop(), event))
                    for fact in self.of(kind)[self._passed[kind] :]:
                        self._passed[kind] += 1
                        if matching(fact):
                            return fact
                    await event.wait()
        except TimeoutError:
            seen = ", ".join(type(fact).__name__ for fact in self.facts) or "nothing"
            raise TimeoutError(f"no {kind.__name__} within {timeout} s; seen: {seen}") from None
