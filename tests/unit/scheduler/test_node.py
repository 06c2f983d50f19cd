"""A node with its real duties over the real engine."""

import asyncio
import threading

import pytest

from rota.domain.facts import RunsSettled, SchedulesFired, SessionChanged
from rota.domain.lane import lane
from rota.domain.run import Reason, Run, State
from rota.domain.schedule import Overlap, Policy, Schedule
from rota.domain.task import Task
from rota.domain.triggers import Interval
from rota.engine.account import report
from rota.engine.claim import claim
from rota.engine.define import create_task
from rota.engine.engine import Engine
from rota.engine.sessions import enter
from rota.engine.submit import Order, submit
from rota.ports.store import Want, Where
from rota.scheduler.leader import NAME
from rota.testing.factories import make_session
from rota.testing.faults import LOST_REPLY, UNAVAILABLE
from tests.services.turns import breathe
from tests.unit.scheduler.support import PATIENCE, TTL_MS, Court, threads

MINUTE_MS = 60_000
LANE = lane("main", "default", "python")


async def minutely(engine: Engine, **policy) -> None:
    """A task with a schedule for every minute."""
    schedule = Schedule("main", "minutely", "report", Interval(MINUTE_MS), policy=Policy(**policy))
    await create_task(engine, Task("main", "report"), [schedule], "test")


async def runs(court: Court, *states: State) -> list[Run]:
    return [held.record for held in (await court.store.find(Run, Where(states=states))).items]


async def ready(court: Court) -> None:
    """Until a run can be claimed."""
    ear = court.store.watch([f"lane:{LANE}"])
    async with asyncio.timeout(PATIENCE):
        while not await runs(court, State.PENDING):
            await ear.wait(0.1)
    ear.close()


async def fired(court: Court, times: int) -> None:
    await court.until(lambda: len(court.facts.of(SchedulesFired)) >= times)


async def test_a_schedule_fires_when_its_time_has_come(court: Court):
    engine = court.engine()
    await minutely(engine, overlap=Overlap.ALLOW)
    node = await court.node()
    await court.leading(node)
    await breathe()
    assert await runs(court) == []
    for number in (1, 2, 3):
        await court.pass_by(MINUTE_MS, node)
        await fired(court, number)
    made = await runs(court)
    assert len({run.nominal_at for run in made}) == len(made) == 3


async def test_a_delayed_run_ripens_at_its_instant(court: Court):
    engine = court.engine()
    await create_task(engine, Task("main", "report"), [], "test")
    node = await court.node()
    await court.leading(node)
    (receipt,) = await submit(engine, [Order("report", due_at=court.clock.now() + 5_000)])
    await court.pass_by(4_999, node)
    await breathe()
    assert [run.state for run in await runs(court)] == [State.SCHEDULED]
    await court.pass_by(1, node)
    await ready(court)
    assert [run.id for run in await runs(court)] == [receipt.id]


async def test_runs_of_a_worker_that_beats_no_more_are_taken_back(court: Court):
    engine = court.engine()
    await create_task(engine, Task("main", "report"), [], "test")
    session = make_session(1)
    await enter(engine, session)
    await submit(engine, [Order("report")])
    (taken,) = await claim(engine, [Want(session.id, "w", 7, 1, (LANE,))])
    assert len(taken.assignments) == 1
    node = await court.node()
    await court.leading(node)
    for _ in range(12):
        await court.pass_by(session.ttl_ms // 10, node)
        await breathe()
    await court.until(lambda: [fact for fact in court.facts.of(SessionChanged) if not fact.open])
    await court.until(lambda: court.facts.of(RunsSettled))
    (run,) = await runs(court)
    assert (run.state, run.reason, run.lost, run.tries) == (State.PENDING, Reason.LOST, 1, 0)


async def test_a_worker_that_beats_is_never_taken_for_lost_however_long_it_runs(court: Court):
    """M6: liveness decides, not age. Five ttls, with a beat in each, and clocks that are set meanwhile."""
    engine = court.engine()
    await create_task(engine, Task("main", "report"), [], "test")
    session = make_session(1)
    await enter(engine, session)
    await submit(engine, [Order("report", timeout_ms=0)])
    await claim(engine, [Want(session.id, "w", 7, 1, (LANE,))])
    node = await court.node()
    await court.leading(node)
    for number in range(25):
        await court.behind.beat([session.id])
        court.clock.jump([0, -3_600_000, 3_600_000][number % 3])
        await court.pass_by(session.ttl_ms // 5, node)
        await breathe()
    assert [fact.open for fact in court.facts.of(SessionChanged)] == [True]
    (run,) = await runs(court)
    assert (run.state, run.attempt, run.lost) == (State.RUNNING, 1, 0)


async def test_a_node_that_was_overtaken_unawares_writes_nothing(court: Court):
    """Its monotonic clock says that it leads, the store knows better: the term on every write decides (I1)."""
    await minutely(court.engine())
    node = await court.node()
    await court.leading(node)
    court.clock.jump(MINUTE_MS)
    thief = await court.store.lead(NAME, "thief", TTL_MS)
    assert (thief.mine, thief.number) == (True, 2)
    assert node.leader.term
    await court.hint("schedules")
    await court.until(lambda: node.leader.term is None or court.facts.of(SchedulesFired))
    assert (court.facts.of(SchedulesFired), await runs(court)) == ([], [])


async def test_another_node_takes_over_at_once_and_fires_on(court: Court):
    await minutely(court.engine(), overlap=Overlap.ALLOW)
    first, second = await court.node("first"), await court.node("second")
    leading = await court.until(lambda: [one for one in (first, second) if one.leader.term])
    other = second if leading[0] is first else first
    await leading[0].stop()
    assert await court.leading(other) == 2
    await court.pass_by(MINUTE_MS, other)
    await fired(court, 1)
    assert len(await runs(court)) == 1


async def test_two_nodes_of_one_name_are_two_holders(court: Court):
    nodes = [await court.node("same") for _ in range(5)]
    assert len({node.holder for node in nodes}) == 5
    await court.until(lambda: [node for node in nodes if node.leader.term])
    await breathe()
    assert len([node for node in nodes if node.leader.term]) == 1


@pytest.mark.parametrize("fault", [LOST_REPLY, UNAVAILABLE])
async def test_an_occurrence_is_fired_once_whatever_happens_to_its_commit(court: Court, fault):
    """M14: so often that the engine's own resend meets the fault as well, and whatever else the leader writes."""
    await minutely(court.engine(), overlap=Overlap.ALLOW)
    node = await court.node()
    await court.leading(node)
    await breathe()
    court.fail("commit", fault, times=6)
    await court.pass_by(MINUTE_MS, node)
    await ready(court)
    await court.until(lambda: court.troubles("fire"))
    await court.pass_by(0, node)
    await breathe()
    assert len(await runs(court)) == 1


async def test_a_node_leaves_no_thread_and_no_task(court: Court):
    before, tasks = threads(), asyncio.all_tasks()
    for _ in range(10):
        node = await court.node(thread=True)
        await court.leading(node)
        await node.stop()
        await node.stop()
    assert threads() == before
    assert asyncio.all_tasks() == tasks
    assert threading.active_count() == len(threading.enumerate())


async def test_it_accounts_for_the_house_and_says_where_it_cannot(court: Court):
    """A look that failed is told, and begun anew: what it had seen by then was not judged."""
    node = await court.node(account_ms=20)
    await court.leading(node)
    await minutely(court.engine(), overlap="allow")
    await court.pass_by(MINUTE_MS, node)
    await fired(court, 1)
    async with asyncio.timeout(PATIENCE):
        ear = court.store.watch(["nobody"])
        while (found := await report(court.engine())) is None or not found.schedules:
            await ear.wait(0.02)
        ear.close()
    assert found.unaccounted == 0
    court.fail("commit", UNAVAILABLE)
    await court.until(lambda: court.troubles("account"))
