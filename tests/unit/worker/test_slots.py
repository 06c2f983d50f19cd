"""Never more attempts than slots, whatever happens to the slots meanwhile."""

import asyncio
import threading
from contextlib import suppress

import pytest

from rota.domain.run import Reason, State
from rota.domain.task import Clocks
from rota.engine.control import drain, relabel, resize
from rota.executors.python import PythonExecutor
from rota.worker.runtime import Worker
from tests.unit.worker.support import Gate, House


async def stubborn_task(house: House, gate: Gate, **fields) -> str:
    """A task that hears neither cancels nor timeouts."""

    async def stubborn() -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await gate()
                return

    return await house.task(stubborn, **fields)


async def test_no_more_runs_at_once_than_there_are_slots(house: House, gate):
    turns: list[asyncio.Event] = []

    async def turn() -> None:
        turns.append(asyncio.Event())
        house.bell.ring()
        await turns[-1].wait()

    await house.task(turn)
    runs = await house.submit_many("turn", 9)
    worker = await house.worker(slots=3)
    for number in range(1, 10):
        await house.until(lambda: len(turns) == min(number + 2, 9))  # noqa: B023  # awaited here
        assert worker.running == min(3, 10 - number)
        turns[number - 1].set()
        await house.settled(runs[number - 1])
    assert {run.state for run in await house.all_settled(runs)} == {State.SUCCESS}


async def test_claims_and_settles_are_batches(house: House):
    async def quick() -> None: ...

    await house.task(quick)
    runs = await house.submit_many("quick", 100)
    worker = await house.worker(slots=50)
    await house.all_settled(runs)
    await house.until(lambda: house.desks[worker].answers["claim"] >= 3)
    desk = house.desks[worker]
    assert [want.limit for want in desk.of("claim")] == [50] * len(desk.of("claim"))
    assert len(desk.of("claim")) <= 4
    assert len(desk.of("settle")) <= 3


async def test_what_ends_during_a_flush_goes_with_the_next_one(house: House, gate):
    async def quick() -> None: ...

    await house.task(quick)
    await house.task(gate, name="gate")
    late = await house.submit_many("gate", 5)
    worker = await house.worker()
    await gate.holds(5)
    confirm = house.desks[worker].hold("settle")
    lone = await house.submit("quick")
    await house.settled(lone)
    gate.open()
    await gate.holds(0)
    assert len(house.desks[worker].of("settle")) == 1
    confirm.set()
    await house.all_settled(late)
    assert [len(batch) for batch in house.desks[worker].of("settle")] == [1, 5]


async def test_capacity_grows_while_all_slots_are_taken(house: House, gate):
    await house.task(gate, name="gate")
    await house.submit_many("gate", 5)
    worker = await house.worker(slots=2)
    await gate.holds(2)
    await resize(house.engine, worker.session, 4, "somebody")
    await gate.holds(4)
    assert (worker.slots, worker.running) == (4, 4)


async def test_labels_that_people_give_and_take_change_what_it_takes(house: House):
    async def quick() -> None: ...

    await house.task(quick)
    await house.task(quick, name="needy", requires=("gpu", "ssd"))
    worker = await house.worker(labels=("old",))
    needy = await house.submit("needy")
    await house.settled(await house.submit("quick"))
    assert (await house.run(needy)).state is State.PENDING
    await relabel(house.engine, worker.session, ["ssd", "gpu", "big"], "somebody")
    await house.settled(needy)
    await house.desks[worker].leave(worker.session, "closed by the test")
    await house.until(lambda: len(house.desks[worker].of("enter")) == 2)
    assert set(house.desks[worker].of("enter")[1].labels) == {"big", "gpu", "ssd"}
    await house.settled(await house.submit("needy"))
    await relabel(house.engine, worker.session, [], "somebody")
    await house.until(lambda: len(house.desks[worker].of("claim")[-1].lanes) == 1)
    late = await house.submit("needy")
    await house.settled(await house.submit("quick"))
    assert (await house.run(late)).state is State.PENDING


async def test_capacity_shrinks_without_ending_anything(house: House):
    gates = [house.gate(), house.gate()]

    async def wait(which: int) -> None:
        await gates[which]()

    await house.task(wait)
    first = await house.submit_many("wait", 4, payload=b'{"which": 0}')
    worker = await house.worker(slots=4)
    await gates[0].holds(4)
    await resize(house.engine, worker.session, 1, "somebody")
    await house.until(lambda: worker.slots == 1)
    second = await house.submit_many("wait", 2, payload=b'{"which": 1}')
    assert worker.running == 4
    gates[0].open()
    await house.all_settled(first)
    await gates[1].holds(1)
    gates[1].open()
    await house.all_settled(second)
    assert gates[1].most == 1


async def test_a_new_session_keeps_the_capacity_that_people_set(house: House):
    worker = await house.worker(slots=2)
    await resize(house.engine, worker.session, 4, "somebody")
    await house.until(lambda: worker.slots == 4)
    await house.desks[worker].leave(worker.session, "closed by the test")
    await house.until(lambda: len(house.desks[worker].of("enter")) == 2)
    assert house.desks[worker].of("enter")[1].slots == 4


async def give_up_one(house: House, gate: Gate, worker: Worker) -> str:
    """A run whose attempt goes on after it was given up."""
    inside = gate.inside
    run_id = await house.submit("stubborn")
    await gate.holds(inside + 1)
    await house.cancel(run_id)
    await house.settled(run_id)
    return run_id


async def test_an_attempt_that_was_given_up_keeps_its_slot(house: House, gate):
    await stubborn_task(house, gate)
    worker = await house.worker(slots=3, grace_ms=0)
    await give_up_one(house, gate, worker)
    await house.submit_many("stubborn", 5)
    await gate.holds(3)
    assert worker.running == 2
    assert not worker.ended.is_set()


async def test_its_slot_is_free_again_once_it_has_ended(house: House, gate):
    stuck = house.gate()
    await stubborn_task(house, stuck)
    await house.task(gate, name="gate")
    worker = await house.worker(slots=2, grace_ms=0)
    await give_up_one(house, stuck, worker)
    assert not worker.failed, "half of the slots are not more than half"
    stuck.open()
    await house.submit_many("gate", 2)
    await gate.holds(2)


async def test_the_next_attempt_of_a_run_is_another_one_than_the_one_given_up(house: House):
    """The same worker takes the run again while the first attempt still winds down: each ends for itself."""
    gates = [house.gate(), house.gate()]
    numbers = iter(range(2))

    async def stubborn() -> int:
        number = next(numbers)
        while True:
            with suppress(asyncio.CancelledError):
                await gates[number]()
                return number

    await house.task(stubborn, clocks=Clocks(attempt_ms=30))
    run_id = await house.submit("stubborn")
    worker = await house.worker(slots=3, grace_ms=0)
    await house.settled(run_id)
    assert (await house.run(run_id)).state is State.RETRYING
    await house.ripen()
    await gates[1].holds(1)
    assert (gates[0].inside, worker.running) == (1, 1)
    gates[1].open()
    run = await house.settled(run_id, 2)
    assert (run.state, run.result, run.attempt) == (State.SUCCESS, b"1", 2)
    gates[0].open()
    await gates[0].holds(0)
    assert not house.refused()


async def test_more_than_half_of_the_slots_lost_ends_the_worker(house: House, gate):
    await stubborn_task(house, gate)
    worker = await house.worker(slots=3, grace_ms=0)
    await give_up_one(house, gate, worker)
    assert not worker.failed
    await give_up_one(house, gate, worker)
    await worker.ended.wait()
    assert "half of its slots" in worker.failed
    waiting = await house.submit("stubborn")
    await house.beat(worker)
    assert (await house.run(waiting)).attempt == 0


async def test_threads_left_behind_count_as_lost_slots(house: House):
    inside, leave = threading.Semaphore(0), threading.Event()

    def deaf() -> None:
        inside.release()
        house.bell.ring()
        leave.wait(20)

    await house.task(deaf)
    executor = PythonExecutor(house.handlers, grace_ms=0)
    worker = await house.worker({"python": executor}, slots=3)
    for number in (1, 2):
        run_id = await house.submit("deaf")
        await house.until(lambda: inside.acquire(blocking=False))
        assert worker.running == 1
        await house.cancel(run_id)
        await house.settled(run_id)
        assert (executor.abandoned, bool(worker.failed)) == (number, False)
        await house.beat(worker)
    assert worker.failed
    leave.set()
    await worker.stop()
    await executor.close()


async def test_a_worker_told_to_drain_takes_nothing_more(house: House, gate):
    await house.task(gate, name="gate")
    await house.submit("gate")
    worker = await house.worker()
    await gate.holds(1)
    await drain(house.engine, worker.session, "somebody")
    await worker.ended.wait()
    assert not worker.failed
    waiting = await house.submit("gate")
    await house.beat(worker)
    assert (await house.run(waiting)).attempt == 0
    gate.open()
    await worker.stop()
    assert (await house.session(worker)).reason == "drained"


async def test_too_many_outcomes_on_their_way_stop_the_taking(house: House, monkeypatch):
    monkeypatch.setattr("rota.worker.runtime.CLAIM_LIMIT", 6)

    async def quick() -> None: ...

    await house.task(quick)
    runs = await house.submit_many("quick", 40)
    worker = await house.worker(slots=2)
    confirm = house.desks[worker].hold("settle")
    await house.until(lambda: house.desks[worker].answers["claim"] >= 6 and worker.running == 0)
    claims = house.desks[worker].answers["claim"]
    assert claims == 6, "12 outcomes wait, and 10 may"
    confirm.set()
    ended = await house.all_settled(runs)
    assert {(run.state, run.reason) for run in ended} == {(State.SUCCESS, Reason.DONE)}


@pytest.mark.parametrize("number", [1, 40])
async def test_start_and_stop_without_work(house: House, number):
    for _ in range(number):
        worker = await house.worker()
        await worker.stop()
        await worker.stop()
