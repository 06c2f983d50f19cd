"""A cluster to simulate: hosts with the real engine, scheduler and worker, a network, and one store.

Each call of a host travels to the store and back, with seeded delays. On its way it can be refused, doubled, arrive
after its sender gave up, and its answer can be lost. Hosts can be cut off, stopped, blocked, crashed and started anew,
their wall clocks set. The store itself is the real one, in memory.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from rota.domain.errors import RotaError, Unavailable, Unclear
from rota.domain.facts import Fact, Trouble
from rota.domain.run import Run
from rota.engine.engine import Engine
from rota.ports.desk import Desk
from rota.ports.executor import Executor
from rota.ports.loops import at_once
from rota.ports.store import Hint, Store
from rota.scheduler.node import Scheduler
from rota.scheduler.options import Options as SchedulerOptions
from rota.sdk.gather import tell
from rota.stores.hub import Ear
from rota.stores.sql.store import SqlStore
from rota.testing.clock import START_AT, SeededChance
from rota.testing.simulation import LANE, OUTSIDE, HostClock, Lane, VirtualLoop, pass_time, within
from rota.worker.capture import Capture
from rota.worker.desks import LocalDesk
from rota.worker.options import Options as WorkerOptions
from rota.worker.pulse import Listen
from rota.worker.runtime import Worker

Call = tuple[str, tuple[Any, ...], tuple[tuple[str, Any], ...]]
"""A verb of the store and its arguments, positional and named."""
WRITES = ("commit", "claim", "beat", "lead")


@dataclass
class Weather:
    """Shares of calls that meet a fault, and how slow the network is."""

    refused: float = 0
    lost: float = 0
    """Applied, and the caller is told that nobody knows."""
    late: float = 0
    """The caller is told so at once, and then it is applied, up to `late_ms` later."""
    twice: float = 0
    deaf: float = 0
    """Share of hints that are lost."""
    delay_ms: int = 2
    """The longest way, one direction."""
    late_ms: int = 20_000


def _verb(name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def travel(self: "Wire", *args: Any, **named: Any) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.host.cluster.send(self.host, (name, args, tuple(named.items())), answer)
        return await answer

    return travel


class Wire:
    """A host's `Store`: the way to the one that all share."""

    shared = True
    get, find, count, due = _verb("get"), _verb("find"), _verb("count"), _verb("due")
    commit, claim, beat, lead = _verb("commit"), _verb("claim"), _verb("beat"), _verb("lead")

    def __init__(self, host: "Host") -> None:
        self.host = host
        self.logs = host.cluster.store.logs
        self.ears: list[Ear] = []

    @property
    def late(self) -> "Wire":
        return self

    async def open(self) -> None:
        """It is open."""

    async def close(self) -> None:
        """It stays open."""

    def watch(self, topics: Sequence[str]) -> Ear:
        self.ears.append(Ear(topics))
        return self.ears[-1]


class Host:
    """One process on a machine of its own, from its start to its end. `gone`: it has ended, in order or not."""

    def __init__(self, cluster: "Cluster", name: str) -> None:
        loop = cluster.loop
        self.cluster, self.name = cluster, name
        self.main = Lane()
        self.side = Lane(self.main)
        self.clock = HostClock(loop)
        self.wire = Wire(self)
        self.chance = SeededChance(loop.random.getrandbits(64))
        self.engine = Engine(self.wire, self.clock, self.chance, self._emit)
        self.cut = False
        self.disturbed_at = -1
        """When (loop ms) it was last stopped, cut or resumed."""
        self.trap: Callable[[], None] | None = None
        """What befalls it as soon as it has asked for its next claim or commit."""
        self.leaving, self.gone = asyncio.Event(), asyncio.Event()
        self._life: asyncio.Task[None] | None = None

    def run(self, node: Scheduler | Worker) -> None:
        """Begin its life as this node."""
        if isinstance(node, Worker):
            self.leaving = node.ended
        self._life = self.cluster.loop.create_task(self._lives(node), context=within(self.main))

    async def _lives(self, node: Scheduler | Worker) -> None:
        try:
            await node.start()
            await self.leaving.wait()
            await node.stop()
        except RotaError:
            pass  # it ends with an error, and whoever watches over it starts it anew
        self.gone.set()

    def _emit(self, fact: Fact) -> None:
        self.cluster.told[type(fact).__name__] += 1
        expected = isinstance(fact, Trouble) and fact.where in ("worker", "worker loop")  # of blocked loops it tells
        if isinstance(fact, Trouble) and not expected and not isinstance(fact.error, RotaError):
            self.cluster.loop.errors.append(f"{self.name}, {fact.where}: {fact.error!r}")

    def hear(self, hints: Mapping[str, int]) -> None:
        """Hints arrive."""
        for ear in self.wire.ears:
            ear.hear(hints)

    def stop(self, side: bool = True) -> None:
        """As by SIGSTOP; without `side` as by a task that blocks the main loop."""
        self.disturbed_at = self.cluster.loop.ms
        self.main.stop()
        if side:
            self.side.stop()

    def go_on(self) -> None:
        """As by SIGCONT."""
        self.disturbed_at = self.cluster.loop.ms
        for lane in (self.main, self.side):
            self.cluster.loop.go_on(lane)

    def crash(self) -> None:
        """As by kill -9."""
        self.stop()
        self.wire.ears.clear()
        self.gone.set()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Store]:
        """For a leader's side."""
        LANE.set(self.side)
        yield self.wire

    @asynccontextmanager
    async def connect_desk(self) -> AsyncIterator[tuple[Desk, Listen]]:
        """For a worker's side."""
        LANE.set(self.side)
        yield LocalDesk(self.engine), self.wire.watch


class Cluster:
    """Hosts, and the store between them. `witness(host, verb, args, answer)` sees each call when it happens."""

    def __init__(self, loop: VirtualLoop, witness: Callable[[Host, str, tuple[Any, ...], Any], None]) -> None:
        self.loop, self.witness = loop, witness
        self.weather = Weather()
        self.skew = 0
        """How far off (ms) the wall clock of the store is."""
        self.store = SqlStore("sqlite://", inline=True, now=lambda: START_AT + loop.ms + self.skew)
        self.hosts: list[Host] = []
        self.down = self.over = False
        self.told: Counter[str] = Counter()
        """Facts and faults that there were, by name."""
        self.trace = blake2b(digest_size=8)
        self._known: dict[type, dict[Any, Any]] = {}
        at_once(self.store.open())

    def host(self, name: str) -> Host:
        """A new process; there may have been others of that name."""
        self.hosts.append(Host(self, name))
        return self.hosts[-1]

    def scheduler(self, options: SchedulerOptions) -> Host:
        """A scheduler node, started."""
        host = self.host(options.name)
        host.run(Scheduler(host.engine, host.connect, options))
        return host

    def worker(self, options: WorkerOptions, executors: Callable[[Host], Mapping[str, Executor]]) -> Host:
        """A worker, started."""
        host = self.host(options.name)
        runtime = (host.clock, host.chance, host.engine.emit)
        desk = LocalDesk(host.engine)
        host.run(Worker(desk, host.wire.watch, host.connect_desk, executors(host), options, runtime))
        return host

    def alive(self, start: str = "") -> list[Host]:
        """Hosts that have not ended, whose names begin so."""
        return [host for host in self.hosts if not host.gone.is_set() and host.name.startswith(start)]

    async def end(self) -> None:
        """Let everything go, so that the loop can be closed."""
        self.over = True
        for host in self.hosts:
            host.go_on()
        await pass_time(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await pass_time(60_000)
        while Capture._users:  # a worker that crashed has not put the streams back
            Capture.stop()
        at_once(self.store.close())

    def send(self, host: Host, call: Call, answer: "asyncio.Future[Any]") -> None:
        """Let a call travel, with the faults of the weather."""
        if self.over:
            answer.set_exception(Unavailable("the simulation is over"))
            return
        if host.trap and call[0] in ("claim", "commit"):
            host.trap()
            host.trap = None
        fault, writes = self._fault(call[0] in WRITES), call[0] in WRITES

        def arrive(replies: bool) -> None:
            if fault == "refused" or host.cut or self.down:
                self._later(tell, answer, Unavailable("planned fault: the store cannot be reached"))
            else:
                outcome = self._serve(host, *call)
                if replies:
                    self._later(reply, outcome)

        def reply(outcome: Any) -> None:
            if fault == "lost" or host.cut or self.down:
                outcome = (Unclear if writes else Unavailable)("planned fault: the reply was lost")
            tell(answer, outcome)

        if fault == "late":
            self._later(tell, answer, Unclear("planned fault: no answer in time"))
            self._later(arrive, False, within_ms=self.weather.late_ms)
            return
        for _ in range(1 + (fault == "twice")):
            self._later(arrive, True)

    def _fault(self, writes: bool) -> str:
        draw = self.loop.random.random()
        for fault in ("refused", "lost", "late", "twice") if writes else ("refused", "lost"):
            draw -= getattr(self.weather, fault)
            if draw < 0:
                self.told[fault] += 1
                return fault
        return ""

    def _later(self, call: Callable[..., None], *args: Any, within_ms: int | None = None) -> None:
        ms = 1 + self.loop.random.randrange(self.weather.delay_ms if within_ms is None else within_ms)
        self.loop.call_later(ms / 1000, call, *args, context=OUTSIDE)

    def _serve(self, host: Host, verb: str, args: tuple[Any, ...], named: tuple[tuple[str, Any], ...]) -> Any:
        """What the store says now, an error as a value."""
        self.trace.update(f"{self.loop.ms} {host.name} {verb}".encode())
        if verb in ("find", "count"):
            known = self._known.setdefault(args[0], {})
            if (verb, args, named) not in known:
                known[verb, args, named] = self._asked(verb, args, named)
            return known[verb, args, named]
        answer = self._asked(verb, args, named)
        if verb in WRITES:
            self._forget(verb, args)
            self.witness(host, verb, args, answer)
            if verb == "commit" and not isinstance(answer, RotaError):
                self._tell(*args[2:])
        return answer

    def _asked(self, verb: str, args: tuple[Any, ...], named: tuple[tuple[str, Any], ...]) -> Any:
        try:
            return at_once(getattr(self.store, verb)(*args, **dict(named)))
        except RotaError as error:
            return error

    def _forget(self, verb: str, args: tuple[Any, ...]) -> None:
        """What was found before a write of the kind; finding is the dearest call, and most find the same again."""
        if verb == "claim":
            self._known.pop(Run, None)
        for group in args[0] if verb == "commit" else ():
            for was, now in group.changes:
                self._known.pop(type(now if was is None else was.record), None)

    def _tell(self, hints: Sequence[Hint] = ()) -> None:
        counts = {hint.topic: hint.count for hint in hints}
        for host in self.alive() if counts else ():
            if self.loop.random.random() >= self.weather.deaf and not host.cut:
                self._later(host.hear, counts, within_ms=self.weather.delay_ms * 10)
