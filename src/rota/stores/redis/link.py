"""Connections to one Redis server, and the scripts that run there.

The driver repeats nothing by itself: whether a write may be repeated, it cannot know.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Any

import msgspec
from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ResponseError

from rota.domain.errors import RotaError, Unavailable
from rota.stores.home import Home
from rota.stores.redis.address import Address
from rota.stores.redis.faults import DEMOTED, DRIVER_ERRORS, fault

ANSWER_S = 10.0
"""How long to wait for an answer."""
_PACK = msgspec.msgpack.Encoder().encode
_UNPACK = msgspec.msgpack.Decoder().decode


@cache
def _script(name: str, spare: bool) -> tuple[str, str]:
    """Its text, and the digest by which the server knows it."""
    text = (Path(__file__).parent / "scripts" / f"{name}.lua").read_text()
    if spare:
        text = f"#!lua flags=allow-oom\n{text}"
    return text, sha1(text.encode(), usedforsecurity=False).hexdigest()


class Link(Home):
    """At most `address.pool` connections, made when they are needed and kept."""

    def __init__(self, address: Address, place: str) -> None:
        super().__init__(place)
        self.prefix = address.prefix
        self._address = address
        self._idle: list[Connection] = []
        self._room = asyncio.Semaphore(address.pool)

    def open(self) -> None:
        """Allow calls; the first one connects."""
        if self.move_in():
            self._room = asyncio.Semaphore(self._address.pool)
            self._idle = []

    async def close(self, first: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have `first` done, let the calls under way end, then disconnect."""
        with suppress(Unavailable):  # never opened, or its loop is no more
            await self.at_home(first)
            await self.at_home(self._close)

    async def run(self, name: str, ask: dict[str, Any], writes: bool = False, spare: bool = False) -> Any:
        """What a script answers. Raises `Unclear` if it writes and the answer is lost, else `StoreError`.

        `spare`: it brings nothing new, so it goes on where the server is full.
        """
        text, digest = _script(name, spare)
        asked = _PACK(ask | {"prefix": self.prefix})

        async def work() -> Any:
            try:
                return await self._asked(writes, "EVALSHA", digest, 1, self.prefix, asked)
            except NoScriptError:  # restarted since, so nothing has happened
                return await self._asked(writes, "EVAL", text, 1, self.prefix, asked)

        try:
            return _UNPACK(await self.at_home(work))
        except ResponseError as error:
            raise fault(error, self.place) from error

    async def ask(self, *words: Any) -> Any:
        """What one command that only looks answers."""
        try:
            return await self.at_home(lambda: self._asked(False, *words))
        except ResponseError as error:
            raise fault(error, self.place) from error

    async def connected(self) -> Connection:
        """A new connection. Raises `Unavailable`."""
        try:
            host, port = await self._found() if self._address.master else self._address.hosts[0]
            return await self._greeted(self._made(host, port))
        except DRIVER_ERRORS as error:
            raise fault(error, self.place) from error

    async def _greeted(self, connection: Connection) -> Connection:
        """Connected and let in."""
        try:
            async with asyncio.timeout(self._address.patience_s):
                await connection.connect()  # type: ignore[no-untyped-call]  # the driver says no type here
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def _asked(self, writes: bool, *words: Any) -> Any:
        async with self._room:
            connection = await self._ready()
            try:
                async with asyncio.timeout(ANSWER_S):
                    await connection.send_command(*words, check_health=False)
                    return await connection.read_response()
            except DEMOTED:
                # Whoever connects anew may be led to the primary; on these connections nobody ever writes again.
                former, self._idle = [connection, *self._idle], []
                for one in former:
                    await one.disconnect(nowait=True)
                raise
            except ResponseError:
                raise
            except BaseException as error:
                await connection.disconnect(nowait=True)
                if isinstance(error, DRIVER_ERRORS):
                    raise fault(error, self.place, sent=writes) from error
                raise
            finally:
                if connection.is_connected:
                    self._idle.append(connection)

    async def _ready(self) -> Connection:
        """A connection that nobody uses. One that was lost meanwhile is replaced."""
        for _ in range(2):
            await asyncio.sleep(0)  # let the loop hear that one was closed, before anything is sent in vain
        while self._idle:
            connection = self._idle.pop()
            with suppress(*DRIVER_ERRORS):
                if not await connection.can_read():
                    return connection
            await connection.disconnect(nowait=True)
        return await self.connected()

    def _made(self, host: str, port: int, **changes: Any) -> Connection:
        # How long to wait is said around each call: the driver's own timeouts cost a task each, and end subscriptions.
        patience = {"socket_timeout": None, "socket_connect_timeout": self._address.patience_s}
        once = {"retry": Retry(NoBackoff(), 0), "retry_on_error": [], "health_check_interval": 0, "protocol": 2}
        kind = SSLConnection if self._address.secure else Connection
        return kind(host=host, port=port, **self._address.options | patience | once | changes)

    async def _found(self) -> tuple[str, int]:
        """Where the first Sentinel that answers says the server is."""
        last: BaseException | None = None
        for host, port in self._address.hosts:
            sentinel = self._made(host, port, **self._address.sentinel)
            try:
                await self._greeted(sentinel)
                async with asyncio.timeout(self._address.patience_s):
                    await sentinel.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.master)
                    if found := await sentinel.read_response():
                        return found[0].decode(), int(found[1])
            except DRIVER_ERRORS as error:
                last = error
            finally:
                await sentinel.disconnect(nowait=True)
        said = f": {last}" if last else ""
        raise Unavailable(f"{self.place}: no Sentinel knows a primary called {self._address.master!r}{said}") from last

    async def _close(self) -> None:
        self._home = None
        for _ in range(self._address.pool):
            await self._room.acquire()
        while self._idle:
            with suppress(*DRIVER_ERRORS, RotaError):
                await self._idle.pop().disconnect()
