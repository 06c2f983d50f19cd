"""Hints between processes by LISTEN and NOTIFY: a notice is the name of its sender, and topics and counts as JSON."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from rota.ports.loops import wait_for_event
from rota.stores.hub import ANYTHING
from rota.stores.listener import Listener
from rota.stores.postgres.faults import DRIVER_ERRORS

CHANNEL = "rota"
LIMIT = 7_900
"""Bytes of a notice; more than that becomes "anything may have happened"."""
CHECK_S = 20.0
"""How long a connection may be silent before it is asked whether it still is one."""


class Notices(Listener):
    """Writes this process's notices, and tells what those of others say.

    Without `connect`, behind a pooler that passes no notices on, it tells now and then that anything may have happened.
    """

    errors = DRIVER_ERRORS

    def __init__(self, connect: Callable[[], Awaitable[Any]] | None, tell: Callable[[Mapping[str, int]], None]) -> None:
        super().__init__(tell)
        self._connect = connect

    def statement(self, hints: Mapping[str, int]) -> str:
        """The statement that passes hints on."""
        text = self.notice(hints).replace("'", "''")
        return f"NOTIFY {CHANNEL}, '{text}'"

    def notice(self, hints: Mapping[str, int], theirs: bool = False) -> str:
        """What others hear; this process as well if it is the commit of `theirs`, a user's own, that passes it on."""
        said = self.said(hints)
        text = said if len(said.encode()) <= LIMIT else self.said({ANYTHING: 1})
        return text.removeprefix(self._name) if theirs else text

    async def attend(self) -> None:
        if self._connect is None:
            self._tell({ANYTHING: 1})
            return
        connection = await self._connect()
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

    def _heard(self, connection: object, pid: int, channel: str, payload: object) -> None:
        self.heard(str(payload).encode())
