"""A watch that goes on after its connection broke, with the change after the last one that it told of."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio

from rota.domain.errors import RotaError, Unavailable
from rota.stores.etcd.client.coding import found, range_message
from rota.stores.etcd.client.link import PAUSE_S, Link
from rota.stores.etcd.client.messages import CLASSES, RANGE, WATCH
from rota.stores.etcd.client.words import Event, Found, Range

GAP = (Event("gap", Found(b"", b"", 0, 0, 0)),)
REFUSALS = "permission denied", "auth token", "auth store", "user name"
_DELETE = 1


class Watcher:
    """What it wants to hear of, and the revision from which on it has not been told (0: whatever comes)."""

    def __init__(self, link: Link, key: bytes, end: bytes, since: int) -> None:
        self._link = link
        self._key, self._end = key, end
        self._since = since
        self._renewed = False
        """Whether the token is fresh, so that a refusal is meant."""

    async def events(self) -> AsyncGenerator[tuple[Event, ...], None]:
        """All changes in order, each once, together what was changed together. Raises `Unavailable` if forbidden."""
        while not self._link.closed:
            number = self._link.current
            try:
                # The server goes on when it has heard that nothing more will be asked.
                with self._link.stream(number, WATCH, self._wanted()) as stream:
                    async for batch in self._told(stream):
                        yield batch
            except grpc.aio.AioRpcError:
                self._link.leave(number)
            except asyncio.CancelledError:
                if not self._link.closed:
                    raise
            await asyncio.sleep(PAUSE_S)

    def _wanted(self) -> Any:
        message = CLASSES["WatchRequest"]()
        message.create.key, message.create.fragment = self._key, True
        if self._end:
            message.create.range_end = self._end
        if self._since:
            message.create.start_revision = self._since
        return message

    async def _told(self, stream: Any) -> AsyncGenerator[tuple[Event, ...], None]:
        """What the server tells, until it ends the watch."""
        events: list[Event] = []
        while (reply := await stream.read()) is not grpc.aio.EOF:
            if reply.compact_revision:
                self._since = reply.compact_revision
                yield GAP
            if reply.canceled:
                await self._canceled(reply.cancel_reason)
                return
            if reply.created and await self._lost(reply.header.revision + 1):
                yield GAP
                return
            events += [Event("delete" if one.type == _DELETE else "put", found(one.kv)) for one in reply.events]
            # Only the last piece completes a revision, so that a break between two pieces loses or doubles nothing.
            if events and not reply.fragment:
                self._since = events[-1].found.modified + 1
                yield tuple(events)
                events = []

    async def _lost(self, coming: int) -> bool:
        """Whether the cluster has forgotten what it told of: its data were replaced by older ones."""
        self._renewed = False
        if not self._since:
            self._since = coming
        elif coming < self._since:
            # Else it is a member that lags behind; the others know.
            with suppress(RotaError):
                asked = range_message(Range(self._key, count_only=True))
                coming = (await self._link.call(RANGE, asked)).header.revision + 1
                if coming < self._since:
                    self._since = coming
                    return True
        return False

    async def _canceled(self, reason: str) -> None:
        if not any(one in reason for one in REFUSALS):
            return
        # By some versions a token that has expired is refused like a right that is missing.
        if self._renewed or not self._link.user:
            raise Unavailable(f"{self._link.place} forbids to watch; let this user's role read the prefix ({reason})")
        with suppress(Unavailable):
            await self._link.login(self._link.token)
            self._renewed = True
