"""Serving: the API at an address, in the loop of whoever asks, over TLS where there is a certificate."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rota.domain.errors import Invalid
from rota.ports.loops import wait_for_event

LAST_S = 5
"""At the end, requests that are under way may take so long."""
HEAD_BYTES, HEAD_S = 65_536, 30.0
"""What line and headers of a request may have, and how long they may take; of bodies the guard sees to that."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. Port 0 is any free one; `setting` is the section that says where."""

    host: str = "127.0.0.1"
    port: int = 8080
    certificate: str = ""
    """Path of the chain, PEM; empty: no TLS."""
    key: str = ""
    setting: str = "api."


@asynccontextmanager
async def served(
    app: ASGIApp, address: Address, ending: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[str]:
    """Serve while the block lasts; the URL. `ending` is awaited at its end, to close streams that would hold that up.

    Raises `Invalid` for a port that is taken and for a certificate that is none.
    """
    with closing(_bound(address)) as listening:
        config = uvicorn.Config(
            app,
            ssl_certfile=address.certificate or None,
            ssl_keyfile=address.key or None,
            # The guard does these, and better: addresses, the log of requests, headers.
            proxy_headers=False,
            access_log=False,
            server_header=False,
            log_config=None,
            http=_Protocol,
            ws="none",
        )
        try:
            config.load()
        except OSError as error:  # ssl.SSLError is one
            raise Invalid(
                f"{address.setting}tls", f"{address.certificate} and {address.key} make no certificate: {error}"
            ) from None
        # It would write whole queries, whoever listens; the guard's own line has none.
        logging.getLogger("uvicorn.access").disabled = True
        server = _Server(config)
        task = asyncio.create_task(server._serve([listening]))  # signals are the program's, not the server's
        host = f"[{address.host}]" if ":" in address.host else address.host
        try:
            yield f"{'https' if address.certificate else 'http'}://{host}:{listening.getsockname()[1]}"
        finally:
            if ending:
                await ending()
            server.ending.set()
            await task


def check_free(address: Address) -> None:
    """Raise `Invalid` for an address that cannot be listened on, before anything is done that a failure would leave."""
    _bound(address).close()


def _bound(address: Address) -> socket.socket:
    try:
        family, *_, place = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        what = f"{address.host!r:.60} is no address of this machine: {error}"
        raise Invalid(f"{address.setting}host", what) from None
    try:
        # From here on connections wait their turn, so whoever is told the address may come at once.
        made = socket.create_server(place, family=family, backlog=1_024, dualstack_ipv6=family is socket.AF_INET6)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        what = f"{address.host}:{address.port} cannot be listened on: {why}; choose another port"
        raise Invalid(f"{address.setting}port", what) from None
    # Its connections inherit this; a loop sees to it only where a socket names its protocol. Without it the body of an
    # answer waits until the client has acknowledged the head, which takes it 40 ms.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


class _Protocol(HttpToolsProtocol):
    """Cuts connections whose requests do not begin, or never end beginning: of these nobody knows yet who it is."""

    _head: int | None = None
    """Bytes of a head that is not whole yet."""
    _late: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base
        super().connection_made(transport)
        self._late = self.loop.call_later(HEAD_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._late.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head is not None:
            self._head += len(data)
            if self._head > HEAD_BYTES:
                self.transport.abort()

    def on_message_begin(self) -> None:
        self._head = 0
        self._wait()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head = None
        self._late.cancel()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:  # none is under way; what is still sent of a body, the base would wait for
            self._wait()

    def _wait(self) -> None:
        self._late.cancel()
        self._late = self.loop.call_later(HEAD_S, self.transport.abort)


class _Server(uvicorn.Server):
    """It is told when to end: the base looks ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ending = asyncio.Event()

    async def main_loop(self) -> None:
        while not self.ending.is_set():
            await self.on_tick(0)  # the date that answers have
            await wait_for_event(self.ending, 1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        state = self.server_state
        for server in self.servers:
            server.close()
        for connection in list(state.connections):
            connection.shutdown()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                while state.connections or state.tasks:  # noqa: ASYNC110  # nobody tells when they are empty
                    await asyncio.sleep(0.01)
        for task in state.tasks:
            task.cancel()
        await self.lifespan.shutdown()
