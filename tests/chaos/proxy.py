"""A proxy between one process and its server: it passes, holds everything back, or loses the answers."""

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit

from rota.ports.loops import end
from tests.services.listener import Listener


class Proxy:
    """`mode`: `pass`; `hold`, nothing gets through either way, and nobody is told; `mute`, what is asked arrives, what
    is answered is lost, and then the connection.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._mode = "pass"
        self._changed = asyncio.Event()
        self._listener = Listener(self._live)
        self.lost = 0

    @property
    def mode(self) -> str:
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        self._mode = mode
        self._changed.set()
        self._changed = asyncio.Event()

    async def open(self) -> str:
        """The URL by which to reach the server through it."""
        parts = urlsplit(self.url)
        port = await self._listener.open()
        user = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{user}@127.0.0.1:{port}").geturl()

    async def close(self) -> None:
        await self._listener.close()

    async def _live(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(self.url)
        try:
            there, back = await asyncio.open_connection(parts.hostname, parts.port or 5432)
        except OSError:
            writer.close()
            return
        ways = [self._pass(reader, back, "hold"), self._pass(there, writer, "hold", answers=True)]
        passing = [asyncio.create_task(way) for way in ways]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            writer.close()
            back.transport.abort()
            await end(*passing)

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, held: str, answers: bool = False
    ) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                while self._mode == held:
                    await self._changed.wait()
                if answers and self._mode == "mute":
                    self.lost += 1
                    return
                sink.write(data)
                await sink.drain()
