"""Hints between processes by LISTEN and NOTIFY.

A notice is the name of its sender and a JSON object of topics and counts. Everything here may fail, and then hints are
late, no more: every loop also looks by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from secrets import token_hex
from typing import Any

import msgspec

from rota.domain.errors import RotaError
from rota.ports.loops import wait_for_event
from rota.stores.hub import ANYTHING
from rota.stores.postgres.faults import DRIVER_ERRORS

CHANNEL = "rota"
LIMIT = 7_900
"""Bytes of a notice; more than that becomes "anything may have happened"."""
AGAIN_S = 1.0
"""Between two tries to listen, and between two looks where nobody can."""
CHECK_S = 20.0
"""How long a connection may be silent before it is asked whether it still is one."""

_DECODE = msgspec.json.Decoder(dict[str, int]).decode


class Notices:
    """Writes this process's notices, and once `listen` was called, tells what those of others say.

    Without `connect`, behind a pooler that passes no notices on, it tells now and then that anything may have happened.
    """

    def __init__(self, connect: Callable[[], Awaitable[Any]] | None, tell: Callable[[Mapping[str, int]], None]) -> None:
        self._connect = connect
        self._tell = tell
        self._name = token_hex(6)
        self._task: asyncio.Task[None] | None = None

    def statement(self, hints: Mapping[str, int]) -> str:
        """The statement that passes hints on."""
        text = self.notice(hints).replace("'", "''")
        return f"NOTIFY {CHANNEL}, '{text}'"

    def notice(self, hints: Mapping[str, int], theirs: bool = False) -> str:
        """What others hear; this process as well if it is the commit of `theirs`, a user's own, that passes it on."""
        said = msgspec.json.encode(hints)
        text = (said if len(said) <= LIMIT else msgspec.json.encode({ANYTHING: 1})).decode()
        return f"{'' if theirs else self._name} {text}"

    def listen(self) -> None:
        """Begin to listen, once; on the loop of the connections."""
        if self._task is None:
            self._task = asyncio.create_task(self._listen(self._connect) if self._connect else self._look())

    async def close(self) -> None:
        """Stop listening; harmless twice."""
        task, self._task = self._task, None
        if task:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _listen(self, connect: Callable[[], Awaitable[Any]]) -> None:
        while True:
            with suppress(*DRIVER_ERRORS, RotaError):
                await self._attend(await connect())
            await asyncio.sleep(AGAIN_S)

    async def _attend(self, connection: Any) -> None:
        """Listen for as long as the connection lasts."""
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            await connection.add_listener(CHANNEL, self._heard)
            self._tell({ANYTHING: 1})  # what was said meanwhile is lost
            while True:
                await wait_for_event(lost, CHECK_S)
                await connection.execute("SELECT 1", timeout=CHECK_S)
        finally:
            connection.terminate()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(AGAIN_S)
            self._tell({ANYTHING: 1})

    def _heard(self, connection: object, pid: int, channel: str, payload: object) -> None:
        """One notice; those of its own process were told already, and what is none of ours is left alone."""
        name, _, said = str(payload).partition(" ")
        with suppress(ValueError):
            hints = _DECODE(said)
            if name != self._name:
                self._tell(hints)
