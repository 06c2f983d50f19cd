"""What comes late from the desk is asked about before any of it starts."""

import pytest

from rota.domain.facts import RunsClaimed
from rota.domain.retry import Retry
from rota.domain.run import State
from rota.domain.task import Clocks
from rota.engine.sessions import leave
from tests.unit.worker.support import House


async def quick() -> str:
    return "done"


async def waiting(house: House, gate):
    """A worker that waits for runs of both tasks, and its desk."""
    await house.task(gate, name="gate")
    await house.task(quick)
    worker = await house.worker()
    await house.idle(worker)
    return worker, house.desks[worker]


async def test_runs_of_a_claim_that_was_answered_late_are_asked_about_before_they_start(house: House, gate):
    """Taken back and cancelled meanwhile, which was said to be absolute."""
    _, desk = await waiting(house, gate)
    late = desk.hold("claim")
    run_id = await house.submit("gate")
    await house.until(lambda: house.facts.of(RunsClaimed))
    house.time.pass_by(10_000)
    await house.take_back(run_id)
    assert await house.cancel(run_id) == "cancelled"
    late.set()
    await house.settled(await house.submit("quick"))
    assert gate.most == 0
    assert desk.of("held")


@pytest.mark.parametrize("verb", ["claim", "given"])
async def test_what_takes_long_to_come_starts_as_long_as_beats_are_heard_meanwhile(house: House, gate, verb):
    """Large payloads on a slow way always take so long: asked about each time, they would never start."""
    await house.task(gate, name="gate")
    worker = await house.worker()
    await house.idle(worker)
    desk = house.desks[worker]
    late = desk.hold(verb)
    if verb == "given":
        await house.place(worker, "gate", 1)
        await house.beat(worker)
        await house.until(lambda: desk.of("given"))
    else:
        await house.submit("gate")
        await house.until(lambda: house.facts.of(RunsClaimed))
    for _ in range(3):
        house.time.pass_by(9_000)
        await house.beat(worker)
    given = len(desk.of("given"))
    late.set()
    await gate.holds(1)
    assert len(desk.of("given")) == given, "it was there already"


@pytest.mark.parametrize("verb", ["claim", "given"])
async def test_what_was_over_before_it_came_does_not_start_although_beats_were_heard(house: House, gate, verb):
    await house.task(gate, name="gate", clocks=Clocks(attempt_ms=1_000), retry=Retry(retries=0))
    await house.task(quick)
    worker = await house.worker()
    await house.idle(worker)
    desk = house.desks[worker]
    late = desk.hold(verb)
    if verb == "given":
        (run_id,) = await house.place(worker, "gate", 1)
        await house.beat(worker)
        await house.until(lambda: desk.of("given"))
    else:
        run_id = await house.submit("gate")
        await house.until(lambda: house.facts.of(RunsClaimed))
    for _ in range(2):
        house.time.pass_by(9_000)
        await house.beat(worker)
    await house.ripen()
    assert (await house.run(run_id)).state is State.FAILED
    late.set()
    (quick_id,) = await house.place(worker, "quick", 1)
    await house.beat(worker, 2)
    await house.settled(quick_id)
    assert gate.most == 0


async def test_what_came_late_does_not_start_where_the_session_ends_while_it_is_asked_about(house: House, gate):
    worker, desk = await waiting(house, gate)
    late, asked = desk.hold("claim"), desk.hold("held")
    await house.submit("gate")
    await house.until(lambda: house.facts.of(RunsClaimed))
    house.time.pass_by(9_000)
    late.set()
    await house.until(lambda: desk.of("held"))
    await leave(house.engine, worker.session, "lapsed")
    await house.beat(worker)
    asked.set()
    await house.settled(await house.submit("quick"))
    assert gate.most == 0
