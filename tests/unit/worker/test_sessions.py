"""A session may be closed by others at any time; the worker begins another life without a restart."""

import sys

import pytest

from rota.domain.errors import Unavailable
from rota.domain.facts import SessionChanged
from rota.domain.records import Session
from rota.domain.run import State
from rota.engine.recover import recover
from rota.engine.sessions import leave
from rota.ports.store import Term, Where
from rota.testing.faults import LOST_REPLY
from tests.unit.worker.support import LONG_MS, House, once


async def quick() -> str:
    return "done"


async def recovered(house: House) -> int:
    """As the leader does it."""
    lead = await house.engine.store.lead("scheduler", "test", LONG_MS)
    return await recover(house.engine, Term("scheduler", lead.number))


async def sessions(house: House) -> list[Session]:
    return [held.record for held in (await house.engine.store.find(Session, Where())).items]


@pytest.mark.parametrize("slots", [1, 5])
async def test_a_closed_session_ends_its_attempts_and_another_begins(house: House, gate, slots):
    """With a free slot and without one; nobody recovers, and still the attempt is stopped (I8)."""
    run_id = await house.begun(gate, name="gate")
    worker = await house.worker(slots=slots)
    await gate.holds(1)
    first = worker.session
    await leave(house.engine, first, "closed by somebody")
    await house.until(lambda: worker.session != first)
    await gate.holds(0)
    assert house.desks[worker].of("settle") == []
    assert (await house.run(run_id)).state is State.RUNNING

    assert await recovered(house) == 1
    await gate.holds(1)
    gate.open()
    await house.until(lambda: [run for run in house.settlements(run_id) if run.state is State.SUCCESS])
    run = await house.run(run_id)
    assert (run.session, run.worker, run.attempt, run.lost, run.tries) == ("", "worker", 2, 1, 1)
    assert not house.refused()
    assert [session.open for session in sorted(await sessions(house), key=lambda one: one.id)] == [False, True]


async def test_a_claim_that_finds_the_session_closed_begins_another(house: House):
    await house.task(quick)
    worker = await house.worker()
    await house.idle(worker)
    house.desks[worker].errors["beat"] = [Unavailable("down")]
    await leave(house.engine, worker.session, "closed by somebody")
    run_id = await house.submit("quick")
    assert (await house.settled(run_id)).state is State.SUCCESS
    assert len(house.desks[worker].of("enter")) == 2


async def test_a_claim_that_finds_the_session_closed_ends_what_it_held(house: House, gate):
    await house.task(quick)
    await house.begun(gate, name="gate")
    worker = await house.worker(slots=2)
    await gate.holds(1)
    house.desks[worker].errors["beat"] = [Unavailable("down")]
    await leave(house.engine, worker.session, "closed by somebody")
    await house.settled(await house.submit("quick"))
    await gate.holds(0)
    assert [len(batch) for batch in house.desks[worker].of("settle")] == [1]


async def test_opening_another_session_is_tried_until_it_works(house: House, gate):
    await house.task(gate, name="gate")
    worker = await house.worker()
    desk = house.desks[worker]
    await house.idle(worker)
    desk.errors["enter"] = [Unavailable("down"), Unavailable("down")]
    house.store.plan = once("commit", LOST_REPLY)
    await leave(house.engine, worker.session, "closed by somebody")
    await house.until(lambda: desk.answers["enter"] == 2)
    run_id = await house.submit("gate")
    await gate.holds(1)
    gate.open()
    assert (await house.settled(run_id)).state is State.SUCCESS
    assert [session.id for session in await sessions(house) if session.open] == [worker.session]


async def test_a_session_closed_fifty_times_is_opened_fifty_times(house: House):
    await house.task(quick)
    worker = await house.worker()
    seen = set()
    for number in range(1, 51):
        await house.until(lambda: house.desks[worker].answers["enter"] == number)  # noqa: B023  # awaited here
        seen.add(worker.session)
        await leave(house.engine, worker.session, "closed by somebody")
    run_id = await house.submit("quick")
    assert (await house.settled(run_id)).state is State.SUCCESS
    assert len(seen) == 50


async def test_a_start_without_a_store_is_told_and_leaves_nothing(house: House):
    streams = (sys.stdout, sys.stderr)
    house.store.down = True
    with pytest.raises(Unavailable):
        await house.worker()
    house.store.down = False
    (worker,) = house.desks
    await worker.stop()
    assert (sys.stdout, sys.stderr) == streams
    await worker.start()
    assert len([session for session in await sessions(house) if session.open]) == 1


async def test_workers_of_one_name_are_as_many_sessions(house: House, gate):
    """I20, M3."""
    await house.task(gate, name="gate")
    workers = [await house.worker(name="same", slots=2) for _ in range(5)]
    assert len({worker.session for worker in workers}) == 5
    runs = await house.submit_many("gate", 10)
    await gate.holds(10)
    assert [worker.running for worker in workers] == [2] * 5
    held = [await house.run(one) for one in runs]
    assert {run.worker for run in held} == {"same"}
    assert {run.session for run in held} == {worker.session for worker in workers}

    gate.open()
    assert {run.state for run in await house.all_ended(runs)} == {State.SUCCESS}
    assert not house.refused()


async def test_facts_tell_of_each_life(house: House):
    worker = await house.worker()
    await worker.stop()
    told = [(fact.open, fact.reason) for fact in house.facts.of(SessionChanged)]
    assert told == [(True, ""), (False, "drained")]
