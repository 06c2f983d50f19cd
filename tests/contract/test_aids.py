"""The shipped aids themselves: clock, chance, recorder, faults, factories."""

import asyncio

import pytest

from rota.domain.errors import Stale, Unavailable, Unclear
from rota.domain.facts import RunsClaimed, RunsSubmitted, SessionChanged
from rota.domain.run import Run
from rota.ports.store import ALREADY, APPLIED, Term
from rota.testing.clock import START_AT, MovableClock, SeededChance
from rota.testing.contracts.store.steps import FOREVER_MS, NOW, change, everything, new, put, want
from rota.testing.factories import make_run, make_schedule, make_session, make_task
from rota.testing.faults import LOST_REPLY, NO_FAULT, REPEATED, UNAVAILABLE, Call, FaultyStore, at, seeded
from rota.testing.recorder import Recorder
from tests.contract.places import UrlPlace


@pytest.fixture
async def store():
    place = UrlPlace("sqlite://")
    yield FaultyStore(await place.open())
    await place.close()


def test_a_clock_moves_when_told():
    clock = MovableClock()
    assert (clock.now(), clock.monotonic()) == (START_AT, 0)
    assert clock.advance(5) == START_AT + 5
    assert clock.jump(-1_000) == START_AT - 995
    assert (clock.now(), clock.monotonic()) == (START_AT - 995, 5)
    with pytest.raises(ValueError, match="forward"):
        clock.advance(-1)


def test_chance_repeats_itself_by_seed():
    one, same, other = SeededChance(1), SeededChance(1), SeededChance(2)
    drawn = [one.bits(64) for _ in range(5)]
    assert drawn == [same.bits(64) for _ in range(5)] != [other.bits(64) for _ in range(5)]
    assert 0 <= one.fraction() < 1


def test_factories_are_pure_and_number_their_records():
    for make in (make_task, make_run, make_schedule, make_session):
        assert make(3) == make(3) != make(4)
        assert make(3).id != make(4).id
    assert make_run(1, queue="q", namespace="n").lane == "n/q/python/"
    assert make_run(1, priority=3).rank < make_run(1).rank


async def test_a_recorder_gives_each_fact_once_and_in_order():
    recorder = Recorder()
    first, second = RunsSubmitted([make_run(1)]), RunsSubmitted([make_run(2)])
    recorder(first)
    recorder(RunsClaimed([]))
    recorder(second)
    assert await recorder.next(RunsSubmitted) is first
    assert await recorder.next(RunsSubmitted) is second
    assert recorder.of(RunsSubmitted) == [first, second]
    assert [type(fact) for fact in recorder.facts] == [RunsSubmitted, RunsClaimed, RunsSubmitted]


async def test_a_recorder_wakes_who_waits_from_any_thread():
    recorder = Recorder()
    waiting = asyncio.create_task(recorder.next(SessionChanged, matching=lambda fact: not fact.open))
    for fact in (SessionChanged("a", True, ""), SessionChanged("b", False, "")):
        await asyncio.to_thread(recorder, fact)
    assert (await waiting).session == "b"


async def test_a_recorder_tells_what_it_saw_instead():
    recorder = Recorder()
    recorder(RunsClaimed([]))
    with pytest.raises(TimeoutError, match=r"no RunsSubmitted within 0\.01 s; seen: RunsClaimed"):
        await recorder.next(RunsSubmitted, timeout=0.01)


async def test_faults_befall_exactly_their_call(store):
    store.plan = at(2, UNAVAILABLE)
    assert await change(store, None, make_run(1)) == APPLIED
    with pytest.raises(Unavailable):
        await change(store, None, make_run(2))
    assert await change(store, None, make_run(3)) == APPLIED
    assert store.calls == [Call(1, "commit"), Call(2, "commit"), Call(3, "commit")]
    assert await everything(store, Run, oldest=True) == [make_run(1), make_run(3)]


async def test_a_lost_reply_happened_and_a_lost_refusal_is_lost_too(store):
    store.plan = at(1, LOST_REPLY)
    with pytest.raises(Unclear):
        await change(store, None, make_run(1))
    assert await everything(store, Run) == [make_run(1)]
    store.plan = at(2, LOST_REPLY)
    with pytest.raises(Unclear):
        await change(store, None, make_run(2), Term("unknown", 1))
    with pytest.raises(Stale):
        await change(store, None, make_run(2), Term("unknown", 1))


async def test_a_repeated_call_happens_twice(store):
    store.plan = at(1, REPEATED)
    assert await change(store, None, make_run(1)) == ALREADY
    await put(store, make_session(1), make_run(2))
    store.plan = at(3, REPEATED)
    await store.claim([want(limit=1)], NOW)
    assert {run.attempt for run in await everything(store, Run)} == {1}


async def test_every_write_can_fail_and_a_store_that_is_down_answers_nothing(store):
    store.plan = lambda _: UNAVAILABLE
    for call in (
        lambda: store.commit([new(make_run(1))]),
        lambda: store.claim([want()], NOW),
        lambda: store.beat(["session-1"]),
        lambda: store.lead("scheduler", "a", FOREVER_MS),
    ):
        with pytest.raises(Unavailable):
            await call()
    assert [call.verb for call in store.calls] == ["commit", "claim", "beat", "lead"]
    store.down = True
    for read in (
        lambda: store.get(Run, []),
        lambda: store.find(Run),
        lambda: store.count(Run, "state"),
        lambda: store.due(Run, NOW, 1),
    ):
        with pytest.raises(Unavailable):
            await read()


def test_a_seed_fixes_its_faults():
    calls = [Call(number, "commit") for number in range(200)]
    one, same, other = seeded(1), seeded(1), seeded(2)
    met = [one(call) for call in calls]
    assert met == [same(call) for call in calls] != [other(call) for call in calls]
    assert 0 < sum(fault is not NO_FAULT for fault in met) < 60
