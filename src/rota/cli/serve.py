"""The life of `rota up`, `rota scheduler` and `rota worker`: start, tell, drain at one signal, end at two."""

import asyncio
import gc
import os
import signal
import threading
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from rota.cli.common import without_password
from rota.cli.show import fail
from rota.cli.telling import Teller, first_lines, overview
from rota.embed import Roles, Rota
from rota.scheduler.options import Options as SchedulerOptions
from rota.worker.options import Options as WorkerOptions
from rota.worker.runtime import Worker

TWICE_S = 0.5
"""Signals closer together are one: wrappers pass on what the terminal or the service manager has sent already."""
LAST_S = 5.0
"""How long after the second signal the process is ended, whatever does not want to end."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which roles to take on, and whether to tell of each run that ended."""

    scheduler: SchedulerOptions | None
    worker: WorkerOptions | None
    quiet: bool = False
    as_json: bool = False


class Signals:
    """The first SIGINT or SIGTERM asks to stop, the second one cancels all, a third one ends the process."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._asked_at = 0.0
        self._ending = False
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._heard, 128 + number)

    def _heard(self, code: int) -> None:
        if not self.asked.is_set():
            self._asked_at = self._loop.time()
            self.asked.set()
        elif self._ending:
            os._exit(code)
        elif self._loop.time() - self._asked_at > TWICE_S:
            self._ending = True
            last = threading.Timer(LAST_S, os._exit, (code,))
            last.daemon = True
            last.start()
            # What still runs after this is cancelled once more as the loop ends, and that ends its grace.
            for task in asyncio.all_tasks(self._loop):
                task.cancel()


def serve(app: Rota, plan: Plan) -> int:
    """Live until told to stop; the exit code."""
    # Most objects here live as long as a run: looking for cycles less often spares a tenth of the time of each.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    try:
        return asyncio.run(_live(app, plan))
    except asyncio.CancelledError:
        fail("stopped at once; what was running is taken back and run again")
        return 130


async def _live(app: Rota, plan: Plan) -> int:
    teller = Teller(plan.quiet, plan.as_json)
    app.listen(teller)
    async with app, AsyncExitStack() as stack:
        roles = Roles(app, app.engine)
        stack.push_async_callback(roles.stop)
        if plan.scheduler:
            await roles.start_scheduler(plan.scheduler)
        if plan.worker:
            await roles.start_worker(plan.worker)
        signals = Signals()
        data = _described(app, plan) | await overview(app.engine.store, app.engine.clock.now())
        teller.say("started", data, first_lines(data))
        worker = roles.worker
        await _first(signals.asked, worker)
        running = worker.running if worker else 0
        said = f"stopping; {running} running, they may finish" if running else "stopping"
        teller.say("stopping", {"running": running}, [said])
    if worker and worker.failed:
        fail(worker.failed)
        return 1
    teller.say("stopped", {}, ["stopped"])
    return 0


async def _first(asked: asyncio.Event, worker: Worker | None) -> None:
    """Until somebody asks to stop, or the worker ends by itself."""
    waits = [asyncio.create_task(asked.wait())]
    if worker:
        waits.append(asyncio.create_task(worker.ended.wait()))
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


def _described(app: Rota, plan: Plan) -> dict[str, Any]:
    """Which roles run, with what."""
    worker = plan.worker
    kinds = [kind for kind, executor in app.executors().items() if executor.kind == kind] if worker else []
    return {
        "scheduler": plan.scheduler is not None,
        "worker": worker and {"slots": worker.slots, "queues": worker.queues, "executors": kinds},
        "store": without_password(app.store),
    }
