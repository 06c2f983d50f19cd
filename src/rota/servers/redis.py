"""Connections to one Redis server, which Sentinels find where there are any.

The driver repeats nothing by itself: whether a write may be repeated, it cannot know.
"""

import asyncio
from contextlib import suppress
from typing import Any

from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Unreached
from redis.exceptions import RedisError

from rota.domain.errors import Invalid
from rota.servers.address import Address, Form, read_url

SENTINEL = ("sentinel_user", "sentinel_password")
FILES = ("sslrootcert", "sslcert", "sslkey")
TOLD = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
"""What the driver calls these."""
DRIVER_ERRORS = (RedisError, OSError, EOFError)


def read_redis_url(url: str, field: str, *options: str) -> Address:
    """As `read_url`; its path is the number of a database. `options`: those that only these URLs have."""
    example = "redis://user:password@host:6379/0"
    known = ("prefix", *options, "sentinel", *SENTINEL)
    found = read_url(url, Form(field, example, (6379, 6379), FILES, known))
    number = found.path.strip("/") or "0"
    if not number.isdecimal():
        raise Invalid(field, f"/{number:.40} is no number of a database; write {example}")
    if "sentinel" not in found.options:
        if len(found.hosts) > 1:
            raise Invalid(field, "several hosts are Sentinels; name what they watch by sentinel=")
        if stray := [option for option in SENTINEL if option in found.options]:
            raise Invalid(field, f"{stray[0]}= is for Sentinels; name what they watch by sentinel=")
    return found._replace(path=number)


class Server:
    """The server at an address, and what is connected to it that nobody uses. Raises DRIVER_ERRORS."""

    def __init__(self, address: Address, patience_s: float) -> None:
        """`patience_s`: how long a new connection may take."""
        self.idle: list[Connection] = []
        self._address = address
        self._patience_s = patience_s

    async def ready(self) -> Connection:
        """A connection that nobody uses. One that was lost meanwhile is replaced."""
        for _ in range(2):
            await asyncio.sleep(0)  # let the loop hear that one was closed, before anything is sent in vain
        while self.idle:
            connection = self.idle.pop()
            with suppress(*DRIVER_ERRORS):
                if not await connection.can_read():
                    return connection
            await connection.disconnect(nowait=True)
        return await self.connected()

    async def connected(self) -> Connection:
        """A new connection."""
        address, name = self._address, self._address.options.get("sentinel")
        host, port = address.hosts[0] if name is None else await self._found(name)
        connection = self._made(host, port, address.user, address.password, int(address.path))
        await self._greet(connection, self._patience_s)
        return connection

    async def _greet(self, connection: Connection, patience_s: float) -> None:
        """Connect and be let in."""
        try:
            async with asyncio.timeout(patience_s):
                await connection.connect()  # type: ignore[no-untyped-call]  # the driver says no type here
        except BaseException:
            await _leave(connection)
            raise

    def _made(self, host: str, port: int, user: str, password: str, number: int) -> Connection:
        told: dict[str, Any] = {"db": number, "username": user or None, "password": password or None}
        # How long to wait is said around each call: the driver's own timeouts cost a task each, and end what blocks.
        told |= {"socket_timeout": None, "socket_connect_timeout": self._patience_s}
        told |= {"retry": Retry(NoBackoff(), 0), "retry_on_error": [], "health_check_interval": 0, "protocol": 2}
        if not self._address.secure:
            return Connection(host=host, port=port, **told)
        told |= {name: file for name, file in zip(TOLD, self._address.files, strict=True) if file}
        return SSLConnection(host=host, port=port, **told)

    async def _found(self, name: str) -> tuple[str, int]:
        """Where the first Sentinel that answers says the server is; all of them have the time of one connection."""
        last: BaseException | None = None
        patience_s = self._patience_s / len(self._address.hosts)
        login = [self._address.options.get(option, "") for option in SENTINEL]
        for host, port in self._address.hosts:
            sentinel = self._made(host, port, login[0], login[1], 0)
            try:
                await self._greet(sentinel, patience_s)
                async with asyncio.timeout(patience_s):
                    await sentinel.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
                    if found := await sentinel.read_response():
                        return found[0].decode(), int(found[1])
            except DRIVER_ERRORS as error:
                last = error
            finally:
                await _leave(sentinel)
        said = f": {last}" if last else ""
        raise Unreached(f"no Sentinel knows a primary called {name!r}{said}") from last


async def _leave(connection: Connection) -> None:
    """Disconnect, and wait for a goodbye by TLS, at most as long as for a new connection: loops end with no less."""
    with suppress(*DRIVER_ERRORS):
        await connection.disconnect()
