"""How signals end a program that works: the first lets what runs finish, one more ends it at once."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from rota.worker.runtime import Worker

SIGNALS = (signal.SIGINT, signal.SIGTERM)
TWICE_S = 0.5
"""Signals closer together are one: wrappers pass on what the terminal or the service manager has sent already."""
LAST_S = 5.0
"""How long after the second signal, or after its end, the process is ended, whatever does not want to end."""

DRAINED = "the worker is drained and leaves, what else runs here goes on; a restart brings the worker back"


async def until_stopped(worker: Worker | None, drained: Callable[[], None] | None = None) -> str:
    """Until SIGINT or SIGTERM, or until the worker ends by itself; then why, empty for a signal or a drain.

    `drained`: told where people drain the worker: it leaves, and other roles go on until a signal. None: it is alone.
    """
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, asked.set)
    waits: list[asyncio.Task[Any]] = [asyncio.create_task(asked.wait())]
    if worker:
        waits.append(asyncio.create_task(worker.ended.wait()))
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    if worker and drained and not (worker.failed or asked.is_set()):
        drained()
        waits.append(asyncio.create_task(worker.stop()))
        await asked.wait()
    for wait in waits:
        wait.cancel()
    return worker.failed if worker else ""


class Haste:
    """From now on one more signal ends what runs, and LAST_S later, unless that is `over`, the process."""

    def __init__(self, worker: Worker | None, say: Callable[[str], None]) -> None:
        self.asked = False
        """Whether there was one."""
        self.running = worker.running if worker and not worker.failed else 0
        """How many runs may still finish."""
        self._worker = worker
        self._say = say
        self._last: threading.Timer | None = None
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        for number in SIGNALS:
            self._loop.add_signal_handler(number, self._hurry, 128 + number)

    def over(self) -> None:
        """What runs has ended, and the process goes on."""
        if self._last:
            self._last.cancel()

    def leave(self, code: int) -> None:
        """A thread that does not end, as of a pool that a task has used, holds up the end of the process no longer."""
        self.over()
        self._last = threading.Timer(LAST_S, self._end, (code,))
        self._last.daemon = True
        self._last.start()

    def _hurry(self, code: int) -> None:
        if self.asked or self._loop.time() - self._since <= TWICE_S:
            return
        self.asked = True
        self.leave(code)
        if self._worker:
            self._worker.hurry()

    def _end(self, code: int) -> None:
        self._say("ended by force; what was not handed back counts as lost, and the scheduler takes it back")
        os._exit(code)
