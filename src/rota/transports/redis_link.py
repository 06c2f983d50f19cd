"""One Redis server as a carrier uses it: as many connections as there are calls at once."""

import asyncio
from contextlib import suppress
from typing import Any

from redis import exceptions as said_by

from rota.domain.errors import Barred, RotaError, Unavailable, Unclear
from rota.domain.names import without_password
from rota.servers.address import check_prefix
from rota.servers.redis import DRIVER_ERRORS, Server, read_redis_url
from rota.transports.common import ANSWER_S, CONNECT_S

Command = tuple[Any, ...]
_ANSWERS = (said_by.ResponseError, said_by.AuthenticationError, said_by.BusyLoadingError)
"""Errors that are an answer of the server: it did nothing."""


class Link:
    """What is asked of it. Raises `Invalid` for a URL that cannot be meant."""

    def __init__(self, url: str) -> None:
        address = read_redis_url(url, "carrier")
        self.place = without_password(url.partition("?")[0])
        self.prefix = check_prefix("carrier", address.options.get("prefix", "rota"))
        self.open = False
        self._server = Server(address, CONNECT_S)
        self._lent: set[Any] = set()

    async def asked(self, commands: list[Command], wait_s: float = 0, writes: bool = False) -> list[Any]:
        """What the server says to each, errors too; they are sent in one piece. `wait_s`: they may take so long."""
        if not self.open:
            raise Unavailable(f"{self.place} is closed; open the carrier before its use")
        try:
            connection = await self._server.ready()
        except DRIVER_ERRORS as error:
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
        except DRIVER_ERRORS as error:
            raise self.fault(error, sent) from error
        finally:
            self._lent.discard(connection)
            if connection not in self._server.idle:
                await connection.disconnect(nowait=True)

    def _give_back(self, connection: Any, said: list[Any]) -> None:
        """Not to who has become a replica, so that the primary is looked for."""
        if self.open and not any(isinstance(one, said_by.ReadOnlyError) for one in said):
            self._server.idle.append(connection)

    async def close(self) -> None:
        """Disconnect. Whoever waits for an answer has lost it."""
        self.open, idle = False, self._server.idle
        self._server.idle = []
        for connection in (*idle, *self._lent):
            with suppress(*DRIVER_ERRORS):
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


async def _answer(connection: Any) -> Any:
    try:
        return await connection.read_response(disconnect_on_error=False)
    except _ANSWERS as error:
        return error
