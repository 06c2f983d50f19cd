"""Many workers in one process: `python -m tests.figures.crew STORE|URL SESSIONS SLOTS`, until SIGTERM.

Each is the worker's real runtime, with a session, a pulse and slots of its own. At a URL they are what workers
elsewhere are to the API. Beside a store their desk is what an API node is to those: it claims for all who wait at once.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from rota.api.waiting import Waiting
from rota.engine.engine import Engine
from rota.ports.desk import Desk, Taken
from rota.ports.store import Want
from rota.wiring import opened
from rota.wiring.elsewhere import at_address, remote_worker
from rota.worker.desks import LocalDesk
from rota.worker.options import Options
from rota.worker.pulse import Listen
from rota.worker.remote import Server
from rota.worker.runtime import Worker
from rota.worker.stopping import until_stopped
from tests.figures.tasks_figures import app

WAIT_S = 20.0


class NodeDesk(LocalDesk):
    """The desk of those who wait at a node."""

    def __init__(self, engine: Engine, waiting: Waiting) -> None:
        super().__init__(engine)
        self.waiting = waiting

    async def claim(self, want: Want) -> Taken:
        return await self.waiting.claim(want, _still, WAIT_S)

    def listen(self, topics: Sequence[str]) -> "Ear":
        return Ear(self.waiting, topics[0].removeprefix("session:") if topics[0].startswith("session:") else "")

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[tuple[Desk, Listen]]:
        yield self, self.listen


class Ear:
    """Who beats rests at the node until its session is named; who claims has waited there already."""

    def __init__(self, waiting: Waiting, session: str) -> None:
        self.waiting, self.session = waiting, session

    async def wait(self, seconds: float | None) -> Mapping[str, int]:
        if self.session:
            await self.waiting.rest(self.session, seconds or 0)
        return {}

    def wake(self) -> None:
        """A claim that waits is answered when its node closes."""

    def close(self) -> None:
        """Nothing is held."""


async def _still() -> bool:
    return True


async def main(place: str, sessions: int, slots: int) -> None:
    named = [Options(name=f"crew-{number}", slots=slots, thread=False) for number in range(sessions)]
    async with AsyncExitStack() as crew:
        if place.startswith("http"):
            there = at_address(Server(place, os.environ["ROTA_TOKEN"]))
            for options in named:
                await crew.enter_async_context(remote_worker(there, app.executors(), options, lambda _: None))
        else:
            await crew.enter_async_context(beside(place, named))
        await until_stopped(None)


@asynccontextmanager
async def beside(store: str, named: Sequence[Options]) -> AsyncIterator[None]:
    closed = asyncio.Event()
    async with opened(store) as engine:
        desk = NodeDesk(engine, Waiting(engine, closed))
        runtime = engine.clock, engine.chance, engine.emit
        workers = [Worker(desk, desk.listen, desk.connect, app.executors(), options, runtime) for options in named]
        for worker in workers:
            await worker.start()
        yield
        await asyncio.gather(*[worker.stop() for worker in workers])
        closed.set()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
