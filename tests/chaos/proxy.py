"""A proxy between one process and its server: it passes, holds everything back, or loses the answers."""

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit


class Proxy:
    """`mode`: `pass`; `hold`, nothing gets through either way, and nobody is told; `mute`, what is asked arrives, what
    is answered is lost, and then the connection.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._mode = "pass"
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
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
        self._server = await asyncio.start_server(self._live, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        user = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{user}@127.0.0.1:{port}").geturl()

    async def close(self) -> None:
        if self._server:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _live(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        parts = urlsplit(self.url)
        try:
            there, back = await asyncio.open_connection(parts.hostname, parts.port or 5432)
        except OSError:
            writer.close()
            self._tasks.discard(task)
            return
        try:
            ways = [self._pass(reader, back, "hold"), self._pass(there, writer, "hold", answers=True)]
            passing = [asyncio.create_task(way) for way in ways]
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
            for one in passing:
                one.cancel()
            await asyncio.gather(*passing, return_exceptions=True)
        finally:
            self._tasks.discard(task)
            for stream in (writer, back):
                stream.close()

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
