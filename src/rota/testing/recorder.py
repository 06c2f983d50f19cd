"""A listener for facts, so that a test can wait for what happened instead of sleeping."""

import asyncio
from collections.abc import Callable
from threading import Lock
from typing import Any, TypeVar

from rota.domain.facts import Fact

F = TypeVar("F")


def anything(_: Any) -> bool:
    """The filter that lets every fact through."""
    return True


class Recorder:
    """Give it as `emit`: it keeps every fact, in order, from whatever thread.

    `next` waits for facts of one class, each given once; `of` lists all so far.
    """

    def __init__(self) -> None:
        self._facts: list[Fact] = []
        self._given: dict[type, int] = {}
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._lock = Lock()

    def __call__(self, fact: Fact) -> None:
        """Keep a fact and wake whoever waits."""
        with self._lock:
            self._facts.append(fact)
            waiting, self._waiting = self._waiting, []
        for loop, event in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    @property
    def facts(self) -> tuple[Fact, ...]:
        """All facts so far, oldest first."""
        return tuple(self._facts)

    def of(self, kind: type[F]) -> list[F]:
        """All facts of a class so far, oldest first."""
        return [fact for fact in self._facts if isinstance(fact, kind)]

    async def next(self, kind: type[F], timeout: float = 10.0, matching: Callable[[F], bool] = anything) -> F:
        """The first fact of a class (and `matching`) that no earlier `next` of the class has passed.

        Raises `TimeoutError`, which tells what was seen instead, after `timeout` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                while True:
                    known = len(self._facts)
                    if (fact := self._take(kind, matching)) is not None:
                        return fact
                    await self._another(known)
        except TimeoutError:
            seen = ", ".join(type(fact).__name__ for fact in self._facts) or "nothing"
            raise TimeoutError(f"no {kind.__name__} within {timeout} s; seen: {seen}") from None

    def _take(self, kind: type[F], matching: Callable[[F], bool]) -> F | None:
        for place in range(self._given.get(kind, 0), len(self._facts)):
            fact = self._facts[place]
            if isinstance(fact, kind) and matching(fact):
                self._given[kind] = place + 1
                return fact
        return None

    async def _another(self, known: int) -> None:
        event = asyncio.Event()
        with self._lock:
            if len(self._facts) > known:
                return
            self._waiting.append((asyncio.get_running_loop(), event))
        await event.wait()
