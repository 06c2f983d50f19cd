"""Hints inside of one process: ears, and the hub that tells them. Safe across threads and event loops."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Lock
from weakref import WeakSet

ANYTHING = "*"
"""The topic that wakes every ear, each with the topics that it listens to."""


class Ear:
    """A `rota.ports.store.Watch`: remembers what it heard until somebody waits. One waiter at a time."""

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = tuple(topics)
        self._starts = tuple(topic[:-1] for topic in topics if topic.endswith("*"))
        self._lock = Lock()
        self._heard: Counter[str] = Counter()
        self._woken = False
        self._closed = False
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None

    def hear(self, hints: Mapping[str, int]) -> None:
        """Take note of hints that are for this ear; from any thread."""
        if ANYTHING in hints:
            # Beats and terms have their timers; woken by each other's writes they would never rest.
            mine = dict.fromkeys((topic for topic in self._topics if not topic.startswith(("session:", "lead"))), 1)
        else:
            mine = {topic: number for topic, number in hints.items() if self._listens(topic)}
        if mine and not self._closed:
            with self._lock:
                self._heard.update(mine)
                self._rouse()

    async def wait(self, seconds: float | None) -> Mapping[str, int]:
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._heard or self._woken or self._closed:
                return self._taken()
            future = loop.create_future()
            self._waiting = (loop, future)
        timer = None if seconds is None else loop.call_later(seconds, _finish, future)
        try:
            await future
        finally:
            if timer:
                timer.cancel()
        with self._lock:
            self._waiting = None
            return self._taken()

    def wake(self) -> None:
        with self._lock:
            self._woken = True
            self._rouse()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._rouse()

    def _listens(self, topic: str) -> bool:
        return topic in self._topics or topic.startswith(self._starts)

    def _taken(self) -> Mapping[str, int]:
        heard, self._heard = self._heard, Counter()
        self._woken = False
        return heard

    def _rouse(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            loop, future = waiting
            # A loop that was closed meanwhile has nobody waiting.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_finish, future)


class Hub:
    """All ears of one store. An ear that nobody holds any more is forgotten."""

    def __init__(self) -> None:
        self._ears: WeakSet[Ear] = WeakSet()
        self._lock = Lock()

    def watch(self, topics: Sequence[str]) -> Ear:
        """A new ear."""
        ear = Ear(topics)
        with self._lock:
            self._ears.add(ear)
        return ear

    def tell(self, hints: Mapping[str, int]) -> None:
        """Pass hints on to whom they concern; from any thread."""
        with self._lock:
            ears = list(self._ears)
        for ear in ears:
            ear.hear(hints)

    def close(self) -> None:
        """Let everyone who waits go."""
        with self._lock:
            ears, self._ears = list(self._ears), WeakSet()
        for ear in ears:
            ear.close()


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
