"""One connection to a RabbitMQ server or cluster, made when it is needed, and what the driver's errors mean."""

import asyncio
import logging
import random
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import cast
from urllib.parse import quote

from aiormq import Channel, Connection
from aiormq import exceptions as said_by

from rota.domain.errors import Barred, Invalid, RotaError, Unavailable, Unclear
from rota.domain.names import without_password
from rota.servers.address import Form, check_prefix, read_url
from rota.transports.common import ANSWER_S, CONNECT_S

HEARTBEAT_S = 10
"""A connection from which nothing came for three times as long is given up."""
FORM = Form("carrier", "amqp://user:password@host:5672/vhost", (5672, 5671), ("ca", "cert", "key"), ("prefix",))

# It logs each attempt that fails, with a traceback; our errors say it once.
logging.getLogger("aiormq").setLevel(logging.CRITICAL)


class Link:
    """Gives channels."""

    def __init__(self, url: str) -> None:
        address = read_url(url, FORM)
        self.place = without_password(url.partition("?")[0])
        self.prefix = check_prefix("carrier", address.options.get("prefix", "rota"))
        self.open = False
        self._trust = _trust(*address.files) if address.secure else None
        user, password = quote(address.user or "guest", ""), quote(address.password or "guest", "")
        scheme, vhost = "amqps" if address.secure else "amqp", quote(address.path or "/", "")
        self._urls = [
            f"{scheme}://{user}:{password}@{f'[{host}]' if ':' in host else host}:{port}/{vhost}"
            f"?heartbeat={HEARTBEAT_S}&name=rota"
            for host, port in address.hosts
        ]
        self._lock = asyncio.Lock()
        self._connection: Connection | None = None

    async def channel(self) -> Channel:
        """A new one, which confirms what is published. Raises `Unavailable` or `Barred`."""
        async with self._lock:
            if not self.open:
                raise Unavailable(f"{self.place} is closed; open the carrier before its use")
            if not (self._connection and self._connection.is_opened):
                self._connection = await self._connected()
            with self.faults():
                async with asyncio.timeout(ANSWER_S):
                    return cast(Channel, await self._connection.channel(on_return_raises=False))

    async def close(self) -> None:
        """Disconnect. Whoever waits for an answer has lost it."""
        self.open = False
        if self._connection:
            with suppress(RotaError), self.faults():
                async with asyncio.timeout(CONNECT_S):
                    await self._connection.close(said_by.ConnectionClosed(0, "closed"))

    @contextmanager
    def faults(self, sent: bool = False) -> Iterator[None]:
        """Raise errors for the caller instead of the driver's; `sent`: messages were on their way."""
        try:
            yield
        except RotaError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            # It raises many things for what is closed, and cancels what waits for a connection that it gives up.
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task and task.cancelling():
                raise
            raise self.fault(error, sent) from error

    def fault(self, error: BaseException, sent: bool = False) -> RotaError:
        said = str(error) or type(error).__name__
        if not self.open:
            return (Unclear if sent else Unavailable)(f"{self.place} is closed")
        if isinstance(error, said_by.ProbableAuthenticationError | said_by.AuthenticationError):
            return Barred(f"{self.place} does not let this carrier in; see user and password of the URL ({said})")
        if isinstance(error, said_by.ChannelAccessRefused):
            wanted = f"configure, write and read of ^{self.prefix}/, and write of ^amq\\.default$"
            return Barred(f"{self.place} forbids it; give this user the permissions to {wanted} ({said})")
        if "Connection.OpenOk" in said:  # it closed the connection instead, and the driver keeps its reason
            return Barred(f"{self.place} has no such vhost, or not for this user; see the end of the URL ({said})")
        if sent:
            return Unclear(f"{self.place}: no answer, messages may or may not have been sent ({said})")
        if isinstance(error, said_by.ChannelPreconditionFailed):
            said += "; a queue of this name was made by somebody else: delete it, or choose another ?prefix="
        return Unavailable(f"{self.place} cannot be used ({said})")

    async def _connected(self) -> Connection:
        """To the first host that takes it, whichever is asked first."""
        last: RotaError = Unavailable(f"{self.place} names no host")
        for url in random.sample(self._urls, len(self._urls)):
            try:
                with self.faults():
                    connection = Connection(url, context=self._trust)
                    async with asyncio.timeout(CONNECT_S):
                        await connection.connect()
                        if not self.open:  # closed meanwhile, when there was none to end yet
                            await connection.close()
                    return connection
            except (Unavailable, Barred) as error:
                last = error
        raise last


def _trust(ca: str, certificate: str, key: str) -> ssl.SSLContext:
    """Whom to believe, and what to show."""
    try:
        context = ssl.create_default_context(cafile=ca or None)
        if certificate:
            context.load_cert_chain(certificate, key or None)
    except OSError as error:
        raise Invalid("carrier", f"ca=, cert= or key= cannot be used: {error}") from None
    return context
