"""Connections to the members of one etcd cluster: one is used until it fails, then the next.

A call that may have changed something is never sent twice. One that surely has not, or that changes nothing, goes on
to the next member, for as long as an election takes.
"""

import asyncio
from pathlib import Path
from random import randrange
from time import monotonic
from typing import Any

import grpc
import grpc.aio
from grpc import ChannelConnectivity

from rota.domain.errors import Unavailable, Unclear
from rota.servers.address import Address
from rota.stores.etcd.client.faults import Next, fault
from rota.stores.etcd.client.messages import CLASSES, LOGIN, Method

ANSWER_S = 3.0
"""How long to wait for an answer, and how long to look for a member that gives one."""
CONNECT_S = 2.0
PAUSE_S = 0.1
RECEIVE_BYTES = 64 << 20
_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", RECEIVE_BYTES),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", int(CONNECT_S * 1000)),
    ("grpc.max_reconnect_backoff_ms", 500),
    # A server allows a ping every 5 s, and only while something is asked.
    ("grpc.keepalive_time_ms", 6000),
    ("grpc.keepalive_timeout_ms", 3000),
    # For the pings that measure the connection: while one of them is lost, the others wait.
    ("grpc.http2.ping_timeout_ms", 3000),
    ("grpc.http2.max_pings_without_data", 0),
)
# A member that has lost its cluster says so at once, instead of keeping a call or a watch waiting.
_LEADER = ("hasleader", "true")


class Link:
    """One connection to each member, made when it is needed."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.endpoints = tuple(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in address.hosts)
        self.place = "etcd at " + ",".join(self.endpoints)
        self._channels: list[grpc.aio.Channel] = []
        self._closed = True
        self.current = randrange(len(self.endpoints))
        self._token = ""
        self._metadata: tuple[tuple[str, str], ...] = (_LEADER,)
        self._login = asyncio.Lock()

    def connect(self) -> None:
        """Allow calls; the first one connects. Raises `Unavailable`."""
        try:
            self._channels = [self._channel(name) for name in self.endpoints]
        except OSError as error:
            raise Unavailable(f"{self.place}: a file of its URL cannot be read ({error})") from error
        self._closed = False

    async def close(self) -> None:
        """Let the calls under way end; harmless twice."""
        self._closed = True
        for channel in self._channels:
            await channel.close(ANSWER_S)

    async def call(
        self, method: Method, request: Any, writes: bool = False, at: int | None = None, answer_s: float = 0
    ) -> Any:
        """The answer of a member, or of the one `at` that number, within `answer_s` (0: `ANSWER_S`).

        Raises `Unavailable` and `Incompatible`, and `Unclear` if it `writes`.
        """
        end, renewed = monotonic() + ANSWER_S, False
        while not self._closed:
            number, token = self.current if at is None else at, self._token
            try:
                return await self._asked(number, method, request, answer_s or ANSWER_S)
            except grpc.aio.AioRpcError as error:
                then, told = fault(error, self.place, writes)
            except Unavailable as error:
                then, told = Next.ELSEWHERE, error
            if then is Next.LOGIN and self.address.user and method is not LOGIN and not renewed:
                renewed = True
                await self._renew(token)
                continue
            if then is Next.ELSEWHERE or isinstance(told, Unclear):
                self.leave(number)
            if then is not Next.ELSEWHERE or at is not None or len(self.endpoints) == 1 or monotonic() > end:
                raise told
            await asyncio.sleep(PAUSE_S)
        raise Unavailable(f"{self.place} is not open; open the store before its use")

    async def _renew(self, token: str) -> None:
        """A new token in place of this one, which opens nothing (any more)."""
        async with self._login:
            if self._token == token:
                # With a token that has expired it would refuse this too.
                self._token, self._metadata = "", (_LEADER,)
                said = CLASSES["Credentials"](name=self.address.user, password=self.address.password)
                self._token = (await self.call(LOGIN, said)).token
                self._metadata = _LEADER, ("token", self._token)

    def leave(self, number: int) -> None:
        """The member of this number does not serve: use another one."""
        if self.current == number:
            self.current = (number + 1) % len(self.endpoints)

    def stream(self, number: int, method: Method, request: Any) -> grpc.aio.UnaryStreamCall[Any, Any]:
        """All that a member has to say to this; whoever has heard enough cancels it."""
        ask: grpc.aio.UnaryStreamMultiCallable[Any, Any] = self._channels[number].unary_stream(*method)
        return ask(request, metadata=self._metadata)

    async def _asked(self, number: int, method: Method, request: Any, answer_s: float) -> Any:
        channel = self._channels[number]
        if channel.get_state(True) is not ChannelConnectivity.READY:
            await self._connected(channel)
        call: grpc.aio.UnaryUnaryMultiCallable[Any, Any] = channel.unary_unary(*method)
        return await call(request, timeout=answer_s, metadata=self._metadata)

    async def _connected(self, channel: grpc.aio.Channel) -> None:
        """Wait for a connection, so that what is not sent for lack of one is known not to be.

        How it failed, a call tells. Raises `Unavailable` after a while of nothing.
        """
        try:
            async with asyncio.timeout(CONNECT_S):
                while (state := channel.get_state(True)) in (ChannelConnectivity.IDLE, ChannelConnectivity.CONNECTING):
                    await channel.wait_for_state_change(state)
        except TimeoutError:
            raise Unavailable(f"{self.place} cannot be reached") from None

    def _channel(self, name: str) -> grpc.aio.Channel:
        # The library checks a certificate against the name in such a target, a number too.
        target, address = f"dns:///{name}", self.address
        if not address.secure:
            return grpc.aio.insecure_channel(target, _OPTIONS)
        ca, cert, key = (Path(file).read_bytes() if file else None for file in address.files)
        return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(ca, key, cert), _OPTIONS)
