"""Verbs that meet: their store calls take turns in an order drawn by chance, so that each falls between any others."""

import asyncio
from collections import Counter
from collections.abc import Generator
from random import Random
from typing import Any

import pytest

from rota.domain.errors import Refused, Stale
from rota.domain.records import Tally, Unique
from rota.domain.retry import Retry
from rota.domain.run import TERMINAL, End, Outcome, Run, State
from rota.domain.schedule import CatchUp, Overlap, Policy, Schedule, Skip
from rota.domain.states import Verdict
from rota.domain.triggers import Interval
from rota.engine.admit import release, ripen
from rota.engine.claim import claim
from rota.engine.control import cancel, trigger
from rota.engine.define import delete_schedule, pause_schedule, resume_schedule, update_schedule
from rota.engine.fire import fire
from rota.engine.recover import recover
from rota.engine.report import report
from rota.engine.sessions import leave
from rota.engine.settle import settle
from rota.engine.submit import Order, submit
from rota.ports.desk import Progress, Settlement
from rota.ports.store import Want
from rota.testing.clock import START_AT
from tests.unit.engine.support import FAILURE, SUCCESS, House, opened

SECOND = 1_000
VERBS = {"get", "find", "count", "commit", "due", "claim", "beat"}


class Turn:
    """Awaited: whoever else is ready goes first."""

    def __await__(self) -> Generator[None]:
        yield


class Jostled:
    """A store each of whose calls lets others go first, as often as chance says."""

    def __init__(self, store: Any, random: Random) -> None:
        self._store = store
        self._random = random

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in VERBS:
            return method

        async def call(*given: Any, **named: Any) -> Any:
            for _ in range(self._random.randrange(4)):
                await Turn()
            return await method(*given, **named)

        return call


def jostled(house: House, seed: int) -> None:
    """From now on the verbs of this house meet."""
    house.engine.store = Jostled(house.store, Random(seed))


@pytest.fixture(autouse=True)
async def ready(house):
    await house.task(retry=Retry(retries=1, delay_ms=0, jitter=0))
    await house.session()


async def test_a_run_cancelled_before_its_claim_never_starts(house, engine):
    """I11, 2,000 times: what cancel answers is what happened."""
    receipts = await submit(engine, [Order("task-1") for _ in range(2_000)])
    jostled(house, 11)
    answers: Counter[str] = Counter()
    for number, receipt in enumerate(receipts):
        want = Want("session-1", "worker-1", number, 1, runs=(receipt.id,))
        (taken,), answer = await asyncio.gather(claim(engine, [want]), cancel(engine, receipt.id, "ann"))
        answers[answer] += 1
        run = await house.run(receipt.id)
        if answer == "cancelled":
            assert taken.assignments == ()
            assert (run.state, run.attempt) == (State.CANCELLED, 0)
        else:
            assert [one.run.id for one in taken.assignments] == [run.id]
            assert (run.state, run.cancel) == (State.RUNNING, "ann")
    assert min(answers["cancelled"], answers["cancelling"]) > 200
    assert sum(cell.count for cell in await house.all(Tally)) == answers["cancelled"]


async def test_settles_cancels_reports_and_recovery_leave_one_end(house, engine):
    """I7, I8: whoever comes first, a run ends once, is counted once, and every answer tells the truth."""
    jostled(house, 7)
    ends: Counter[str] = Counter()
    for number in range(2, 200):
        await house.session(number)
        (receipt,) = await submit(engine, [Order("task-1", unique="u")])
        one = await house.claim_one(session=number)
        settlement = Settlement(one.run.fence, SUCCESS, one.held, one.task)

        async def vanish(number: int = number) -> None:
            await leave(engine, f"session-{number}", "lapsed")
            await recover(engine, house.term)

        answers: Any = await asyncio.gather(
            settle(engine, [settlement]),
            settle(engine, [settlement._replace(held=None)]),
            cancel(engine, receipt.id, "ann"),
            report(engine, [Progress(one.run.fence, 5, "half")], []),
            vanish(),
            return_exceptions=True,
        )
        first, second, cancelled, _, lost = answers
        assert lost is None
        run = await house.run(receipt.id)
        counted = Verdict.STALE not in (*first, *second)
        assert (first == [Verdict.STALE]) == (second == [Verdict.STALE])
        if isinstance(cancelled, Refused):
            assert run.state is State.SUCCESS
        elif cancelled == "cancelled":
            assert (run.state, run.lost, counted) == (State.CANCELLED, 1, False)
        else:
            assert run.state is State.CANCELLED
            assert counted == (run.tries == 1)
        assert run.attempt == 1
        assert run.state in TERMINAL
        assert await house.all(Unique) == []
        ends[f"{run.state} {run.lost}"] += 1
    assert sum(cell.count for cell in await house.all(Tally)) == 198
    assert len(ends) >= 3


@pytest.mark.parametrize("field", ["key", "unique"])
async def test_fifty_clients_with_one_key_get_one_run(house, field):
    """I6, I14, again and again."""
    jostled(house, 50)
    engines = [house.another() for _ in range(50)]
    for engine in engines:
        engine.store = house.engine.store
    for number in range(4):
        order = Order("task-1", key=f"k{number}") if field == "key" else Order("task-1", unique=f"k{number}")
        receipts = await asyncio.gather(*(submit(engine, [order]) for engine in engines))
        assert len({receipt.id for (receipt,) in receipts}) == 1
        assert sum(receipt.created for (receipt,) in receipts) == 1
    assert len(await house.all(Run)) == 4


async def test_keys_that_are_freed_all_the_time_are_held_by_one_at_a_time(house, engine):
    jostled(house, 3)
    for _ in range(60):

        async def ask() -> str:
            (receipt,) = await submit(engine, [Order("task-1", unique="u")])
            return receipt.id

        async def end() -> None:
            for one in await house.claim():
                await house.settle(one)

        await asyncio.gather(ask(), end(), ask(), end(), ask())
        live = [run for run in await house.all(Run) if run.state not in TERMINAL]
        assert len(live) <= 1
        assert [one.run for one in await house.all(Unique)] == [run.id for run in live]


def accounted(schedule: Schedule, runs: list[Run], skips: list[Skip]) -> None:
    """I3: each occurrence up to the cursor is one run, or lies in one range that counts it. None is anything else."""
    places = Counter(run.nominal_at for run in runs)
    assert set(places.values()) <= {1}
    for skip in [*skips, *([schedule.skip] if schedule.skip else [])]:
        inside = range(skip.first_at, skip.last_at + 1, SECOND)
        assert len(inside) == skip.count
        places.update(inside)
    expected = range(START_AT + SECOND, schedule.cursor_at + 1, SECOND)
    assert places == Counter(expected)


@pytest.mark.parametrize("batch", range(3))
async def test_every_occurrence_is_disposed_of_once_whatever_people_do_meanwhile(batch):
    """Two nodes fire, one of which is a leader of the past, while people edit, pause, resume and trigger."""
    for seed in range(batch * 8, batch * 8 + 8):
        async with opened() as house:
            await house.task()
            await house.session()
            random = Random(seed)
            policy = Policy(random.choice(list(CatchUp)), overlap=random.choice(list(Overlap)), max_runs=3)
            await house.schedule("task-1", trigger=Interval(SECOND), policy=policy)
            jostled(house, seed)
            for _ in range(30):
                house.clock.advance(random.choice([0, SECOND, SECOND, 7 * SECOND, 30 * SECOND]))
                await asyncio.gather(*some(house, random), return_exceptions=False)
            runs = [run for run in await house.all(Run) if run.schedule and run.cause == "schedule"]
            schedule = await house.get(Schedule, "main/task-1")
            accounted(schedule, runs, await house.all(Skip))
            assert (schedule.fired, schedule.skipped) == (
                len(runs),
                sum(one.count for one in [*await house.all(Skip), *([schedule.skip] if schedule.skip else [])]),
            )


def some(house, random):
    """A few things that happen at once."""
    engine, name = house.engine, "main/task-1"

    async def refusable(deed):
        try:
            await deed
        except (Refused, Stale):
            return

    async def work():
        for one in await house.claim(limit=2):
            await house.settle(one, random.choice([SUCCESS, FAILURE, Outcome(End.RETURNED)]))

    async def depose():
        old = house.term
        await house.lead()
        await refusable(fire(engine, old))

    deeds = [
        lambda: refusable(fire(engine, house.term)),
        lambda: refusable(fire(engine, house.term)),
        lambda: refusable(release(engine, house.term)),
        lambda: refusable(ripen(engine, house.term)),
        depose,
        work,
        work,
        lambda: refusable(pause_schedule(engine, name, "why", "ann")),
        lambda: refusable(resume_schedule(engine, name, "ann", catch_up=random.random() < 0.5)),
        lambda: refusable(resume_schedule(engine, name, "bob")),
        lambda: refusable(trigger(engine, Order("task-1"), "ann", overlap=True)),
        lambda: refusable(
            update_schedule(engine, name, {"policy": Policy(overlap=random.choice(list(Overlap)))}, "ann")
        ),
    ]
    return [deed() for deed in random.sample(deeds, random.randint(1, 5))]


async def test_nothing_is_fired_after_a_pause_or_delete_was_answered(house, engine):
    """I12: edits at the due second, on another server than the leader's."""
    jostled(house, 12)
    for number in range(100):
        name = f"s{number}"
        await house.schedule(name, trigger=Interval(SECOND))
        house.clock.advance(SECOND)
        answered_at = house.clock.now()
        if number % 2:
            await asyncio.gather(fire(engine, house.term), pause_schedule(engine, f"main/{name}", "why", "ann"))
        else:
            await asyncio.gather(fire(engine, house.term), delete_schedule(engine, f"main/{name}", "ann"))
        house.clock.advance(5 * SECOND)
        await fire(engine, house.term)
        late = [run for run in await house.all(Run) if run.schedule == name and (run.nominal_at or 0) > answered_at]
        assert late == []
        if number % 2:
            await delete_schedule(engine, f"main/{name}", "ann")
