"""Both sides come to agree on what a session holds, whatever was lost on the way."""

import asyncio

import pytest

from rota import Context
from rota.domain.errors import Unavailable, Unclear
from rota.domain.facts import RunsClaimed, RunsSettled
from rota.domain.run import End, Reason, Run, State
from rota.engine.sessions import leave
from rota.ports.store import Versioned
from rota.testing.faults import LOST_REPLY, REPEATED
from rota.worker.desks import LocalDesk
from tests.unit.worker.support import LONG_MS, House, once


async def quick() -> str:
    return "done"


@pytest.mark.parametrize("fault", [LOST_REPLY, REPEATED])
async def test_runs_of_a_lost_claim_are_found_and_started(house: House, fault):
    """M14: the claim happened, and the worker cannot know."""
    await house.task(quick)
    worker = await house.worker()
    await house.idle(worker)
    house.store.plan = once("claim", fault)
    runs = await house.submit_many("quick", 5)
    if fault is REPEATED:  # the second claim's answer is empty, and true: only beats tell
        await house.until(lambda: house.desks[worker].answers["claim"] >= 2)
        await house.beat(worker)
    ended = await house.all_settled(runs)
    assert {(run.state, run.attempt, run.tries) for run in ended} == {(State.SUCCESS, 1, 1)}
    assert len(house.desks[worker].of("held")) == 1


async def test_runs_placed_at_a_worker_start_at_once_as_far_as_it_has_room(house: House, gate):
    """As the leader does it for queues with a strategy; what it misjudged goes back unburnt."""
    await house.task(gate, name="gate")
    worker = await house.worker(slots=2)
    await house.idle(worker)
    runs = await house.place(worker, "gate", 3)
    await house.beat(worker)
    await gate.holds(2)
    (back,) = await house.until(lambda: [run for fact in house.facts.of(RunsSettled) for run in fact.runs])
    assert (back.state, back.reason, back.tries, back.lost) == (State.PENDING, Reason.RETURNED, 0, 0)
    gate.open()
    ended = await house.all_ended([run for run in runs if run != back.id])
    assert [run.state for run in ended] == [State.SUCCESS] * 2


async def test_what_is_placed_at_a_worker_that_leaves_goes_back_unburnt(house: House, gate):
    await house.task(gate, name="gate")
    await house.submit("gate")
    worker = await house.worker(drain_ms=LONG_MS)
    await gate.holds(1)
    leaving = asyncio.create_task(worker.stop())
    (first,) = await house.place(worker, "gate", 1)
    await house.beat(worker)
    run = await house.settled(first)
    assert (run.state, run.reason, run.tries, run.lost) == (State.PENDING, Reason.RETURNED, 0, 0)
    (second,) = await house.place(worker, "gate", 1)
    gate.open()
    await leaving
    run = await house.settled(second)
    assert (run.state, run.reason, run.tries, run.lost) == (State.PENDING, Reason.RETURNED, 0, 0)


async def test_nothing_is_given_to_a_session_that_is_over(house: House, gate):
    await house.task(gate, name="gate")
    worker = await house.worker()
    await house.idle(worker)
    runs = await house.place(worker, "gate", 1)
    await leave(house.engine, worker.session, "lapsed")
    taken = await LocalDesk(house.engine).given(worker.session, runs)
    assert (taken.assignments, taken.open) == ((), False)


async def test_a_placed_run_whose_cancel_was_asked_meanwhile_does_not_start(house: House, gate):
    await house.task(gate, name="gate")
    worker = await house.worker()
    await house.idle(worker)
    desk = house.desks[worker]
    (run_id,) = await house.place(worker, "gate", 1)
    found = desk.hold("held")
    await house.beat(worker)
    await house.until(lambda: desk.of("held"))
    desk.hold("beat")  # so that only the run itself says it
    assert await house.cancel(run_id) == "cancelling"
    found.set()
    run = await house.settled(run_id)
    desk.gates.pop("beat").set()
    assert (run.state, gate.most) == (State.CANCELLED, 0)


async def test_placed_runs_of_a_worker_that_was_away_are_asked_about_before_they_start(house: House, gate):
    """The answer comes so late that the session may be over: the store is asked anew."""
    begun = []

    async def noting(context: Context) -> None:
        begun.append(context.attempt)
        await gate()

    await house.task(noting, name="gate")
    worker = await house.worker()
    await house.idle(worker)
    desk = house.desks[worker]
    late = desk.hold("given")
    (run_id,) = await house.place(worker, "gate", 1)
    await house.beat(worker)
    await house.until(lambda: desk.of("given"))
    house.time.pass_by(10_000)
    await house.take_back(run_id)
    await house.claim_for(worker, [run_id])
    late.set()
    await gate.holds(1)
    assert begun == [2]


async def test_what_is_placed_while_a_full_worker_asks_what_it_holds_is_asked_about_too(house: House, gate):
    await house.task(gate, name="gate")
    await house.submit("gate")
    worker = await house.worker(slots=1)
    desk = house.desks[worker]
    await gate.holds(1)
    found, told = desk.hold("held"), desk.hold("settle")  # what was told would wake it, too
    (first,) = await house.place(worker, "gate", 1)
    await house.beat(worker)
    await house.until(lambda: desk.of("held"))
    (second,) = await house.place(worker, "gate", 1)
    await house.beat(worker)
    found.set()
    await house.until(lambda: len(desk.of("held")) == 2)
    told.set()
    assert {run.state for run in await house.all_settled([first, second])} == {State.PENDING}


async def test_a_refused_claim_costs_nothing_but_a_question(house: House):
    await house.task(quick)
    worker = await house.worker()
    await house.idle(worker)
    house.desks[worker].errors["claim"] = [Unavailable("down")]
    run_id = await house.submit("quick")
    run = await house.settled(run_id)
    assert (run.state, run.attempt) == (State.SUCCESS, 1)
    assert len(house.desks[worker].of("held")) == 1
    assert len(house.troubles("claim")) == 1


@pytest.mark.parametrize("hinted", [True, False])
async def test_a_digest_that_differs_is_looked_into_after_a_hint_or_two_beats(house: House, gate, hinted):
    """What was taken back while we were away is stopped, and its end told to nobody."""
    await house.task(gate, name="gate")
    run_id = await house.submit("gate")
    worker = await house.worker(slots=1, beat_ms=LONG_MS if hinted else 20)
    desk = house.desks[worker]
    await gate.holds(1)
    await house.take_back(run_id)
    before = desk.answers["beat"]
    if hinted:
        await house.beat(worker)
    await house.until(lambda: desk.of("held"))
    assert desk.answers["beat"] - before >= (1 if hinted else 2)
    await house.until(lambda: len(house.facts.of(RunsClaimed)) == 2)
    await gate.holds(1)
    assert (gate.most, (await house.run(run_id)).attempt) == (1, 2)
    assert desk.of("settle") == []


async def test_two_attempts_of_one_run_are_told_apart(house: House, gate):
    """Taken back and claimed again by the same session: the first is stopped, the second goes on."""
    await house.task(gate, name="gate")
    run_id = await house.submit("gate")
    worker = await house.worker()
    await gate.holds(1)
    await house.take_back(run_id)
    await gate.holds(2)
    await house.beat(worker, 2)
    await gate.holds(1)
    gate.open()
    run = await house.settled(run_id, 2)
    assert (run.state, run.attempt, run.lost, run.tries) == (State.SUCCESS, 2, 1, 1)
    assert [len(batch) for batch in house.desks[worker].of("settle")] == [1]


async def test_as_many_runs_as_ours_but_another_one_are_a_difference(house: House, gate):
    await house.task(gate, name="gate")
    worker = await house.worker(slots=2)
    await house.idle(worker)
    (first,) = await house.place(worker, "gate", 1)
    await house.beat(worker, 2)
    await gate.holds(1)
    await house.take_back(first)
    assert await house.cancel(first) == "cancelled"
    (second,) = await house.place(worker, "gate", 1)
    await house.beat(worker, 2)
    gate.open()
    assert (await house.settled(second)).state is State.SUCCESS


async def test_what_agrees_is_not_looked_into(house: House, gate):
    await house.task(gate, name="gate")
    await house.submit_many("gate", 3)
    worker = await house.worker()
    await gate.holds(3)
    await house.beat(worker, 5)
    assert not house.desks[worker].of("held")


async def test_a_given_up_attempt_is_no_difference(house: House):
    entered = house.gate()

    async def stubborn() -> None:
        while True:
            try:
                await entered()
                return
            except asyncio.CancelledError:
                continue

    await house.task(stubborn)
    run_id = await house.submit("stubborn")
    worker = await house.worker(grace_ms=0)
    await entered.holds(1)
    await house.cancel(run_id)
    await house.settled(run_id)
    await house.beat(worker, 4)
    assert not house.desks[worker].of("held")


async def test_what_runs_or_is_on_its_way_is_never_handed_back(house: House, gate):
    """A reconcile while one attempt runs and the outcome of another is not confirmed yet."""
    await house.task(quick)
    await house.task(gate, name="gate")
    running = await house.submit("gate")
    worker = await house.worker()
    await gate.holds(1)
    desk = house.desks[worker]
    desk.errors["settle"] = [Unclear("lost")] * 2
    confirm = desk.hold("settle")
    sent = await house.submit("quick")
    await house.until(lambda: len(desk.of("settle")) == 3)
    desk.errors["claim"] = [Unclear("lost")]
    await house.hint("lane:main/default/python")
    await house.until(lambda: desk.answers["held"])
    confirm.set()
    gate.open()
    for run_id in (running, sent):
        run = await house.settled(run_id)
        assert (run.state, run.attempt) == (State.SUCCESS, 1)
    assert not house.refused()
    assert {item.outcome.end for batch in desk.of("settle") for item in batch} == {End.SUCCESS}


async def test_what_ends_while_the_store_is_asked_is_not_handed_back(house: House, gate):
    """The list was read before the attempt ended, and arrives after its outcome was confirmed."""
    await house.task(gate, name="gate")
    run_id = await house.submit("gate")
    worker = await house.worker()
    await gate.holds(1)
    desk = house.desks[worker]
    answer = desk.hold("held")
    desk.errors["claim"] = [Unclear("lost")]
    await house.hint("lane:main/default/python")
    await house.until(lambda: desk.of("held"))
    gate.open()
    await house.settled(run_id)
    await house.until(lambda: desk.answers["settle"])
    answer.set()
    await house.until(lambda: desk.answers["held"])
    await house.beat(worker)
    assert [len(batch) for batch in desk.of("settle")] == [1]
    assert not house.refused()


async def test_a_claim_under_way_at_the_stop_is_waited_for(house: House):
    """Else its runs would count as lost."""
    await house.task(quick)
    worker = await house.worker()
    await house.idle(worker)
    answer = house.desks[worker].hold("claim")
    runs = await house.submit_many("quick", 3)
    await house.until(lambda: house.facts.of(RunsClaimed))
    stopping = asyncio.create_task(worker.stop())
    await house.beat(worker)
    answer.set()
    await stopping
    ended = [await house.run(one) for one in runs]
    assert {(run.state, run.attempt, run.lost) for run in ended} == {(State.SUCCESS, 1, 0)}


async def test_a_claim_lost_at_the_stop_is_handed_back(house: House):
    await house.task(quick)
    worker = await house.worker()
    await house.idle(worker)
    house.store.plan = once("claim", LOST_REPLY)
    house.desks[worker].errors["held"] = [Unavailable("down")]
    runs = await house.submit_many("quick", 3)
    await house.until(lambda: house.desks[worker].of("held"))
    await worker.stop()
    handed = [await house.run(one) for one in runs]
    assert {(run.state, run.reason, run.lost, run.tries) for run in handed} == {(State.PENDING, Reason.RETURNED, 0, 0)}


async def test_the_store_and_the_worker_count_alike(house: House, gate):
    await house.task(gate, name="gate")
    runs = await house.submit_many("gate", 7)
    worker = await house.worker()
    await gate.holds(7)
    (reply,) = await house.engine.store.beat([worker.session])
    found = await house.engine.store.get(Run, runs)
    held = [one.record for one in found if isinstance(one, Versioned)]
    assert (reply.held, reply.digest) == (7, sum(run.token % 2**31 for run in held))
