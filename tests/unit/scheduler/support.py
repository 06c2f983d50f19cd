"""Nodes on one store in memory, whose clock moves when told to, and whose answers get lost when told to."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

from rota.domain.facts import Fact, LeaderChanged, Trouble
from rota.engine.engine import Engine
from rota.ports.store import Hint, Store
from rota.scheduler.leader import Leader
from rota.scheduler.node import Scheduler
from rota.scheduler.options import Options
from rota.stores.sql.store import SqlStore
from rota.testing.clock import MovableClock, SeededChance
from rota.testing.faults import Call, Fault, FaultyStore
from rota.testing.recorder import Recorder
from tests.services.turns import breathe

T = TypeVar("T")

PATIENCE = 20
LONG_MS = 600_000
TTL_MS = 10_000
QUIET = Options(ttl_ms=TTL_MS, renew_ms=LONG_MS, scan_ms=LONG_MS, prune_ms=LONG_MS, thread=False)
"""A node that does nothing by itself, only when hinted at."""


class Court:
    """A store, its clock, and those who strive for its term."""

    def __init__(self) -> None:
        self.clock = MovableClock()
        self.behind = SqlStore("sqlite://", now=self.clock.now)
        self.store = FaultyStore(self.behind)
        self.facts = Recorder()
        self.leaders: list[Leader] = []
        self.nodes: list[Scheduler] = []
        self.changes = 0
        self.rings = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.store.plan = self.healthy

    def ring(self) -> None:
        self.loop.call_soon_threadsafe(self.rings.set)

    def healthy(self, _: Call) -> Fault:
        """The plan in which writes only ring."""
        return Fault("none", after=self.ring)

    def fail(self, verb: str, fault: Fault, times: int = 1) -> None:
        """A fault befalls the next writes of a verb."""
        left = [fault] * times
        self.store.plan = lambda call: left.pop() if left and call.verb == verb else self.healthy(call)

    def emit(self, fact: Fact) -> None:
        self.facts(fact)
        self.ring()

    def changed(self) -> None:
        self.changes += 1
        self.ring()

    async def until(self, condition: Callable[[], T]) -> T:
        """What `condition` gives once it is true; looked at whenever something was told or written."""
        async with asyncio.timeout(PATIENCE):
            while not (found := condition()):
                await self.rings.wait()
                self.rings.clear()
                await breathe()
        return found

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Store]:
        yield self.store

    async def leader(self, holder: str, thread: bool = False, renew_ms: int = LONG_MS) -> Leader:
        """One that has begun to strive."""
        made = Leader(holder, (TTL_MS, renew_ms), self.connect, self.clock, self.emit, self.changed)
        self.leaders.append(made)
        await made.start(thread)
        return made

    def engine(self) -> Engine:
        return Engine(self.store, self.clock, SeededChance(len(self.nodes)), self.emit)

    async def node(self, name: str = "node", **options: Any) -> Scheduler:
        """A node that has begun."""
        made = Scheduler(self.engine(), self.connect, replace(QUIET, name=name, **options))
        self.nodes.append(made)
        await made.start()
        return made

    async def leading(self, one: Leader | Scheduler) -> int:
        """Until it leads; its term's number."""
        leader = one.leader if isinstance(one, Scheduler) else one
        term = await self.until(lambda: leader.term)
        assert term
        return term.number

    async def strive(self) -> None:
        """Have all ask for the term now."""
        changes = self.changes
        await self.hint("lead")
        await self.until(lambda: self.changes > changes or not self.leaders)

    async def hint(self, *topics: str) -> None:
        """Past all faults."""
        await self.behind.commit([], None, [Hint(topic) for topic in topics])

    async def pass_by(self, ms: int, node: Scheduler) -> None:
        """Time passes, the node renews its term, and all its duties look."""
        self.clock.advance(ms)
        leads = self.leads
        await self.hint("lead")
        await self.until(lambda: self.leads > leads and node.leader.term)
        await breathe()
        await self.hint("schedules", "due", "gate", "sessions")

    @property
    def leads(self) -> int:
        """How often somebody asked for the term."""
        return sum(call.verb == "lead" for call in self.store.calls)

    def told(self) -> list[tuple[str, int, bool]]:
        return [(fact.holder, fact.term, fact.leading) for fact in self.facts.of(LeaderChanged)]

    def troubles(self, where: str) -> list[BaseException]:
        return [fact.error for fact in self.facts.of(Trouble) if fact.where == where]

    async def close(self) -> None:
        self.store.plan, self.store.down = self.healthy, False
        for node in self.nodes:
            await node.stop()
        for leader in self.leaders:
            await leader.stop()
        await self.store.close()


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}
