import asyncio
import gc
import threading

from rota.stores.hub import ANYTHING, Hub


async def test_an_ear_hears_its_topics_and_counts():
    hub = Hub()
    ear = hub.watch(["a", "lane:*"])
    hub.tell({"a": 1, "b": 5, "lane:x": 2})
    hub.tell({"a": 1})
    assert await ear.wait(0) == {"a": 2, "lane:x": 2}
    assert await ear.wait(0) == {}


async def test_anything_means_every_topic_of_an_ear():
    hub = Hub()
    ear = hub.watch(["a", "lane:*"])
    hub.tell({ANYTHING: 1})
    assert await ear.wait(0) == {"a": 1, "lane:*": 1}


async def test_a_hint_from_a_thread_ends_a_wait():
    hub = Hub()
    ear = hub.watch(["a"])
    waiting = asyncio.create_task(ear.wait(None))
    threading.Thread(target=hub.tell, args=({"a": 1},)).start()
    assert await waiting == {"a": 1}


async def test_a_cancelled_wait_loses_nothing():
    hub = Hub()
    ear = hub.watch(["a"])
    waiting = asyncio.create_task(ear.wait(None))
    await asyncio.wait([waiting], timeout=0)
    waiting.cancel()
    await asyncio.wait([waiting])
    hub.tell({"a": 1})
    assert await ear.wait(None) == {"a": 1}


async def test_wake_ends_the_wait_under_way_or_the_next():
    ear = Hub().watch(["a"])
    ear.wake()
    assert await ear.wait(None) == {}
    waiting = asyncio.create_task(ear.wait(None))
    threading.Thread(target=ear.wake).start()
    assert await waiting == {}


async def test_closing_ends_every_wait_and_hears_no_more():
    hub = Hub()
    one, two = hub.watch(["a"]), hub.watch(["a"])
    waiting = asyncio.create_task(one.wait(None))
    hub.close()
    assert await waiting == {}
    hub.tell({"a": 1})
    assert await two.wait(None) == {}


def test_an_ear_may_be_used_from_one_loop_after_another():
    hub = Hub()
    ear = hub.watch(["a"])
    for _ in range(2):
        assert asyncio.run(ear.wait(0.001)) == {}
        hub.tell({"a": 1})
        assert asyncio.run(ear.wait(None)) == {"a": 1}


def test_a_loop_that_ended_while_its_ear_waited_does_no_harm():
    hub = Hub()
    ear = hub.watch(["a"])
    loop = asyncio.new_event_loop()
    task = loop.create_task(ear.wait(None))
    loop.run_until_complete(asyncio.wait([task], timeout=0))
    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))
    loop.close()
    hub.tell({"a": 1})
    assert asyncio.run(ear.wait(0)) == {"a": 1}


def test_an_ear_that_nobody_holds_is_forgotten():
    hub = Hub()
    hub.watch(["a"])
    gc.collect()
    assert len(hub._ears) == 0
