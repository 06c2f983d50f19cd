"""The model behind the port, so that the contract can be held against the model itself."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from threading import RLock
from time import monotonic
from typing import Any

from rota.domain.run import Run
from rota.ports.store import (
    APPLIED,
    BeatReply,
    Claimed,
    Due,
    Group,
    Guard,
    Hint,
    Lead,
    Line,
    Logs,
    Page,
    Result,
    Sought,
    Versioned,
    Want,
    Where,
)
from rota.stores.codec import encode
from tests.model.model import Model, born, key


class ModelEar:
    def __init__(self, topics: Sequence[str]) -> None:
        self.topics = topics
        self.heard: Counter[str] = Counter()
        self.event = asyncio.Event()
        self.loop = asyncio.get_running_loop()

    def hear(self, hint: Hint) -> None:
        if any(
            hint.topic == topic or (topic[-1] == "*" and hint.topic.startswith(topic[:-1])) for topic in self.topics
        ):
            self.heard[hint.topic] += hint.count
            self.event.set()

    async def wait(self, seconds: float | None) -> Mapping[str, int]:
        try:
            async with asyncio.timeout(seconds):
                await self.event.wait()
        except TimeoutError:
            return {}
        heard, self.heard = self.heard, Counter()
        self.event.clear()
        return heard

    def wake(self) -> None:
        self.loop.call_soon_threadsafe(self.event.set)

    def close(self) -> None:
        self.topics = ()


class ModelLogs:
    def __init__(self) -> None:
        self.lines: list[Line] = []

    async def append(self, lines: Sequence[Line]) -> None:
        self.lines += lines

    async def read(self, run: str, after: int = 0, limit: int = 500, text: str = "") -> tuple[list[Line], int]:
        found = [
            (position, line)
            for position, line in enumerate(self.lines, 1)
            if position > after and line.run in (run, run or line.run) and text.lower() in line.text.lower()
        ][:limit]
        return [line for _, line in found], found[-1][0] if found else after

    async def search(self, sought: Sought, before: int = 0, limit: int = 100) -> tuple[list[Line], int]:
        found = [
            (position, line)
            for position, line in enumerate(self.lines, 1)
            if position < (before or len(self.lines) + 1)
            and line.run in (sought.run, sought.run or line.run)
            and sought.text.lower() in line.text.lower()
            and line.level in (sought.level, sought.level or line.level)
            and line.stream in (sought.stream, sought.stream or line.stream)
            and (sought.since or 0) <= line.at < (sought.until or line.at + 1)
        ][: -limit - 1 : -1]
        return [line for _, line in found], found[-1][0] if len(found) == limit else 0


class ModelStore:
    """A store without a place: what it holds dies with it."""

    shared = True

    def __init__(self) -> None:
        self.written = ModelLogs()
        self.logs: Logs = self.written
        self.model = Model()
        self.lock = RLock()
        self.ears: list[ModelEar] = []
        self.lapses: dict[str, float] = {}

    @property
    def late(self) -> "ModelStore":
        return self

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def get(self, kind: type[Any], ids: Sequence[str]) -> list[Versioned[Any] | None]:
        with self.lock:
            return self.model.get(kind, ids)

    async def find(
        self, kind: type[Any], where: Where = Where(), cursor: str = "", limit: int = 50, oldest: bool = False
    ) -> Page[Any]:
        with self.lock:
            found = [(self.place(item), item) for item in self.model.find(kind, where)]
        found.sort(key=lambda pair: pair[0], reverse=not oldest)
        behind = [(at, item) for at, item in found if not cursor or (at > cursor if oldest else at < cursor)]
        page = behind[:limit]
        return Page(tuple(item for _, item in page), page[-1][0] if len(behind) > limit else "")

    def place(self, item: Versioned[Any]) -> str:
        return f"{born(item.record):020d}{getattr(item.record, 'id', item.record)}"

    async def count(self, kind: type[Any], by: str, where: Where = Where()) -> dict[str, int]:
        with self.lock:
            return self.model.count(kind, by, where)

    async def commit(self, groups: Sequence[Group], guard: Guard = None, hints: Sequence[Hint] = ()) -> list[Result]:
        for change in (change for group in groups for change in group.changes if change.now is not None):
            encode(change.now)
        with self.lock:
            results = self.model.commit(groups, guard)
            for group, result in zip(groups, results, strict=True):
                gone = {key(change) for change in group.changes if change.now is None and result == APPLIED}
                self.written.lines = [line for line in self.written.lines if (Run, line.run) not in gone]
        for hint in hints:
            for ear in self.ears:
                ear.hear(hint)
        return results

    async def due(self, kind: type[Any], now: int, limit: int) -> Due[Any]:
        with self.lock:
            return self.model.due(kind, now, limit)

    async def claim(self, wants: Sequence[Want], now: int) -> list[Claimed]:
        with self.lock:
            return self.model.claim(wants, now)

    async def beat(self, sessions: Sequence[str]) -> list[BeatReply]:
        with self.lock:
            return self.model.beat(sessions)

    async def lead(self, name: str, holder: str, ttl_ms: int) -> Lead:
        with self.lock:
            if monotonic() >= self.lapses.get(name, monotonic() + 1):
                self.model.lapse(name)
            lead = self.model.lead(name, holder, ttl_ms)
            if lead.mine:
                self.lapses[name] = monotonic() + ttl_ms / 1_000
            return lead

    def watch(self, topics: Sequence[str]) -> ModelEar:
        self.ears.append(ModelEar(topics))
        return self.ears[-1]
