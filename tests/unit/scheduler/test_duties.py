"""A duty: repeated while this node leads; woken by hints, by its own next instant, or by the scan."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from itertools import pairwise

import pytest

from rota.domain.errors import Stale, Unavailable
from rota.domain.records import Session
from rota.domain.run import Run
from rota.domain.task import Clocks
from rota.engine import define
from rota.engine.claim import claim
from rota.engine.engine import Engine
from rota.engine.sessions import enter
from rota.engine.submit import Order, submit
from rota.ports.loops import end
from rota.ports.store import Term, Want, Watch
from rota.scheduler.duties import BREATH_MS, Duty, duties, perform
from rota.scheduler.leader import NAME
from rota.stores.hub import Ear
from rota.testing.clock import SeededChance
from rota.testing.factories import make_session, make_task
from rota.testing.faults import UNAVAILABLE
from rota.wiring import SystemClock
from tests.services.turns import breathe
from tests.unit.scheduler.support import LONG_MS, PATIENCE, QUIET, TTL_MS, Court


class Doing:
    """A duty of a test: what it is told to return or raise, and when it was done."""

    def __init__(self, court: Court, engine: Engine) -> None:
        self.court = court
        self.engine = engine
        self.leading = asyncio.Event()
        self.answers: list[int | Exception | Callable[[], int | None] | None] = []
        self.times: list[int] = []
        self.terms: list[int] = []
        self.loops: list[asyncio.Task[None]] = []

    async def step(self, term: Term) -> int | None:
        self.times.append(self.engine.clock.now())
        self.terms.append(term.number)
        self.court.ring()
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer

    async def begin(self, scan_ms: int = LONG_MS) -> None:
        self.court.changed = self.leading.set  # type: ignore[method-assign]  # what the leader will call
        leader = await self.court.leader("a")
        duty = Duty("duty", self.step, ("topic",), scan_ms)
        self.loops.append(asyncio.create_task(perform(duty, leader, self.leading, self.engine)))

    async def done(self, times: int) -> None:
        await self.court.until(lambda: len(self.times) >= times)
        await breathe()


class Noting(SystemClock):
    """Knows what it said last."""

    said = 0

    def now(self) -> int:
        self.said = super().now()
        return self.said


class Timely(Doing):
    """On the machine's own clock. Knows when each step was begun, by whoever began it: a busy machine runs it later."""

    def __init__(self, court: Court) -> None:
        self.clock = Noting()
        self.begun: list[int] = []
        super().__init__(court, Engine(court.store, self.clock, SeededChance(), court.emit))

    async def step(self, term: Term) -> int | None:
        self.begun.append(self.clock.said)
        return await super().step(term)


@pytest.fixture
async def doing(court: Court) -> AsyncIterator[Doing]:
    made = Doing(court, court.engine())
    yield made
    await end(*made.loops)


@pytest.fixture
async def timely(court: Court) -> AsyncIterator[Timely]:
    made = Timely(court)
    yield made
    await end(*made.loops)


async def test_it_is_not_done_without_the_term(court: Court, doing: Doing):
    await court.store.lead(NAME, "somebody else", TTL_MS)
    await doing.begin()
    await court.until(court.told)
    await court.hint("topic")
    await breathe()
    assert doing.times == []
    court.clock.advance(TTL_MS)
    await court.hint("lead")
    await doing.done(1)
    assert set(doing.terms) == {2}


@pytest.mark.parametrize("leads", [False, True])
async def test_who_stands_by_or_fails_does_not_gather_what_it_hears(court: Court, doing: Doing, monkeypatch, leads):
    ears = []

    def watch(topics: Sequence[str]) -> Watch:
        ears.append(court.behind.watch(topics))
        return ears[-1]

    if not leads:
        await court.store.lead(NAME, "somebody else", TTL_MS)
    monkeypatch.setattr(court.store, "watch", watch)
    doing.answers = [RuntimeError("a bug")] * 1_000
    await doing.begin(scan_ms=1)
    await court.until(lambda: court.told() and len(ears) == 2)
    (ear,) = (ear for ear in ears if isinstance(ear, Ear) and ear._listens("topic"))
    await court.hint("topic")
    await breathe()
    async with asyncio.timeout(PATIENCE):
        while ear._heard:
            await breathe()
    assert bool(doing.times) == leads


async def test_it_is_not_done_after_the_window_and_goes_on_with_the_next_grant(court: Court, doing: Doing):
    await doing.begin()
    await doing.done(1)
    court.clock.advance(TTL_MS - 1)
    await court.hint("topic")
    await breathe()
    assert len(doing.times) == 1
    await court.hint("lead")
    await doing.done(2)
    assert doing.terms == [1, 1], "the lease had not lapsed: the same term, and no wait for a scan"


async def test_a_hint_wakes_it(court: Court, doing: Doing):
    await doing.begin()
    for number in range(1, 6):
        await doing.done(number)
        assert len(doing.times) == number
        await court.hint("topic")
    await doing.done(6)


async def test_a_hint_during_the_step_is_not_lost(court: Court, doing: Doing):
    meanwhile: list[asyncio.Task[None]] = []

    def hinted() -> None:
        meanwhile.append(asyncio.create_task(court.hint("topic")))

    doing.answers = [hinted]
    await doing.begin()
    await doing.done(2)
    await meanwhile[0]
    assert len(doing.times) == 2


@pytest.mark.parametrize("error", [Unavailable("down"), RuntimeError("a bug")])
async def test_an_error_is_told_and_it_is_tried_again(court: Court, doing: Doing, error):
    doing.answers = [error, error]
    await doing.begin()
    await doing.done(3)
    assert court.troubles("duty") == [error, error]
    await court.hint("topic")
    await doing.done(4)


async def test_a_stale_term_is_doubted_and_nothing_done_until_another_is_granted(court: Court, doing: Doing):
    doing.answers = [Stale("term 1 is over")]
    await doing.begin()
    await doing.done(1)
    await court.hint("topic")
    await breathe()
    assert (len(doing.times), court.troubles("duty")) == (1, [])
    await court.hint("lead")
    await doing.done(2)


async def test_it_is_done_again_at_its_next_instant_and_not_before(timely: Doing):
    wanted: list[int] = []

    def later() -> int:
        wanted.append(timely.engine.clock.now() + 30)
        return wanted[-1]

    timely.answers = [later] * 5
    await timely.begin()
    await timely.done(6)
    lags = [done - due for due, done in zip(wanted, timely.times[1:], strict=True)]
    assert min(lags) >= 0, "never early"
    assert max(lags) < 1_000


async def test_what_is_due_a_moment_after_a_step_waits_to_be_one_batch(timely: Timely):
    timely.answers = [lambda: timely.engine.clock.now() + 1] * 5
    await timely.begin()
    await timely.done(6)
    assert min(later - earlier for earlier, later in pairwise(timely.begun)) >= BREATH_MS


async def test_what_is_due_already_does_not(doing: Doing, monkeypatch):
    rests: list[float] = []
    wait = Ear.wait

    async def noted(ear: Ear, seconds: float) -> Mapping[str, int]:
        rests.extend([seconds] if ear._listens("topic") else [])
        return await wait(ear, seconds)

    monkeypatch.setattr(Ear, "wait", noted)
    doing.answers = [lambda: doing.times[-1]] * 5
    await doing.begin()
    await doing.done(6)
    assert rests[-6:] == [0] * 5 + [LONG_MS / 1_000]


async def test_an_instant_that_is_past_means_at_once_and_starves_nobody(court: Court, doing: Doing):
    doing.answers = [court.clock.now() - 1, court.clock.now()] * 50
    await doing.begin()
    turns = 0
    while len(doing.times) < 101:
        await breathe()
        turns += 1
    assert turns > 1
    assert len(doing.times) == 101


async def test_a_far_instant_does_not_put_off_the_scan(timely: Doing):
    timely.answers = [lambda: timely.engine.clock.now() + LONG_MS] * 3
    await timely.begin(scan_ms=20)
    await timely.done(4)


async def test_a_renewal_that_failed_costs_a_duty_no_scan(court: Court, doing: Doing):
    await doing.begin()
    await doing.done(1)
    court.fail("lead", UNAVAILABLE)
    await court.hint("lead")
    await court.hint("topic")
    await doing.done(2)
    assert doing.terms == [1, 1]


async def test_what_was_seen_before_a_look_that_failed_costs_nobody_the_session(court: Court):
    engine = court.engine()
    await enter(engine, make_session(1, ttl_ms=TTL_MS))
    term = Term(NAME, (await court.store.lead(NAME, "a", LONG_MS)).number)
    look = next(duty.step for duty in duties(engine, QUIET) if duty.name == "recover")

    async def looks(times: int) -> bool:
        for _ in range(times):
            court.clock.advance(TTL_MS // 10)
            await look(term)
        (held,) = await engine.store.get(Session, ["session-1"])
        return held is not None and held.record.open

    await looks(1)
    assert await looks(9)
    court.store.down = True
    with pytest.raises(Unavailable):
        await look(term)
    court.store.down = False
    assert await looks(10)
    assert not await looks(1)


@pytest.mark.parametrize("beating", [True, False])
async def test_what_ran_too_long_while_nobody_led_is_lost_unless_its_worker_beats(court: Court, beating: bool):
    """A machine that was off for longer than the task's timeout burns no try of what ran there."""
    engine = court.engine()
    await define.create_task(engine, make_task(1, clocks=Clocks(attempt_ms=1_000)), [], "test")
    await enter(engine, make_session(1, ttl_ms=TTL_MS))
    run = (await submit(engine, [Order("task-1")]))[0].id
    await claim(engine, [Want("session-1", "worker-1", 5, 10, make_session(1).lanes)])
    court.clock.advance(600_000)
    term = Term(NAME, (await court.store.lead(NAME, "a", LONG_MS)).number)
    steps = {duty.name: duty.step for duty in duties(engine, QUIET)}
    for _ in range(11):
        assert await steps["ripen"](term) != 0
        await steps["recover"](term)
        court.clock.advance(TTL_MS // 10)
        if beating:
            await engine.store.beat(["session-1"])
    (held,) = await engine.store.get(Run, [run])
    assert held
    wanted = ("timeout", 1, 0) if beating else ("lost", 0, 1)
    assert (str(held.record.history[-1].reason), held.record.tries, held.record.lost) == wanted
