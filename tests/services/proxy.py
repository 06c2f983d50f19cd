"""A TCP proxy between a program and its server, which loses what it is told to lose."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from rota.ports.loops import end
from tests.services.listener import Listener


class Proxy:
    """Passes everything on, until a client's message holds `cut`: that one still arrives, but no answer comes back."""

    def __init__(self, host: str, port: int) -> None:
        self.target = host, port
        self.cut: bytes = b""
        self.cuts = 0
        self.listener = Listener(self.live)
        self.may_close = asyncio.Event()
        """While this is not set, who has lost its server is not told so."""
        self.may_close.set()

    async def live(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self.target)
        lost = asyncio.Event()
        ways = [self._pass(reader, back, lost, watched=True), self._pass(there, writer, lost)]
        pumps = [asyncio.create_task(way) for way in ways]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            await self.may_close.wait()
        finally:
            writer.close()
            back.transport.abort()
            await end(*pumps)

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, lost: asyncio.Event, watched: bool = False
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65_536):
                if watched and self.cut and self.cut in data:
                    self.cut = b""
                    self.cuts += 1
                    lost.set()
                if watched or not lost.is_set():
                    sink.write(data)
                    await sink.drain()
                if lost.is_set() and not watched:
                    return  # the server has answered, so what was asked has happened


@asynccontextmanager
async def between(url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy before the server of a URL, and the URL by which to reach it."""
    parts = urlsplit(url)
    proxy = Proxy(parts.hostname or "127.0.0.1", parts.port or 5432)
    user, _, _ = parts.netloc.rpartition("@")
    try:
        port = await proxy.listener.open()
        yield proxy, parts._replace(netloc=f"{user}@127.0.0.1:{port}").geturl()
    finally:
        await proxy.listener.close()
