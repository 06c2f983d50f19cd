"""A server inside of a test, of which no connection outlives it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from rota.ports.loops import end
from tests.services.turns import breathe

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


class Listener:
    """Calls `serve` for each connection."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._server: asyncio.Server | None = None
        self._lives: set[asyncio.Task[None]] = set()
        self._streams: set[asyncio.StreamWriter] = set()

    async def open(self, host: str = "127.0.0.1", limit: int = 1 << 16) -> int:
        """The port on which it listens; `limit` as asyncio's."""
        self._server = await asyncio.start_server(self._accept, host, 0, limit=limit)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """Take nobody more, and drop who is there."""
        if self._server:
            self._server.close()
        await breathe()  # asyncio takes some turns from an accepted socket to a served connection
        await self.drop()

    async def drop(self) -> None:
        """Let go of all connections there are."""
        lives, streams = self._lives, self._streams
        self._lives, self._streams = set(), set()
        await end(*lives)
        for stream in streams:
            stream.transport.abort()  # a close would wait for a reader of what is still to be sent

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A plain function: asyncio loses the connection of a coroutine that is cancelled before its first step.
        self._streams.add(writer)
        self._lives.add(asyncio.create_task(self._serve(reader, writer)))


@asynccontextmanager
async def listening(serve: Serve, host: str = "127.0.0.1", limit: int = 1 << 16) -> AsyncIterator[int]:
    """The port of a listener that is closed at the block's end."""
    listener = Listener(serve)
    try:
        yield await listener.open(host, limit)
    finally:
        await listener.close()
