"""Several schedulers behind one broker: a worker does not know which of them has its call."""

import asyncio

from rota.api.waiting import Waiting
from rota.engine.control import cancel
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
