"""Connections to one Redis server. The driver repeats nothing: whether a write may be repeated, it cannot know."""

import asyncio
from contextlib import suppress
from typing import Any

from redis import exceptions as said_by
from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from rota.domain.errors import Barred, Invalid, RotaError, Unavailable, Unclear
from rota.transports.common import ANSWER_S, CONNECT_S, Address, Form, read_url

SENTINEL_S = 1.0
"""How long to wait for one Sentinel before the next is asked."""
FORM = Form(
    "redis",
    "redis://user:password@host:6379/0",
    (6379, 6379),
    ("sslrootcert", "sslcert", "sslkey"),
    ("sentinel", "sentinel_user", "sentinel_password"),
)
Command = tuple[Any, ...]
_ANSWERS = (said_by.ResponseError, said_by.AuthenticationError, said_by.BusyLoadingError)
"""Errors that are an answer of the server: it did nothing."""
_LOST = (said_by.RedisError, OSError, EOFError)


def read_redis_url(url: str) -> Address:
    """Raises `Invalid` that names the part that is wrong."""
    address = read_url(url, FORM)
    if not (address.path or "0").isdecimal():
        raise Invalid("carrier", f"/{address.path:.40} is no number of a database; write {FORM.example}")
    if len(address.hosts) > 1 and "sentinel" not in address.options:
        raise Invalid("carrier", "several hosts are Sentinels; name what they watch by sentinel=")
    return address


class Link:
    """As many connections as there are calls at once."""

    def __init__(self, address: Address) -> None:
        self.place = address.place
        self.open = False
        self._address = address
        self._idle: list[Any] = []
        self._lent: set[Any] = set()

    async def asked(self, commands: list[Command], wait_s: float = 0, writes: bool = False) -> list[Any]:
        """What the server says to each, errors too; they are sent in one piece. `wait_s`: they may take so long."""
        if not self.open:
            raise Unavailable(f"{self.place} is closed; open the carrier before its use")
        try:
            connection = await self._connected()
        except _LOST as error:
            raise self.fault(error, False) from error
        self._lent.add(connection)
        sent = False
        try:
            async with asyncio.timeout(ANSWER_S + wait_s):
                await connection.send_packed_command(connection.pack_commands(commands))
                sent = writes
                said = [await _answer(connection) for _ in commands]
            self._give_back(connection, said)
            return said
        except _LOST as error:
            raise self.fault(error, sent) from error
        finally:
            self._lent.discard(connection)
            if connection not in self._idle:
                await connection.disconnect(nowait=True)

    def _give_back(self, connection: Any, said: list[Any]) -> None:
        """Not to who has become a replica, so that the primary is looked for."""
        if self.open and not any(isinstance(one, said_by.ReadOnlyError) for one in said):
            self._idle.append(connection)

    async def close(self) -> None:
        """Disconnect. Whoever waits for an answer has lost it."""
        self.open, idle = False, self._idle
        self._idle = []
        for connection in (*idle, *self._lent):
            with suppress(*_LOST):
                await connection.disconnect()

    def fault(self, error: Exception, sent: bool) -> RotaError:
        said = str(error) or type(error).__name__
        if not self.open:
            return (Unclear if sent else Unavailable)(f"{self.place} is closed")
        if isinstance(error, said_by.AuthenticationError | said_by.NoPermissionError):
            remedy = "see user and password of the URL, and the server's ACL: all commands on keys of the prefix"
            return Barred(f"{self.place} does not let this carrier in; {remedy} ({said})")
        if sent:
            return Unclear(f"{self.place}: no answer, messages may or may not have been sent ({said})")
        if "unknown command" in said or "syntax error" in said:
            said += "; install Redis 7.0 or newer"
        return Unavailable(f"{self.place} cannot be used ({said})")

    async def _connected(self) -> Any:
        """One that nobody uses; new if it must be."""
        while self._idle:
            connection = self._idle.pop()
            with suppress(*_LOST):
                if not await connection.can_read():
                    return connection
            await connection.disconnect(nowait=True)
        host, port = await self._found() if "sentinel" in self._address.options else self._address.hosts[0]
        user, password, number = self._address.user, self._address.password, int(self._address.path or 0)
        return await _greeted(self._made(host, port, user, password, number), CONNECT_S)

    async def _found(self) -> tuple[str, int]:
        """Where the first Sentinel that answers says the server is."""
        last: Exception | None = None
        options = self._address.options
        for host, port in self._address.hosts:
            known = options.get("sentinel_user", ""), options.get("sentinel_password", "")
            sentinel = self._made(host, port, *known)
            try:
                await _greeted(sentinel, SENTINEL_S)
                async with asyncio.timeout(SENTINEL_S):
                    await sentinel.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", options["sentinel"])
                    if found := await sentinel.read_response():
                        return found[0].decode(), int(found[1])
            except _LOST as error:
                last = error
            finally:
                await sentinel.disconnect(nowait=True)
        raise last or said_by.ConnectionError(f"no Sentinel knows a primary called {options['sentinel']!r}")

    def _made(self, host: str, port: int, user: str, password: str, number: int = 0) -> Any:
        told: dict[str, Any] = {"host": host, "port": port, "db": number}
        told |= {"username": user or None, "password": password or None}
        # How long to wait is said around each call: the driver's own timeouts end reads that block.
        told |= {"socket_timeout": None, "socket_connect_timeout": CONNECT_S, "health_check_interval": 0, "protocol": 2}
        told |= {"retry": Retry(NoBackoff(), 0), "retry_on_error": []}
        if not self._address.secure:
            return Connection(**told)
        names = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
        files: dict[str, Any] = {name: file for name, file in zip(names, self._address.files, strict=True) if file}
        return SSLConnection(**told, **files)


async def _greeted(connection: Any, patience_s: float) -> Any:
    """Connected and let in."""
    try:
        async with asyncio.timeout(patience_s):
            await connection.connect()
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    return connection


async def _answer(connection: Any) -> Any:
    try:
        return await connection.read_response(disconnect_on_error=False)
    except _ANSWERS as error:
        return error
