"""The feed: which kinds of things changed, told to many listeners. Versions, not a log: after a gap look anew."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, closing
from secrets import token_hex

from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from rota.ports.loops import end, keep, wait_for_event
from rota.ports.runtime import Emit
from rota.ports.store import Watch

KINDS = {
    "lane:*": "runs", "due": "runs", "done": "runs", "gate": "runs", "tasks": "tasks", "schedules": "schedules",
    "queues": "queues", "sessions": "workers", "session:*": "workers",
}  # fmt: skip
"""What a hint of each topic says may have changed."""
GAP_S = 0.25
"""Between two messages to one listener."""
BEAT_S = 15.0
STILL_HERE = b": still here\n\n"
"""A comment after so long without news, by which both sides notice that the other is gone."""
LISTENERS = 500
VAGUE = "lane:*"
"""Heard itself, as is every topic, where anything may have happened. On SQLite that is so after each beat of a worker
beside it, so it is told of every NET_S at most: only changes whose hint was lost wait so long.
"""
NET_S = 15.0
ECHO_S = 1.0
"""That a run was taken is not hinted at; what became ready has mostly been taken so long after."""


class Feed:
    """Counts changes of each kind. A listener costs the memory of its own last counts, however slow it is."""

    def __init__(self, watch: Callable[[Sequence[str]], Watch], emit: Emit | None) -> None:
        self._watch = watch
        self._emit = emit
        self._epoch = token_hex(4)
        self._versions = dict.fromkeys(sorted(set(KINDS.values())), 0)
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._listeners = 0
        self._echo_at: float | None = None
        self._net_at: float | None = None
        """When runs are told of again, and when everything, since anything may have happened."""
        self._swept_at = -NET_S
        self.closed = asyncio.Event()

    def events(self) -> StreamingResponse:
        """An open stream of versions. Raises 429 where too many listen."""
        return self.stream(self._told())

    def stream(self, events: AsyncGenerator[bytes, None]) -> StreamingResponse:
        """The answer that sends events as they come. Raises 429 where too many listen."""
        if self._listeners >= LISTENERS:
            raise HTTPException(429, "too many open streams; poll instead", {"Retry-After": "5"})
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._counted(events), 200, headers, "text/event-stream")

    async def _counted(self, events: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
        self._listeners += 1
        try:
            async with aclosing(events):
                async for one in events:
                    yield one
        finally:
            self._listeners -= 1

    async def _told(self) -> AsyncGenerator[bytes, None]:
        if self._task is None and not self.closed.is_set():
            self._task = asyncio.create_task(self._attend())
        seen: dict[str, int] = {}
        while not self.closed.is_set():
            news = self._news
            if self._versions != seen:
                seen = dict(self._versions)
                yield event("versions", {"epoch": self._epoch, **seen}, f"{self._epoch}-{sum(seen.values())}")
                await self.rest(GAP_S)
            else:
                await wait_for_event(news, BEAT_S)
                if not news.is_set():
                    yield STILL_HERE

    async def rest(self, seconds: float) -> None:
        """So long, or until the feed is closed."""
        await wait_for_event(self.closed, seconds)

    async def _attend(self) -> None:
        with closing(self._watch(list(KINDS))) as ear:
            await keep("feed", lambda: self._hear(ear), self._emit)

    async def _hear(self, ear: Watch) -> None:
        time = asyncio.get_running_loop().time
        ends = [end for end in (self._echo_at, self._net_at) if end is not None]
        heard = await ear.wait(max(min(ends) - time(), 0) if ends else None)
        now, vague = time(), heard.get(VAGUE, 0)
        kinds = {_kind(topic) for topic, number in heard.items() if number > vague or topic not in KINDS}
        if "runs" in kinds:
            self._echo_at = now + ECHO_S
        elif self._echo_at and now >= self._echo_at:
            kinds, self._echo_at = kinds | {"runs"}, None
        if vague and not self._net_at:
            self._net_at = max(now, self._swept_at + NET_S)
        if self._net_at and now >= self._net_at:
            kinds, self._swept_at, self._net_at = set(self._versions), now, None
        if not heard and not kinds:
            await self.rest(GAP_S)  # the store was closed, and nobody said so here
        if not kinds:
            return
        for kind in kinds:
            self._versions[kind] += 1
        self._spread()

    def _spread(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def close(self) -> None:
        """End all streams; harmless twice."""
        self.closed.set()
        self._spread()
        await end(self._task)


def _kind(topic: str) -> str:
    return KINDS.get(topic) or KINDS[f"{topic.partition(':')[0]}:*"]


def event(name: str, data: object, number: str) -> bytes:
    """A server-sent event. JSON of one line, so nothing in it can begin another event."""
    return f"event: {name}\nid: {number}\ndata: {json.dumps(data)}\n\n".encode()
