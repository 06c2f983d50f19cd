"""The steps that are measured beside a history, each in the median of many and each with what it must bring."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

from rota.api.stats import Stats
from rota.domain.lane import lane
from rota.domain.run import LIVE, SUCCESS, TERMINAL, Run, State
from rota.domain.schedule import Schedule
from rota.domain.states import Verdict
from rota.engine import query
from rota.engine.account import Accountant, report
from rota.engine.admit import release, ripen
from rota.engine.claim import claim
from rota.engine.define import register
from rota.engine.engine import Engine, every
from rota.engine.explain import explain_run
from rota.engine.fire import fire
from rota.engine.prune import STEP, Retention, prune
from rota.engine.recover import recover
from rota.engine.sessions import enter
from rota.engine.settle import settle
from rota.engine.submit import Order, submit
from rota.ports.desk import Assignment, Settlement
from rota.ports.store import Term, Want, Where
from rota.testing.clock import MovableClock
from rota.testing.factories import make_session
from tests.figures.stage import check, spread
from tests.figures.tasks_figures import app

BATCH = 500
BACKLOG = 20_000
REPEATS = 25
PAGE = 50
FIRED = 200
"""Schedules that are due at once."""
EVERY_MS = 60_000
LONG_MS = 500_000
FOUND = {State.PENDING, State.SUCCESS, State.FAILED, State.CANCELLED}
OPENED = make_session(1, lanes=(lane("main", "default", "python"),))


class Wall(MovableClock):
    """The wall clock, ahead by what it was moved."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000 + self.monotonic()


class Turns(NamedTuple):
    """Two who measure the same step meet before it and behind it, and take turns in it."""

    meeting: asyncio.Barrier
    turn: asyncio.Lock


class Measure:
    """All steps, on a store that somebody fills meanwhile. `ended`: how many runs of history there should be."""

    def __init__(self, engine: Engine, clock: Wall, turns: Turns) -> None:
        self.engine, self.clock, self.turns = engine, clock, turns
        self.term = Term("", 0)
        self.ended = 0
        self.token = 0
        self.ms: dict[str, float] = {}

    async def prepare(self) -> None:
        """A backlog, a session that takes from it, a leader, and schedules."""
        await register(self.engine, app.name, app.registry.tasks, [])
        await enter(self.engine, OPENED)
        lead = await self.engine.store.lead("figures", "here", LONG_MS)
        self.term = Term("figures", lead.number)
        for _ in range(BACKLOG // BATCH):
            await submit(self.engine, [Order("tick")] * BATCH)
        await spread(self.engine, FIRED, EVERY_MS)

    async def all(self) -> None:
        """All steps, once the other one is there for each."""
        await self.engine.store.lead("figures", "here", LONG_MS)
        for size in (1, BATCH):
            await self._work(size)
        await self._lead()
        await self._list()
        await self._count()

    async def _time(self, name: str, step: Callable[[], Awaitable[Any]], repeats: int = REPEATS) -> list[Any]:
        """What the repetitions brought; their median goes into the book."""
        found, spent = [], []
        await self.turns.meeting.wait()
        for _ in range(repeats):
            async with self.turns.turn:
                began = time.perf_counter()
                found.append(await step())
                spent.append((time.perf_counter() - began) * 1_000)
        self.ms[name] = median(spent)
        await self.turns.meeting.wait()
        return found

    async def _work(self, size: int) -> None:
        """Runs that are submitted, claimed and settled, beside a backlog that stays as long as it is."""

        await self._time(f"submit {size}", lambda: submit(self.engine, [Order("tick")] * size))
        left = iter(await self._time(f"claim {size}", lambda: self._claim(size)))
        await self._time(f"settle {size}", lambda: self._settle(next(left)))

    async def _claim(self, size: int) -> Sequence[Assignment]:
        self.token += 1
        want = Want(OPENED.id, OPENED.worker, self.token, size, OPENED.lanes)
        taken = (await claim(self.engine, [want]))[0].assignments
        check(len(taken) == size, f"a claim of {size} brought {len(taken)}")
        return taken

    async def _settle(self, taken: Sequence[Assignment]) -> None:
        ends = [Settlement(one.run.fence, SUCCESS, one.held, one.task) for one in taken]
        check(set(await settle(self.engine, ends)) == {Verdict.FRESH}, "a settle did not count")
        self.ended += len(taken)

    async def _lead(self) -> None:
        """The duties of the leader."""

        async def fired() -> None:
            self.clock.advance(EVERY_MS)
            await fire(self.engine, self.term)

        before = await self._fired()
        await self._time(f"fire {FIRED}", fired)
        made, said = (now - then for now, then in zip(await self._fired(), before, strict=True))
        check(made == said >= FIRED * REPEATS, f"{made} runs fired, {said} occurrences")
        for start in range(0, made, BATCH):
            await self._settle(await self._claim(min(BATCH, made - start)))
        await self._time("ripen", lambda: ripen(self.engine, self.term))
        await self._time("release", lambda: release(self.engine, self.term))
        await self._time("recover", lambda: recover(self.engine, self.term))
        looks = await self._time("account", self._accounted, 5)
        check(not any(looks), f"unaccounted: {looks}")
        oldest = (await self.engine.store.find(Run, Where(), "", 5 * STEP, oldest=True)).items
        age_ms = self.clock.now() - (oldest[-1].record.ended_at or 0) - 1
        gone = await self._time("prune", lambda: prune(self.engine, Retention(runs_ms=age_ms), self.term), 5)
        self.ended -= sum(gone)
        check(0 < sum(gone) <= 5 * STEP, f"{gone} runs pruned")

    async def _fired(self) -> tuple[int, int]:
        """Pending runs, and how many their schedules say that they have fired."""
        pending = await self.engine.store.count(Run, "state", Where(states=(State.PENDING,)))
        return sum(pending.values()), sum(held.record.fired for held in await every(self.engine, Schedule))

    async def _accounted(self) -> int:
        accountant = Accountant(self.engine)
        while not await accountant.look(self.term):
            pass
        found = await report(self.engine)
        return (found and found.said(self.engine.clock.now())) or 0

    async def _list(self) -> None:
        """Each listing that there is: its first page, and one far behind."""
        now = self.clock.now()
        newest = (await self.engine.store.find(Run, Where(states=(State.FAILED,)), "", 500)).items
        some = next(one.record for one in newest if one.record.schedule)
        wheres = {
            "all": Where(),
            "in a namespace": Where("main"),
            **{str(state): Where("main", (state,)) for state in State},
            "live": Where("main", tuple(sorted(LIVE))),
            "ended": Where("main", tuple(sorted(TERMINAL))),
            "of a task": Where("main", task=some.task),
            "failed, of a task": Where("main", (State.FAILED,), some.task),
            "pending, of a task": Where("main", (State.PENDING,), "tick"),
            "of a queue": Where("main", queue=some.queue),
            "failed, of a queue": Where("main", (State.FAILED,), queue=some.queue),
            "of a schedule": Where("main", schedule=some.schedule),
            "failed, of a schedule": Where("main", (State.FAILED,), schedule=some.schedule),
            "of a session": Where("main", session=OPENED.id),
            "by id": Where("main", prefix=some.id[:10]),
            "of the last hour": Where("main", since=now - 3_600_000),
            "failed, of the last hour": Where("main", (State.FAILED,), since=now - 3_600_000),
        }
        for name, where in wheres.items():
            await self._page(f"list {name}", where)
        middle = (some.created_at + (await self._oldest()).created_at) // 2
        for name in ("all", "failed", "of a task", "of a schedule"):
            await self._page(f"list {name}, older half", wheres[name]._replace(until=middle))
        await self._time("get", lambda: query.run_detail(self.engine, some.id))
        await self._time("explain", lambda: explain_run(self.engine, some.id))

    async def _oldest(self) -> Run:
        return (await self.engine.store.find(Run, Where(), "", 1, oldest=True)).items[0].record

    async def _page(self, name: str, where: Where) -> None:
        """The first page and the one behind it, newest first and each as it was asked for."""

        async def two() -> list[Run]:
            first = await self.engine.store.find(Run, where, "", PAGE)
            second = await self.engine.store.find(Run, where, first.cursor, PAGE) if first.cursor else first
            return [held.record for held in (*first.items, *(second.items if first.cursor else ()))]

        for found in await self._time(name, two):
            wrong = [run.id for run in found if not _fits(run, where)]
            check(not wrong, f"{name}: {wrong[:3]}")
            order = [run.id[:12] if where.prefix else run.created_at for run in found]
            check(all(one >= other for one, other in pairwise(order)), f"{name}: out of order")
            check(len({run.id for run in found}) == len(found), f"{name}: a run stands there twice")
            check(bool(found) or not _expected(where), f"{name}: nothing found")

    async def _count(self) -> None:
        now = self.clock.now()
        await self._time("stats", lambda: Stats(self.engine).of("main", now - 3_600_000))
        await self._time("queues", lambda: query.queues(self.engine))
        await self._time("workers", lambda: query.workers(self.engine))
        await self._time("metrics", lambda: Stats(self.engine).gauges())
        counts = await self._time("count all (prune, every half hour)", lambda: query_ended(self.engine), 3)
        check(set(counts) == {self.ended}, f"{counts} ended runs counted, {self.ended} expected")


async def query_ended(engine: Engine) -> int:
    """As prune bounds their number."""
    return sum((await engine.store.count(Run, "state", Where(states=tuple(sorted(TERMINAL))))).values())


def _expected(where: Where) -> bool:
    """Whether there must be some. Of a queue that no index knows a page may be empty and have a cursor."""
    return not where.session and not where.queue and (not where.states or bool(FOUND & set(where.states)))


def _fits(run: Run, where: Where) -> bool:
    fields = ("namespace", "task", "queue", "schedule", "session")
    return (
        all(getattr(where, name) in ("", getattr(run, name)) for name in fields)
        and (not where.states or run.state in where.states)
        and run.id.startswith(where.prefix)
        and (where.since is None or run.created_at >= where.since)
        and (where.until is None or run.created_at < where.until)
    )
