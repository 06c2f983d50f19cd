"""One Redis server as the store uses it: the scripts that run there, on a few connections."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Any

import msgspec
from redis.asyncio.connection import Connection
from redis.exceptions import NoScriptError, ResponseError

from rota.domain.errors import RotaError
from rota.domain.names import without_password
from rota.servers.address import check_prefix, patience_of, pool_of
from rota.servers.redis import DRIVER_ERRORS, Server, read_redis_url
from rota.stores.home import Home
from rota.stores.redis.faults import DEMOTED, fault

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
    """As many connections as its URL allows, made when they are needed and kept. Raises `Invalid` for a wrong URL."""

    def __init__(self, url: str) -> None:
        super().__init__(without_password(url.partition("?")[0]))
        self.address = read_redis_url(url, "store", "pool", "connect_timeout")
        options = self.address.options
        prefix = check_prefix("store", options.get("prefix", "rota"), least=0)
        self.prefix = f"{{{prefix}}}:" if prefix else ""
        self.pool = pool_of(options)
        self._server = Server(self.address, patience_of(options))
        self._room = asyncio.Semaphore(self.pool)

    def open(self) -> None:
        """Allow calls; the first one connects."""
        if self.move_in():
            self._room = asyncio.Semaphore(self.pool)
            self._server.idle = []

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
        return await self._reached(self._server.connected)

    async def _reached(self, connect: Callable[[], Awaitable[Connection]]) -> Connection:
        try:
            return await connect()
        except DRIVER_ERRORS as error:
            raise fault(error, self.place) from error

    async def _asked(self, writes: bool, *words: Any) -> Any:
        async with self._room:
            connection = await self._reached(self._server.ready)
            try:
                async with asyncio.timeout(ANSWER_S):
                    await connection.send_command(*words, check_health=False)
                    return await connection.read_response()
            except DEMOTED:
                # Whoever connects anew may be led to the primary; on these connections nobody ever writes again.
                former, self._server.idle = [connection, *self._server.idle], []
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
                    self._server.idle.append(connection)

    async def disconnect(self) -> None:
        while self._server.idle:
            with suppress(*DRIVER_ERRORS, RotaError):
                await self._server.idle.pop().disconnect()
