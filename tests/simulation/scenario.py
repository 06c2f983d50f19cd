"""One seed, one scenario: how large, how fast, which faults; what clients do; what must hold in the end."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import msgspec

from rota.domain.errors import RotaError, StoreError, Unclear
from rota.domain.records import DISPATCH, PULL, Blob, Queue, Session
from rota.domain.retry import Retry
from rota.domain.run import SUCCESS, TERMINAL, End, Outcome, Run, State
from rota.domain.schedule import CatchUp, Overlap, Policy, Schedule
from rota.domain.task import Clocks, OnLost, Task
from rota.domain.triggers import Interval
from rota.engine import control, define
from rota.engine.account import REPORT, Report
from rota.engine.engine import every
from rota.engine.submit import Order, submit
from rota.ports.desk import Assignment
from rota.ports.executor import Context
from rota.scheduler.options import Options as SchedulerOptions
from rota.testing.clock import START_AT
from rota.testing.simulation import Stuck, VirtualLoop, pass_time, simulate
from rota.testing.simulation_cluster import Cluster, Host, Weather
from rota.worker.options import Options as WorkerOptions
from tests.simulation.witness import Witness

T = TypeVar("T")

FAULTS = ("crash", "freeze", "block", "cut", "outage", "skew", "leave")
ACTS = {"ok": 60, "fail": 14, "final": 4, "snooze": 6, "back": 4, "hang": 6, "deaf": 6}
OPS = {"order": 24, "cancel": 5, "retry": 2, "trigger": 2, "hold": 2, "retime": 3, "pause": 2, "resize": 1, "drain": 1}


class Verdict(NamedTuple):
    seed: int
    trace: str
    wrong: list[str]
    seen: Counter[str]


class Player:
    """An executor whose tasks do what tasks do."""

    kind = "python"

    def __init__(self, play: "Play", host: Host) -> None:
        self._play, self._host = play, host

    async def run(self, assignment: Assignment, context: Context) -> Outcome:
        play, run = self._play, assignment.run
        play.witness.started(self._host, run)
        act = "ok" if play.calm else play.draw(ACTS)
        try:
            await pass_time(play.within(20, 60_000 if act == "hang" else play.random.choice((500, 3_000, 12_000))))
        except asyncio.CancelledError:
            if act == "deaf":
                await pass_time(play.within(1_000, 30_000))
            raise
        if act == "fail" and play.random.random() < 0.5:
            raise ValueError(act)
        delay_ms = play.within(100, 3_000)
        return {
            "fail": Outcome(End.FAILURE, reason="error", error="x", delay_ms=delay_ms),
            "final": Outcome(End.FAILURE, reason="error", error="y", final=True),
            "snooze": Outcome(End.SNOOZE, delay_ms=delay_ms),
            "back": Outcome(End.RETURNED, reason="not me"),
        }.get(act, SUCCESS._replace(result=json.dumps([run.id, run.attempt]).encode()))

    async def close(self) -> None:
        """Nothing to let go of."""


class Play:
    def __init__(self, loop: VirtualLoop, faults: Sequence[str]) -> None:
        self.loop, self.random = loop, loop.random
        self.witness = Witness()
        self.cluster = Cluster(loop, self.witness)
        self.client = self.cluster.host("client")
        self.engine = self.client.engine
        self.scale = self.random.choice((1, 1, 4, 30))
        self.calm = False
        self.calls = 0
        drawn = self.random.sample(FAULTS, self.random.randrange(5))
        self.faults = list(faults) or drawn
        self.going: dict[asyncio.Future[None], None] = {}
        self.ops: dict[asyncio.Future[None], None] = {}
        self.acked: set[str] = set()
        self.keyed: dict[str, str] = {}
        self.keepers: dict[asyncio.Future[None], None] = {}

    def within(self, least: int, most: int) -> int:
        return self.random.randint(least, most) * self.scale

    def draw(self, shares: dict[str, int]) -> str:
        return self.random.choices(list(shares), list(shares.values()))[0]

    def begin(self, call: Awaitable[None], among: dict[asyncio.Future[None], None]) -> None:
        among[task := asyncio.ensure_future(call)] = None
        task.add_done_callback(among.pop)

    # The cluster

    def weather(self) -> Weather:
        """A slow network in most seeds; in half of them calls meet one fault, or a mixture of all."""
        weather = Weather(delay_ms=self.random.choice((2, 50, self.within(100, 600), self.within(100, 1_200))))
        weather.deaf, weather.late_ms = self.random.choice((0, 0, 0.3, 1)), 10_000 * self.scale
        share = self.random.choice((0, 0, 0.01, 0.05, 0.15))
        names = ["refused", "lost", "late", "twice"]
        for name in names if self.random.random() < 0.5 else self.random.sample(names, 1):
            setattr(weather, name, share * self.random.random())
        return weather

    def scheduler(self, name: str) -> Host:
        ms = self.scale * 1_000
        options = SchedulerOptions(name, 5 * ms, ms, 4 * ms, 60 * ms, 5 * ms, thread=False)
        return self.skewed(self.cluster.scheduler(options))

    def worker(self, name: str) -> Host:
        ms = self.scale * 1_000
        options = WorkerOptions(name, slots=self.random.randint(1, 4), beat_ms=ms, ttl_ms=5 * ms, scan_ms=4 * ms)
        options = replace(options, report_ms=ms, drain_ms=5 * ms, grace_ms=5 * ms, thread=False)
        return self.skewed(self.cluster.worker(options, lambda host: {"python": Player(self, host)}))

    def skewed(self, host: Host) -> Host:
        if "skew" in self.faults and not self.calm:
            host.clock.skew = self.within(-8_000, 8_000)
        return host

    async def watch_over(self, start: Callable[[str], Host], name: str) -> None:
        while True:
            await start(name).gone.wait()
            self.cluster.told["restarts"] += 1
            await pass_time(1 if self.calm else self.within(1, 15_000))

    async def nemesis(self) -> None:
        while self.faults:
            await pass_time(self.within(100, 5_000))
            fault = self.random.choice(self.faults)
            host = self.random.choice(
                self.cluster.alive() if fault == "cut" else self.cluster.alive()[1:] or [self.client]
            )
            self.cluster.told[fault] += 1
            if fault == "outage":
                self.cluster.down = True
            elif fault == "skew":
                host.clock.skew = self.within(-8_000, 8_000)
                self.cluster.skew = self.within(-8_000, 8_000) if self.random.random() < 0.3 else 0
            elif host is not self.client or fault == "cut":
                strike = partial(self.strike, fault, host)
                if self.random.random() < 0.3:
                    strike()
                else:
                    host.trap = strike
            self.begin(self.heal(fault, host, self.within(100, self.random.choice((3_000, 20_000)))), self.going)

    def strike(self, fault: str, host: Host) -> None:
        if fault == "cut":
            host.cut, host.disturbed_at = True, self.loop.ms
        elif fault == "crash":
            host.crash()
        elif fault == "leave":
            host.leaving.set()
        else:
            host.stop(side=fault == "freeze")

    async def heal(self, fault: str, host: Host, after_ms: int) -> None:
        await pass_time(after_ms)
        host.trap = None
        if fault == "outage":
            self.cluster.down = False
        elif fault == "cut":
            host.cut, host.disturbed_at = False, self.loop.ms
        elif fault in ("freeze", "block") and host in self.cluster.alive():
            host.go_on()

    # Clients

    async def sure(self, call: Callable[[], Awaitable[T]]) -> T:
        """Asked again until there is an answer."""
        while True:
            try:
                return await call()
            except (StoreError, Unclear):
                await pass_time(self.within(50, 500))

    async def prepare(self) -> None:
        ms = self.scale * 1_000
        retry = Retry(self.random.randint(0, 3), ms, cap_ms=5 * ms)
        tasks = [
            Task("main", "plain", retry=retry, clocks=Clocks(attempt_ms=15 * ms)),
            Task("main", "once", retry=Retry(0), on_lost=OnLost.FAIL, clocks=Clocks(attempt_ms=None)),
            Task("main", "free", retry=retry, clocks=Clocks(attempt_ms=None, silence_ms=20 * ms)),
            Task("main", "tight", retry=retry, clocks=Clocks(20 * ms, 10 * ms, 60 * ms)),
        ]
        for task in tasks:
            await define.create_task(self.engine, task, [], "people")
        for number in range(self.random.randint(1, 3)):
            policy = Policy(
                self.random.choice(list(CatchUp)),
                max_runs=self.random.randint(1, 5),
                start_deadline_ms=self.random.choice((None, None, 20 * ms)),
                overlap=self.random.choice(list(Overlap)),
            )
            trigger = Interval(self.within(3_000, 20_000), anchor_at=START_AT)
            schedule = Schedule("main", f"clock-{number}", self.random.choice(tasks).name, trigger, policy=policy)
            await define.create_schedule(self.engine, schedule, "people")
        await self.place()

    async def place(self) -> None:
        strategy = self.random.choice((PULL, PULL, PULL, PULL, *DISPATCH))
        await self.attempt(control.place_queue(self.engine, "main", "default", strategy, "people"))

    async def clients(self) -> None:
        for _ in range(self.random.randint(8, 24)):
            await pass_time(self.within(1, 3_000))
            self.begin(getattr(self, self.draw(OPS))(), self.ops)

    async def order(self) -> None:
        self.calls += 1
        key = self.random.choice((None, f"key-{self.calls}", f"key-{self.calls // 2}"))
        due_at = self.engine.clock.now() + self.within(1, 9_000) if self.random.random() < 0.3 else None
        task = self.random.choice(("plain", "once", "free", "tight"))
        unique = self.random.choice((None, None, None, "one", "two"))
        order = Order(task, payload=b"{}", due_at=due_at, key=key, unique=unique, priority=self.random.randint(0, 3))
        try:
            receipts = await (
                submit(self.engine, [order]) if key is None else self.sure(lambda: submit(self.engine, [order]))
            )
        except RotaError:
            return
        for receipt in receipts:
            self.witness.check(receipt.id in self.witness.runs, f"run {receipt.id} was acknowledged and is not there")
            self.acked.add(receipt.id)
            if key:
                known = self.keyed.setdefault(key, receipt.id)
                self.witness.check(known == receipt.id, f"{key} led to runs {known} and {receipt.id}")

    async def attempt(self, call: Awaitable[Any]) -> Any:
        try:
            return await call
        except RotaError:
            return None

    def any_run(self) -> str:
        return self.random.choice([*self.witness.runs, "none"])

    async def cancel(self) -> None:
        run = self.any_run()
        if await self.attempt(control.cancel(self.engine, run, "people")) == "cancelled":
            self.witness.check(self.witness.runs[run].state is State.CANCELLED, f"run {run} was not cancelled")
            self.witness.cancelled.setdefault(run, self.loop.ms)

    async def retry(self) -> None:
        await self.attempt(control.retry(self.engine, self.any_run(), "people"))

    async def trigger(self) -> None:
        await self.attempt(control.trigger(self.engine, Order("plain", schedule="clock-0"), "people", overlap=True))

    async def hold(self) -> None:
        await self.attempt(control.pause_queue(self.engine, "main", "default", "why", "people"))
        await pass_time(self.within(1, 6_000))
        await self.sure(lambda: self.attempt(control.resume_queue(self.engine, "main", "default", "people")))
        await self.place()

    async def retime(self) -> None:
        trigger = Interval(self.within(3_000, 20_000), anchor_at=START_AT)
        await self.attempt(define.update_schedule(self.engine, "main/clock-0", {"trigger": trigger}, "people"))

    async def pause(self) -> None:
        await self.attempt(define.pause_schedule(self.engine, "main/clock-0", "why", "people"))
        await pass_time(self.within(1, 15_000))
        again = self.random.random() < 0.5
        await self.attempt(define.resume_schedule(self.engine, "main/clock-0", "people", again))

    def any_session(self) -> str:
        return self.random.choice([*self.witness.kept[Session], "none"])

    async def resize(self) -> None:
        await self.attempt(control.resize(self.engine, self.any_session(), self.random.randint(1, 4), "people"))

    async def drain(self) -> None:
        await self.attempt(control.drain(self.engine, self.any_session(), "people"))

    # The end

    def heal_all(self) -> None:
        self.calm, self.faults = True, []
        for task in self.going:
            task.cancel()
        self.cluster.weather = Weather(deaf=self.cluster.weather.deaf)
        self.cluster.down, self.cluster.skew = False, 0
        for host in self.cluster.hosts:
            host.cut, host.clock.skew, host.trap = False, 0, None
            if not host.gone.is_set():
                host.go_on()

    def unsettled(self) -> str:
        live = [run for run in self.witness.runs.values() if run.state not in TERMINAL]
        if live or self.ops:
            return f"{len(self.ops)} calls without an answer, {len(live)} runs not over, such as {live[:1]}"
        open_sessions = sum(session.open for session in self.witness.kept[Session].values())
        workers = len(self.cluster.alive("worker"))
        return "" if open_sessions <= workers else f"{open_sessions} open sessions of {workers} workers"

    async def settle(self) -> None:
        """All that was begun ends, within a time that the timeouts, delays and leases allow."""
        late_ms = self.cluster.weather.late_ms
        self.heal_all()
        await pass_time(late_ms)  # a pause whose answer was lost may come only now
        while self.ops:
            await asyncio.wait(self.ops, timeout=10)
        for name in list(self.witness.kept[Schedule]):
            await self.sure(partial(define.pause_schedule, self.engine, name, "end", "people"))
        if self.witness.kept[Queue]:
            await self.sure(lambda: control.resume_queue(self.engine, "main", "default", "people"))
        await self.until(lambda: not self.unsettled(), 1_500)
        self.witness.check(not self.unsettled(), f"did not settle: {self.unsettled()}")
        settled_at = self.engine.clock.now()
        await self.until(lambda: self.account.at > settled_at, 60)
        self.witness.check(self.account.at > settled_at and not self.account.unaccounted, f"the end: {self.account}")

    async def until(self, condition: Callable[[], bool], most: int) -> None:
        for _ in range(most):
            if condition():
                return
            await pass_time(1_000 * self.scale)

    @property
    def account(self) -> Report:
        blob = self.witness.kept[Blob].get(REPORT)
        return msgspec.json.decode(blob.data, type=Report) if blob else Report(0, 0)

    async def judge(self) -> None:
        witness = self.witness
        kinds: tuple[Any, ...] = (Run, Schedule, Session)
        for kind in kinds:
            for _ in range(3):  # somebody may write between a look and the comparison, but not each time
                held = {one.record.id: one.record for one in await every(self.engine, kind)}
                if held == witness.kept[kind]:
                    break
            else:
                witness.check(False, f"the store does not hold the {kind.__name__}s that were written")
        witness.check(self.acked <= witness.runs.keys(), "what was acknowledged is lost")
        for run in witness.runs.values():
            if run.state is State.SUCCESS:
                told = json.loads(run.result or b"null")
                witness.check(told == [run.id, run.attempt], f"run {run.id}: attempt {run.attempt}, result of {told}")
        witness.wrong += self.loop.errors

    async def perform(self) -> None:
        await self.prepare()
        self.cluster.weather = self.weather()
        for role in (self.scheduler, self.worker):
            for number in range(self.random.choice((1, 2, 2, 3))):
                self.begin(self.watch_over(role, f"{role.__name__}-{number}"), self.keepers)
        self.begin(self.nemesis(), self.going)
        await self.clients()
        await self.settle()
        await self.judge()


async def perform(loop: VirtualLoop, faults: Sequence[str]) -> tuple[str, list[str], Counter[str]]:
    play = Play(loop, faults)
    try:
        await play.perform()
    except Stuck as error:
        play.witness.wrong.append(str(error))
    play.cluster.trace.update(repr(loop.random.random()).encode())
    seen = play.witness.seen + play.cluster.told
    seen["virtual seconds"], seen["turns"] = loop.ms // 1000, loop.turns
    wrong = list(play.witness.wrong)
    await play.cluster.end()
    return play.cluster.trace.hexdigest(), wrong, seen


def verdict(seed: int, faults: Sequence[str] = ()) -> Verdict:
    """`faults` befall it instead of those that the seed draws."""
    return Verdict(seed, *simulate(seed, partial(perform, faults=faults)))
