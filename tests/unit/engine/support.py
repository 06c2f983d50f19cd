"""A house for verbs: an engine over a store in memory, on a clock that only tests move, with all facts recorded."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Any

from rota.domain.records import Audit, Session
from rota.domain.run import End, Outcome, Run
from rota.domain.schedule import Overlap, Policy, Schedule
from rota.domain.states import Verdict
from rota.domain.task import Clocks, Task
from rota.domain.triggers import Interval
from rota.engine.claim import claim
from rota.engine.define import create_schedule, create_task
from rota.engine.engine import Engine, every
from rota.engine.fire import fire
from rota.engine.sessions import enter
from rota.engine.settle import settle
from rota.engine.submit import Order, Receipt, submit
from rota.ports.desk import Assignment, Settlement
from rota.ports.store import Term, Versioned, Want
from rota.stores.sql.store import SqlStore
from rota.testing.clock import MovableClock, SeededChance
from rota.testing.factories import make_session, make_task
from rota.testing.faults import FaultyStore
from rota.testing.recorder import Recorder

MINUTE = 60_000
SUCCESS = Outcome(End.SUCCESS)
FAILURE = Outcome(End.FAILURE, reason="error", error="Boom: it broke")


class House:
    """An engine and its surroundings, and the steps that tests often take."""

    def __init__(self) -> None:
        self.clock = MovableClock()
        self.store = FaultyStore(SqlStore("sqlite://", inline=True, now=self.clock.now))
        self.facts = Recorder()
        self.seeds = count()
        self.engine = self.another()
        self.term = Term("leader", 0)
        self.tokens = 100

    def another(self) -> Engine:
        """Another process on the same store: it shares no memory with the first."""
        return Engine(self.store, self.clock, SeededChance(next(self.seeds)), self.facts)

    async def lead(self) -> Term:
        """A new term, the old one of which is over."""
        await self.store.lead("leader", f"node-{self.term.number}", 0)
        lead = await self.store.lead("leader", f"node-{self.term.number + 1}", 500_000)
        self.term = Term("leader", lead.number)
        return self.term

    async def task(self, number: int = 1, **changes: Any) -> Task:
        return await create_task(self.engine, make_task(number, **changes), (), "ann")

    async def schedule(self, name: str = "s", task: str = "task-1", **changes: Any) -> Schedule:
        """Of every minute, with room for all, unless `changes` say otherwise."""
        plain = Schedule("main", name, task, Interval(MINUTE), policy=Policy(overlap=Overlap.ALLOW))
        return await create_schedule(self.engine, replace(plain, **changes), "ann")

    async def submit(self, task: str = "task-1", **changes: Any) -> Run:
        return await self.run((await self.receipt(task, **changes)).id)

    async def receipt(self, task: str = "task-1", **changes: Any) -> Receipt:
        return (await submit(self.engine, [Order(task, **changes)]))[0]

    async def fire(self, after_ms: int = 0) -> int | None:
        self.clock.advance(after_ms)
        return await fire(self.engine, self.term)

    async def session(self, number: int = 1, **changes: Any) -> Session:
        session = make_session(number, **changes)
        await enter(self.engine, session)
        return session

    async def claim(self, limit: int = 10, session: int = 1) -> Sequence[Assignment]:
        self.tokens += 1
        opened = make_session(session)
        want = Want(opened.id, opened.worker, self.tokens, limit, opened.lanes)
        return (await claim(self.engine, [want]))[0].assignments

    async def claim_one(self, session: int = 1) -> Assignment:
        (one,) = await self.claim(session=session)
        return one

    async def settle(self, one: Assignment, outcome: Outcome = SUCCESS, **changes: Any) -> Verdict:
        settlement = Settlement(one.run.fence, outcome, one.held, one.task)._replace(**changes)
        return (await settle(self.engine, [settlement]))[0]

    async def get(self, kind: Any, name: str) -> Any:
        """A record, None where there is none."""
        found: Versioned[Any] | None = (await self.store.get(kind, [name]))[0]
        return found and found.record

    async def run(self, name: str) -> Run:
        found: Run = await self.get(Run, name)
        return found

    async def all(self, kind: Any, oldest: bool = True) -> list[Any]:
        return [held.record for held in await every(self.engine, kind, oldest=oldest)]

    async def deeds(self) -> list[tuple[str, str, str]]:
        """Actor, action and target of every audit entry, oldest first."""
        return [(entry.actor, entry.action, entry.target) for entry in await self.all(Audit)]


@asynccontextmanager
async def opened() -> AsyncIterator[House]:
    house = House()
    await house.store.open()
    await house.lead()
    try:
        yield house
    finally:
        await house.store.close()


def clocks(**limits: Any) -> dict[str, Any]:
    """Fields of a task with these clocks."""
    return {"clocks": Clocks(**limits)}
