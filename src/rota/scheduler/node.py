"""One scheduler node: it strives for the term and does the duties while it has it."""

import asyncio

from rota.domain.ids import timed_id
from rota.engine.engine import Engine
from rota.ports.loops import end
from rota.scheduler.dispatch import Deliver
from rota.scheduler.duties import duties, perform
from rota.scheduler.leader import Connect, Leader
from rota.scheduler.options import Options


class Scheduler:
    """Start and stop a node. Its holder id is minted for this life, so that two nodes can never share a term."""

    def __init__(self, engine: Engine, connect: Connect, options: Options, deliver: Deliver | None = None) -> None:
        self._engine = engine
        self._deliver = deliver
        self._options = options
        self._leading = asyncio.Event()
        chance = engine.chance.bits(80)
        self.holder = f"{options.name}:{timed_id(engine.clock.now(), chance)}"
        self.leader = Leader(
            self.holder,
            (options.ttl_ms, options.renew_ms),
            connect,
            engine.clock,
            engine.emit,
            self._leading.set,
        )
        self._loops: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to strive and to do the duties."""
        await self.leader.start(self._options.thread)
        self._begin()

    async def adjust(self, options: Options) -> None:
        """Do the duties by other options from now on; those of the term stay as they are."""
        await end(*self._loops)
        self._options = options
        self._begin()

    def _begin(self) -> None:
        self._loops = [
            asyncio.create_task(perform(duty, self.leader, self._leading, self._engine), name=f"duty {duty.name}")
            for duty in duties(self._engine, self._options, self._deliver)
        ]

    async def stop(self) -> None:
        """End the duties, whatever their step, then resign: every step may be cut short, as by a crash."""
        await end(*self._loops)
        self._loops = []
        await self.leader.stop()
