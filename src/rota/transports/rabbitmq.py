"""Carrier on RabbitMQ: the desk is a quorum queue, one's own inbox a classic one that goes when nobody reads it."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from aiormq import Channel
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import ChannelInvalidStateError, ConnectionInternalError, DeliveryError
from pamqp.commands import Basic

from rota.domain.errors import Barred, Invalid, RotaError, Unavailable
from rota.ports.carrier import DESK
from rota.ports.loops import end, wait_for_event
from rota.transports.common import ANSWER_S, BATCH, CONNECT_S, LIFE_S, OLD_S, ROOM, check_messages, check_own, pause
from rota.transports.rabbitmq_link import Link

AHEAD = 2 * BATCH
"""Messages that may lie here, unread; others of the desk go to other nodes."""
DEAF_S = 5
"""After so long without a message the desk is consumed anew: a quorum queue that was deleted and made again at once can
hand messages to a consumer that never gets them, and says nothing.
"""
CONSUME_S, DELETE_S = 3.0, 15.0
"""How long to wait for a consumer, and for a queue to go: a server may wait for itself before it does that by force."""
BROKEN = 2
"""After so many internal errors or silences of the server the desk is made anew: a quorum queue that was young when its
server crashed can be down for good, and what lies in it is asked again.
"""
SHARED: dict[str, Any] = {"x-queue-type": "quorum", "x-max-length": ROOM}
OWN: dict[str, Any] = {"x-queue-type": "classic", "x-max-length": ROOM, "x-expires": LIFE_S * 1_000}
TRIES = 3
"""So often a message is given to the desk before it counts as not delivered."""
_REFUSED = (DeliveredMessage, DeliveryError)
"""What comes instead of a confirmation: there is no such queue, or it cannot take a message yet: the name of a quorum
queue is known before it works.
"""


class RabbitCarrier:
    """A channel for what is sent, and one for each inbox that is read."""

    def __init__(self, url: str) -> None:
        self._link = Link(url)
        self._inboxes: dict[str, Inbox] = {}
        self._out: Channel | None = None
        self._opening = asyncio.Lock()

    async def open(self) -> None:
        self._link.open = True
        await self._outward()

    async def close(self) -> None:
        inboxes, self._inboxes = self._inboxes, {}
        for inbox in inboxes.values():
            await inbox.close()
        if self._link.open and (own := [inbox.queue for name, inbox in inboxes.items() if name != DESK]):
            with suppress(RotaError):
                channel = await self._link.channel()
                with self._link.faults():
                    async with asyncio.timeout(CONNECT_S):
                        await asyncio.gather(*(channel.queue_delete(queue) for queue in own))
        await self._link.close()

    async def own(self, inbox: str) -> None:
        check_own(inbox)
        if inbox not in self._inboxes:
            made = Inbox(self._link, inbox)
            await made.consume()
            self._keep(inbox, made)

    async def send(self, messages: Sequence[tuple[str, bytes]]) -> list[bool]:
        check_messages(messages)
        there, left = [False] * len(messages), list(range(len(messages)))
        for attempt in range(TRIES):
            if attempt:
                await self._desk_again()
            for number, one in zip(left, await self._published([messages[one] for one in left]), strict=True):
                there[number] = one
            left = [one for one in left if not there[one] and messages[one][0] == DESK]
            if not left:
                break
        return there

    async def receive(self, inbox: str) -> list[bytes]:
        if not self._link.open:
            raise Unavailable(f"{self._link.place} is closed; open the carrier before its use")
        if inbox == DESK and DESK not in self._inboxes:
            self._keep(DESK, Inbox(self._link, DESK))
        if inbox not in self._inboxes:
            raise Invalid("inbox", f"{inbox!r} is not one's own; make it by `own`")
        return await self._inboxes[inbox].take()

    def _keep(self, name: str, inbox: "Inbox") -> None:
        self._inboxes[name] = inbox
        inbox.task = asyncio.create_task(inbox.keep())

    async def _outward(self) -> Channel:
        async with self._opening:
            if self._out is None or self._out.is_closed:
                self._out = await self._link.channel()
            return self._out

    async def _desk_again(self) -> None:
        await pause()  # until it is made, or those who consumed the one that is gone have heard of it
        channel = await self._outward()
        with self._link.faults():
            async with asyncio.timeout(ANSWER_S):
                await _declare(channel, self._link, DESK)

    async def _published(self, messages: Sequence[tuple[str, bytes]]) -> list[bool]:
        """Whether each was taken by its queue. All are on their way before the first is confirmed."""
        channel, link = await self._outward(), self._link
        with link.faults(sent=True):
            async with asyncio.timeout(ANSWER_S):
                said = await asyncio.gather(
                    *(_publish(channel, _queue(link, inbox), body) for inbox, body in messages), return_exceptions=True
                )
        if wrong := [one for one in said if isinstance(one, BaseException) and not isinstance(one, _REFUSED)]:
            unsent = len(wrong) == len(said) and all(isinstance(one, ChannelInvalidStateError) for one in wrong)
            raise link.fault(wrong[0], not unsent) from wrong[0]
        return [not isinstance(one, _REFUSED) for one in said]


class Inbox:
    """A queue that is read, through whatever happens, until its carrier closes."""

    def __init__(self, link: Link, name: str) -> None:
        self.name, self.queue = name, _queue(link, name)
        self.task: asyncio.Task[None] | None = None
        self._link = link
        self._arrived: deque[DeliveredMessage] = deque()
        self._news = asyncio.Event()
        self._trouble: RotaError | None = None
        self._channel: Channel | None = None
        self._ended = asyncio.Event()
        self._ended.set()
        self._heard = self._failures = 0

    async def keep(self) -> None:
        """Consume, again and again."""
        while True:
            await self._silence()
            try:
                await self.consume()
                self._failures = 0
            except RotaError as error:
                # One failure is no trouble yet: a queue that somebody makes just now cannot be consumed.
                if self._failures or isinstance(error, Barred):
                    self._trouble = error
                    self._news.set()
                internal = isinstance(error.__cause__, ConnectionInternalError | TimeoutError)
                self._failures = self._failures + 1 if internal else 1
                await pause()

    async def _silence(self) -> None:
        """Returns when nothing comes any more, or nothing has come for long."""
        heard = -1
        while not self._ended.is_set() and (self.name != DESK or self._arrived or heard != self._heard):
            heard = self._heard
            await wait_for_event(self._ended, DEAF_S)

    async def consume(self) -> None:
        """On a new channel, from a queue that is made if it is gone. Raises `Unavailable` or `Barred`."""
        if self._channel:
            with suppress(RotaError), self._link.faults():
                await self._channel.close()
        self._arrived.clear()  # what was not acknowledged comes again
        channel = self._channel = await self._link.channel()
        ended = asyncio.Event()
        channel.closing.add_done_callback(lambda _: ended.set())
        channel.on_consumer_cancel_callbacks.add(lambda _: ended.set())
        with self._link.faults():
            if self.name == DESK and self._failures >= BROKEN:
                async with asyncio.timeout(DELETE_S):
                    await channel.queue_delete(self.queue)
            async with asyncio.timeout(CONSUME_S):
                await channel.basic_qos(prefetch_count=AHEAD)
                await _declare(channel, self._link, self.name)
                await channel.basic_consume(self.queue, self._come)
        self._ended, self._trouble = ended, None

    async def take(self) -> list[bytes]:
        """The next messages; acknowledged."""
        while not self._arrived:
            self._news.clear()
            await self._news.wait()
            if self.task is None:
                raise Unavailable(f"{self._link.place} is closed")
            trouble, self._trouble = self._trouble, None
            if trouble:
                raise trouble
        taken = [self._arrived.popleft() for _ in range(min(BATCH, len(self._arrived)))]
        channel, tag = taken[-1].channel, taken[-1].delivery_tag
        if tag:
            with suppress(RotaError), self._link.faults():
                await channel.basic_ack(tag, multiple=True, wait=False)
        return [one.body for one in taken]

    async def close(self) -> None:
        """Let whoever waits go."""
        task, self.task = self.task, None
        await end(task)
        self._news.set()

    async def _come(self, message: DeliveredMessage) -> None:
        if message.channel is self._channel:
            self._arrived.append(message)
            self._heard += 1
            self._news.set()


async def _publish(channel: Channel, queue: str, body: bytes) -> object:
    told = Basic.Properties(delivery_mode=1, expiration=str(OLD_S * 1_000))
    return await channel.basic_publish(body, routing_key=queue, properties=told, mandatory=True, wait=False)


async def _declare(channel: Channel, link: Link, inbox: str) -> None:
    # Durable: so that it is there again when its server is, before its owner.
    await channel.queue_declare(_queue(link, inbox), durable=True, arguments=SHARED if inbox == DESK else OWN)


def _queue(link: Link, inbox: str) -> str:
    return f"{link.prefix}/{inbox}"
