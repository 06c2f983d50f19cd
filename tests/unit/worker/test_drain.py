"""A worker that leaves: what runs may finish, the rest goes back unburnt."""

import asyncio
from contextlib import suppress

import pytest

from rota import Cancel
from rota.domain.errors import Barred, Unavailable
from rota.domain.run import Reason, State
from rota.domain.task import OnLost
from rota.engine.sessions import leave
from rota.ports.desk import LEFT
from tests.services.turns import breathe
from tests.unit.worker.support import PATIENCE, House

SHORT_MS = 30


async def test_a_drain_lets_run_what_ends_in_time(house: House, gate):
    run_id = await house.begun(gate, name="gate")
    worker = await house.worker()
    await gate.holds(1)
    stopping = asyncio.create_task(worker.stop())
    waiting = await house.submit("gate")
    gate.open()
    await stopping
    assert (await house.run(run_id)).state is State.SUCCESS
    assert (await house.run(waiting)).attempt == 0


@pytest.mark.parametrize("drain_ms", [SHORT_MS, 0])
async def test_a_drain_hands_back_unburnt_what_does_not(house: House, gate, drain_ms):
    run_id = await house.begun(gate, name="gate")
    worker = await house.worker(drain_ms=drain_ms)
    await gate.holds(1)
    await worker.stop()
    run = await house.run(run_id)
    assert (run.state, run.reason, run.tries, run.lost) == (State.PENDING, Reason.RETURNED, 0, 0)


async def test_a_drain_ends_at_once_what_is_not_its_own_any_more(house: House, gate):
    """Its session lapsed meanwhile, and its runs are with others."""
    run_id = await house.begun(gate, name="gate")
    worker = await house.worker()
    await gate.holds(1)
    stopping = asyncio.create_task(worker.stop())
    await breathe()
    await leave(house.engine, worker.session, "lapsed")
    await house.take_back(run_id)
    await gate.holds(0)
    await stopping
    run = await house.run(run_id)
    assert (run.state, run.attempt, run.lost, house.refused()) == (State.PENDING, 1, 1, [])


async def test_a_success_that_beats_a_drain_counts(house: House, gate):
    async def hurried() -> str:
        with suppress(asyncio.CancelledError):
            await gate()
        return "done"

    run_id = await house.begun(hurried)
    worker = await house.worker(drain_ms=SHORT_MS)
    await gate.holds(1)
    await worker.stop()
    run = await house.run(run_id)
    assert (run.state, run.result) == (State.SUCCESS, b'"done"')


@pytest.mark.parametrize("error", [RuntimeError, Cancel])
async def test_who_gives_up_because_its_worker_leaves_has_neither_failed_nor_cancelled(house: House, gate, error):
    async def upset() -> None:
        try:
            await gate()
        except asyncio.CancelledError:
            raise error("asked to stop") from None

    run_id = await house.begun(upset)
    worker = await house.worker(drain_ms=SHORT_MS)
    await gate.holds(1)
    await worker.stop()
    run = await house.run(run_id)
    assert (run.state, run.reason, run.tries) == (State.PENDING, Reason.RETURNED, 0)


async def test_who_ignores_a_drain_is_handed_back_all_the_same(house: House, gate):
    async def stubborn() -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await gate()
                return

    run_id = await house.begun(stubborn)
    worker = await house.worker(drain_ms=SHORT_MS, grace_ms=SHORT_MS)
    await gate.holds(1)
    await worker.stop()
    run = await house.run(run_id)
    assert (run.state, run.reason, run.tries, run.lost) == (State.PENDING, Reason.RETURNED, 0, 0)
    gate.open()


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_in_a_hurry_nothing_is_waited_for_and_all_is_handed_back(house: House, gate, when):
    async def slow_to_end() -> None:
        try:
            await gate()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    runs = [await house.begun(slow_to_end), await house.begun(gate, name="fails", on_lost=OnLost.FAIL)]
    long_ms = 2_000 * PATIENCE
    worker = await house.worker(drain_ms=long_ms, grace_ms=long_ms)
    await gate.holds(2)
    if when == "before":
        worker.hurry()
    stopping = asyncio.create_task(worker.stop())
    await breathe()
    worker.hurry()
    async with asyncio.timeout(PATIENCE):
        await stopping
    back, failed = [await house.run(one) for one in runs]
    assert (back.state, back.reason, back.tries, back.lost) == (State.PENDING, Reason.RETURNED, 0, 0)
    assert (failed.state, failed.reason, failed.lost) == (State.FAILED, Reason.LOST, 0)


@pytest.mark.parametrize("how", ["told", "untold", "barred"])
async def test_who_leaves_says_whether_all_that_it_had_is_told(house: House, gate, how):
    run_id = await house.begun(gate, name="gate")
    worker = await house.worker(drain_ms=SHORT_MS)
    await gate.holds(1)
    desk = house.desks[worker]
    if how == "untold":
        desk.errors["settle"] = [Unavailable("away")] * 1_000
    if how == "barred":
        desk.errors["claim"] = [Barred("not for this queue any more")]
        await house.submit("gate")
        await worker.ended.wait()
        await gate.holds(0)
    await worker.stop()
    assert bool(desk.of("held")) is (how != "barred"), "what was cut short is not what it never had"
    assert ((await house.session(worker)).reason == LEFT) is (how == "told")
    assert (await house.run(run_id)).state is (State.PENDING if how == "told" else State.RUNNING)
