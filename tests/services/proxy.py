"""A TCP proxy between a program and its server, which loses what it is told to lose."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class Proxy:
    """Passes everything on, until a client's message holds `cut`: that one still arrives, but no answer comes back."""

    def __init__(self, host: str, port: int) -> None:
        self.target = host, port
        self.cut: bytes = b""
        self.cuts = 0
        self.port = 0
        self.may_close = asyncio.Event()
        """While this is not set, who has lost its server is not told so."""
        self.may_close.set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._lives: set[asyncio.Task[None]] = set()

    async def live(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if own := asyncio.current_task():
            self._lives.add(own)
        there, back = await asyncio.open_connection(*self.target)
        lost = asyncio.Event()
        inward = asyncio.create_task(self._pass(reader, back, lost, watched=True))
        outward = asyncio.create_task(self._pass(there, writer, lost))
        self._pumps |= {inward, outward}
        await asyncio.wait({inward, outward}, return_when=asyncio.FIRST_COMPLETED)
        await self.may_close.wait()
        for stream in (writer, back):
            stream.close()

    async def close(self) -> None:
        """Let go of all connections."""
        for pump in self._pumps:
            pump.cancel()
        if self._lives:
            await asyncio.wait(self._lives)

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
    server = await asyncio.start_server(proxy.live, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    user, _, _ = parts.netloc.rpartition("@")
    try:
        yield proxy, parts._replace(netloc=f"{user}@127.0.0.1:{proxy.port}").geturl()
    finally:
        server.close()
        await proxy.close()
