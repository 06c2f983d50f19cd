"""A house for workers: a real engine on a store in memory that can fail, and desks that can be watched and held up."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from rota.domain.facts import Fact, ReportsRefused, RunsSettled, Trouble
from rota.domain.records import Session
from rota.domain.retry import Retry
from rota.domain.run import TERMINAL, End, Outcome, Run
from rota.domain.task import Task
from rota.engine.admit import ripen
from rota.engine.control import cancel, place_queue
from rota.engine.define import create_task
from rota.engine.engine import Engine
from rota.engine.settle import settle
from rota.engine.submit import Order, submit
from rota.executors.python import PythonExecutor
from rota.ports.desk import Desk, Settlement
from rota.ports.executor import Executor, Handler
from rota.ports.store import Hint, Term, Want, Watch
from rota.sdk.signature import Signature
from rota.stores import connect
from rota.testing.faults import NO_FAULT, Fault, FaultyStore, Plan
from rota.testing.recorder import Recorder
from rota.wiring import SystemChance, SystemClock
from rota.worker.desks import LocalDesk
from rota.worker.options import Options
from rota.worker.runtime import Worker
from tests.services.turns import breathe

T = TypeVar("T")

PATIENCE = 20
LONG_MS = 600_000
AT_ONCE = Retry(retries=3, delay_ms=0, jitter=0)
"""Failed runs are due again at once; a run so becomes `retrying`, and what its attempt reported stands there."""
QUIET = Options(beat_ms=LONG_MS, scan_ms=LONG_MS, report_ms=LONG_MS, thread=False)
"""A worker that does nothing by itself, only when something happens."""


class Time(SystemClock):
    """The machine's clocks, both faces of which can be moved on."""

    def __init__(self) -> None:
        self.wall = self.steady = 0

    def now(self) -> int:
        return super().now() + self.wall

    def monotonic(self) -> int:
        return super().monotonic() + self.steady

    def pass_by(self, ms: int) -> None:
        self.wall += ms
        self.steady += ms


class Bell:
    """Rings whenever something happened that a test may wait for; from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self.rings = 0

    def ring(self) -> None:
        self.rings += 1
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    async def until(self, condition: Callable[[], T]) -> T:
        """What `condition` gives once it is true."""
        async with asyncio.timeout(PATIENCE):
            while not (found := condition()):
                await self._event.wait()
                self._event.clear()
                await breathe()
        return found


class WatchedDesk:
    """A desk whose calls are noted, and can be held up or refused."""

    def __init__(self, desk: Desk, bell: Bell) -> None:
        self._desk = desk
        self._bell = bell
        self.calls: list[tuple[str, Any]] = []
        self.answers: Counter[str] = Counter()
        self.gates: dict[str, asyncio.Event] = {}
        self.errors: dict[str, list[Exception]] = {}

    def hold(self, verb: str) -> asyncio.Event:
        """Answers of this verb wait until the event is set."""
        self.gates[verb] = asyncio.Event()
        return self.gates[verb]

    def of(self, verb: str) -> list[Any]:
        return [what for said, what in self.calls if said == verb]

    async def _call(self, verb: str, what: Any, *args: Any) -> Any:
        self.calls.append((verb, what))
        self._bell.ring()
        if self.errors.get(verb):
            raise self.errors[verb].pop(0)
        answer = await getattr(self._desk, verb)(*args)
        if verb in self.gates:
            await self.gates[verb].wait()
        self.answers[verb] += 1
        self._bell.ring()
        return answer

    async def enter(self, session):
        return await self._call("enter", session, session)

    async def leave(self, session, reason):
        return await self._call("leave", reason, session, reason)

    async def claim(self, want):
        return await self._call("claim", want, want)

    async def beat(self, session, load=None):
        return await self._call("beat", session, session, load)

    async def held(self, session):
        return await self._call("held", session, session)

    async def given(self, session, runs):
        return await self._call("given", runs, session, runs)

    async def report(self, progress, lines):
        return await self._call("report", (list(progress), list(lines)), progress, lines)

    async def settle(self, settlements):
        return await self._call("settle", list(settlements), settlements)


class House:
    """Tasks, runs and workers of a test."""

    def __init__(self, store: FaultyStore, time: Time) -> None:
        self.store = store
        self.time = time
        self.bell = Bell()
        self.facts = Recorder()
        self.engine = Engine(store, time, SystemChance(), self._emit)
        self.handlers: dict[str, Handler] = {}
        self.desks: dict[Worker, WatchedDesk] = {}
        self.gates: list[Gate] = []

    def _emit(self, fact: Fact) -> None:
        self.facts(fact)
        self.bell.ring()

    async def task(self, function: Callable[..., Any] | None, name: str = "", **fields: Any) -> str:
        """Define a task, known to the workers unless it has no function."""
        made = replace(Task("main", name or function.__name__, retry=AT_ONCE), **fields)  # type: ignore[union-attr]  # one of both is given
        await create_task(self.engine, made, [], "test")
        if function:
            self.handlers[made.name] = Signature(function)
        return made.name

    async def submit(self, name: str, **order: Any) -> str:
        return (await self.submit_many(name, 1, **order))[0]

    async def submit_many(self, name: str, number: int, **order: Any) -> list[str]:
        return [one.id for one in await submit(self.engine, [Order(name, **order)] * number)]

    async def begun(self, function: Callable[..., Any], **fields: Any) -> str:
        """Define a task and submit one run of it."""
        return await self.submit(await self.task(function, **fields))

    async def worker(self, made: Mapping[str, Executor] | None = None, **options: Any) -> Worker:
        """A worker that has begun to work."""
        executors, engine = made or {"python": PythonExecutor(self.handlers)}, self.engine
        desk: Any = WatchedDesk(LocalDesk(engine), self.bell)

        @asynccontextmanager
        async def connected() -> AsyncIterator[tuple[Desk, Callable[[Sequence[str]], Watch]]]:
            yield desk, engine.store.watch

        runtime = (self.time, SystemChance(), self._emit)
        settings = replace(QUIET, **options)
        worker = Worker(desk, engine.store.watch, connected, executors, settings, runtime)
        self.desks[worker] = desk
        await worker.start()
        return worker

    async def until(self, condition: Callable[[], T]) -> T:
        return await self.bell.until(condition)

    async def run(self, run_id: str) -> Run:
        found = (await self.engine.store.get(Run, [run_id]))[0]
        assert found
        return found.record

    def settlements(self, run_id: str) -> list[Run]:
        """The run as after each of its settles."""
        return [run for fact in self.facts.of(RunsSettled) for run in fact.runs if run.id == run_id]

    async def all_ended(self, runs: Sequence[str]) -> list[Run]:
        """The runs at their ends, as the store has them: facts may be lost with a reply."""
        while True:
            rings = self.bell.rings
            found = [await self.run(one) for one in runs]
            if all(run.state in TERMINAL for run in found):
                return found
            await self.until(lambda: self.bell.rings > rings)  # noqa: B023  # awaited here

    async def settled(self, run_id: str, times: int = 1) -> Run:
        """The run as after its first settle, or a later one."""
        return (await self.until(lambda: self.settlements(run_id)[times - 1 :]))[0]

    async def all_settled(self, runs: Sequence[str]) -> list[Run]:
        return [await self.settled(one) for one in runs]

    def troubles(self, where: str) -> list[BaseException]:
        return [fact.error for fact in self.facts.of(Trouble) if fact.where == where]

    def refused(self) -> list[str]:
        return [run for fact in self.facts.of(ReportsRefused) for run in fact.runs]

    async def cancel(self, run_id: str) -> str:
        return await cancel(self.engine, run_id, "somebody")

    async def idle(self, worker: Worker) -> None:
        """Until it has asked for work once; then it waits for a hint."""
        await self.until(lambda: self.desks[worker].answers["claim"])

    async def beat(self, worker: Worker, times: int = 1) -> None:
        """Have a worker beat, and hear the answer."""
        answers = self.desks[worker].answers
        for number in range(answers["beat"] + 1, answers["beat"] + times + 1):
            await self.hint(f"session:{worker.session}")
            await self.until(partial(_reached, answers, number))

    async def place(self, worker: Worker, task: str, number: int) -> list[str]:
        """Runs claimed for a worker that does not know of them, as a leader does it; without a hint."""
        await place_queue(self.engine, "main", "default", "round_robin", "somebody")
        runs = await self.submit_many(task, number)
        await self.claim_for(worker, runs)
        return runs

    async def claim_for(self, worker: Worker, runs: list[str]) -> None:
        want = Want(worker.session, "worker", self.bell.rings, len(runs), runs=tuple(runs))
        (claimed,) = await self.store.claim([want], self.time.now())
        assert len(claimed.runs) == len(runs)

    async def take_back(self, run_id: str) -> None:
        """As a leader does with a run whose session ended."""
        run = await self.run(run_id)
        await settle(self.engine, [Settlement(run.fence, Outcome(End.LOST, reason="its session ended"))])

    async def ripen(self) -> None:
        """What is due becomes ready, as a leader does it."""
        lead = await self.engine.store.lead("scheduler", "test", LONG_MS)
        await ripen(self.engine, Term("scheduler", lead.number))

    async def hint(self, topic: str) -> None:
        """As whoever commits gives one."""
        await self.engine.store.commit([], None, [Hint(topic)])

    async def session(self, worker: Worker) -> Session:
        found = (await self.engine.store.get(Session, [worker.session]))[0]
        assert found
        return found.record

    def gate(self) -> "Gate":
        self.gates.append(Gate(self.bell))
        return self.gates[-1]

    async def close(self) -> None:
        for gate in self.gates:
            gate.open()
        self.store.plan, self.store.down = lambda _: NO_FAULT, False
        for worker in self.desks:
            await worker.stop()
        await self.store.close()


def _reached(answers: Counter[str], number: int) -> bool:
    return answers["beat"] >= number


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    store = FaultyStore(connect("sqlite://"))
    await store.open()
    made = House(store, Time())
    yield made
    await made.close()


def once(verb: str, fault: Fault, times: int = 1) -> Plan:
    """The plan in which a fault befalls the next writes of a verb."""
    left = [fault] * times
    return lambda call: left.pop() if left and call.verb == verb else NO_FAULT


class Gate:
    """Where async tasks of a test wait, and say that they do."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._open = asyncio.Event()
        self.inside = 0
        self.most = 0

    def open(self) -> None:
        self._open.set()

    async def __call__(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self._bell.ring()
        try:
            await self._open.wait()
        finally:
            self.inside -= 1
            self._bell.ring()

    async def holds(self, number: int) -> None:
        """Until so many tasks wait here."""
        await self._bell.until(partial(self._is, number))

    def _is(self, number: int) -> bool:
        return self.inside == number
