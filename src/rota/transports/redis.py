"""Carrier on Redis: an inbox is a stream with one group, which knows how far it was read. All keys expire."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from redis.exceptions import ResponseError

from rota.domain.errors import Barred, Invalid, RotaError, Unavailable
from rota.ports.carrier import DESK
from rota.transports.common import BATCH, LIFE_S, OLD_S, ROOM, check_messages, check_own, pause
from rota.transports.redis_link import Command, Link

LOOK_S = 1
"""How long a read waits before it looks whether its stream is still there."""
GROUP = "rota"


class RedisCarrier:
    """A connection for each inbox that is read, and for each batch that is sent at once with others."""

    def __init__(self, url: str) -> None:
        self._link = Link(url)
        self._start = f"{{{self._link.prefix}}}:carrier:"
        self._own: set[str] = set()
        self._read: dict[str, bytes] = {}
        """By inbox: the last message that was received."""

    async def open(self) -> None:
        self._link.open = True
        self._refuse(await self._link.asked([("PING",)]))

    async def close(self) -> None:
        keys, self._own = [self._start + inbox for inbox in self._own], set()
        was_open = self._link.open
        await self._link.close()
        if was_open and keys:
            self._link.open = True
            with suppress(RotaError):
                await self._link.asked([("UNLINK", *keys)])
            await self._link.close()

    async def own(self, inbox: str) -> None:
        check_own(inbox)
        await self._make(inbox)
        self._own.add(inbox)

    async def send(self, messages: Sequence[tuple[str, bytes]]) -> list[bool]:
        check_messages(messages)
        commands: list[Command] = []
        for inbox, body in messages:
            made = () if inbox == DESK else ("NOMKSTREAM",)
            commands.append(("XADD", self._start + inbox, *made, "MAXLEN", "~", ROOM, "*", "m", body))
        if any(inbox == DESK for inbox, _ in messages):
            commands.append(("EXPIRE", self._start + DESK, OLD_S, "NX"))
        said = await self._link.asked(commands, writes=True) if commands else []
        self._refuse(said[: len(messages)])
        return [one is not None for one in said[: len(messages)]]

    async def receive(self, inbox: str) -> list[bytes]:
        lost = False
        while True:
            try:
                if found := await self._next(inbox):
                    return found
                lost = False
            except (Unavailable, Barred) as error:
                # A connection that broke is no trouble yet; one that cannot be made is.
                if lost or not self._link.open or isinstance(error, Barred):
                    await pause()
                    raise
                lost = True

    async def _next(self, inbox: str) -> list[bytes]:
        """What came since, after a while of waiting. What all had been given before is let go meanwhile."""
        if self._link.open and inbox != DESK and inbox not in self._own:
            raise Invalid("inbox", f"{inbox!r} is not one's own; make it by `own`")
        key, last = self._start + inbox, self._read.pop(inbox, None)
        commands: list[Command] = [("XTRIM", key, "MINID", "~", last)] if last else []
        commands.append(("EXPIRE", key, OLD_S if inbox == DESK else LIFE_S))
        block = ("COUNT", BATCH, "BLOCK", LOOK_S * 1_000, "NOACK", "STREAMS", key, ">")
        commands.append(("XREADGROUP", "GROUP", GROUP, "all", *block))
        said = (await self._link.asked(commands, wait_s=LOOK_S))[-1]
        if isinstance(said, ResponseError) and str(said).startswith(("NOGROUP", "UNBLOCKED")):
            await self._make(inbox)
            return []
        self._refuse([said])
        if not said:
            return []
        entries = said[0][1]
        self._read[inbox] = entries[-1][0]
        return [fields[1] for _, fields in entries]

    async def _make(self, inbox: str) -> None:
        key = self._start + inbox
        life = ("EXPIRE", key, OLD_S if inbox == DESK else LIFE_S)
        made, kept = await self._link.asked([("XGROUP", "CREATE", key, GROUP, "0", "MKSTREAM"), life])
        self._refuse([kept] if str(made).startswith("BUSYGROUP") else [made, kept])

    def _refuse(self, said: Sequence[Any]) -> None:
        """Raise what is wrong if anything is."""
        wrong = [one for one in said if isinstance(one, Exception)]
        if wrong:
            raise self._link.fault(wrong[0], len(wrong) < len(said)) from wrong[0]
