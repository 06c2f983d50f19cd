"""Several schedulers behind one broker: a worker does not know which of them has its call."""

import asyncio
from typing import Any, cast

from rota.api.waiting import Waiting
from rota.engine.control import cancel, place_queue
from rota.ports.desk import Taken
from rota.scheduler.dispatch import Dispatcher
from rota.worker.desks import LocalDesk
from tests.carried.support import Behind, Node
from tests.remote.support import ids, session, want
from tests.unit.engine.support import House


async def true() -> bool:
    return True


async def test_a_claim_is_let_go_whichever_node_is_asked_to(house: House):
    await house.task()
    await LocalDesk(house.engine).enter(session())
    closed = asyncio.Event()
    one, other = Waiting(house.another(), closed), Waiting(house.another(), closed)
    waiting = asyncio.create_task(one.claim(want(session()), true, 20.0))
    while not any(waiter.asked_at is not None for waiter in one._waiters.values()):
        await asyncio.to_thread(bool)
    assert ids(await other.claim(want(session(), limit=0), true, 20.0)) == []
    async with asyncio.timeout(5):
        assert ids(await waiting) == []
    closed.set()
    await asyncio.wait([*one._tasks, *other._tasks])


async def test_news_of_a_session_end_its_wait_for_work_at_every_node(house: House):
    """Its worker has something to look at, and could not while its claim waits."""
    await house.task()
    await LocalDesk(house.engine).enter(session())
    run = await house.submit()
    closed = asyncio.Event()
    waits = Waiting(house.another(), closed)
    assert ids(await waits.claim(want(session()), true, 20.0)) == [run.id]
    waiting = asyncio.create_task(waits.claim(want(session(), 8), true, 20.0))
    while not any(waiter.asked_at is not None for waiter in waits._waiters.values()):
        await asyncio.to_thread(bool)
    await cancel(house.engine, run.id, "ann")
    async with asyncio.timeout(5):
        assert ids(await waiting) == []
    closed.set()
    await asyncio.wait(waits._tasks)


async def test_a_scheduler_that_stops_leaves_nobody_waiting(house: House, at: Behind):
    desk, opened = await at.desk(), session()
    await desk.enter(opened)
    claim = asyncio.create_task(desk.claim(want(opened)))
    await at.node.until(1)
    await at.node.stop()
    async with asyncio.timeout(2):
        assert ids(await claim) == []
    another = Node(at)
    async with another.desk.served():
        await house.submit()
        assert len((await desk.claim(want(opened, 8))).assignments) == 1


async def test_what_the_leader_places_at_a_worker_is_told_it_at_once(house: House, at: Behind):
    """Its beat and its claim wait at the node; both come back, and it asks for what it was given."""
    desk, opened = await at.desk(), session()
    await desk.enter(opened)
    claim = asyncio.create_task(desk.claim(want(opened)))
    await at.node.until(1)
    await desk.listen([f"session:{opened.id}"]).wait(5.0)
    beat = asyncio.create_task(desk.beat(opened.id))
    await at.node.until(1, 1)
    await place_queue(house.engine, "main", "default", "round_robin", "ann")
    run = await house.submit()
    await Dispatcher(house.engine).place(await house.lead())
    async with asyncio.timeout(3):
        assert ids(await claim) == []
        reply = await beat
    assert (reply.hinted, reply.held) == (True, 1)
    assert ids(await desk.given(opened.id, [held.id for held in await desk.held(opened.id)])) == [run.id]


async def test_what_comes_in_the_moment_that_a_wait_is_over_is_given_all_the_same(house: House):
    """Else it would be the session's, and its worker would not know."""
    waits, found = Waiting(house.engine, asyncio.Event()), Taken((), True, True)

    class Ear:
        def wake(self) -> None:
            """The answer is ready before the timeout is noticed, and both before the claim goes on."""
            asyncio.get_running_loop().call_soon(lambda: waits._waiters[session().id].end(found))

    waits._ear = cast(Any, Ear())
    assert await waits.claim(want(session()), true, 0) is found
