import asyncio
import gc
import threading
import weakref
from functools import partial

import pytest

from rota.stores.sql.serial import SerialThread


@pytest.fixture
def serial():
    made = SerialThread("test-serial")
    yield made
    made.close()


def fail() -> None:
    raise ValueError("no")


async def test_it_does_one_thing_after_another_and_tells_how_each_ended(serial: SerialThread):
    done: list[int] = []
    await asyncio.gather(*(serial.ask(partial(done.append, number)) for number in range(50)))
    assert done == [*range(50)]
    assert await serial.ask(threading.get_ident) != threading.get_ident()
    with pytest.raises(ValueError, match="no"):
        await serial.ask(fail)
    serial.put(fail)  # nobody learns of it
    assert await _asked(serial) == "still there"


async def test_what_nobody_waits_for_any_more_is_not_begun(serial: SerialThread):
    go, done = threading.Event(), []
    held = serial.ask(lambda: go.wait(20))
    unwanted = serial.ask(lambda: done.append("unwanted"))
    unwanted.cancel()
    go.set()
    assert await held
    await serial.ask(lambda: done.append("wanted"))
    assert done == ["wanted"]


async def test_a_close_lets_what_was_asked_before_end_and_takes_nothing_more(serial: SerialThread):
    answer = serial.ask(lambda: "before")
    serial.close()
    serial.close()
    assert await answer == "before"
    for refused in (serial.put, serial.ask):
        with pytest.raises(RuntimeError):
            refused(lambda: None)


async def test_what_is_done_is_held_no_longer(serial: SerialThread):
    def work() -> None: ...

    gone = threading.Event()
    weakref.finalize(work, gone.set)
    await serial.ask(work)
    del work
    assert await asyncio.to_thread(gone.wait, 20)


async def test_an_answer_that_comes_after_a_cancel_is_nobodys(serial: SerialThread):
    begun, go, troubles = threading.Event(), threading.Event(), []
    asyncio.get_running_loop().set_exception_handler(lambda _, trouble: troubles.append(trouble))

    def work() -> None:
        begun.set()
        go.wait(20)

    answer = serial.ask(work)
    await asyncio.to_thread(begun.wait, 20)
    answer.cancel()
    go.set()
    assert await _asked(serial) == "still there"
    assert troubles == []


async def test_its_thread_ends_with_the_last_reference():
    ident = await (serial := SerialThread("test-serial-gone")).ask(threading.current_thread)
    del serial
    gc.collect()
    await asyncio.to_thread(ident.join, 20)
    assert not ident.is_alive()


def test_an_answer_for_a_loop_that_is_gone_is_nobodys(serial: SerialThread):
    go = threading.Event()

    async def leave() -> None:
        serial.ask(lambda: go.wait(20))

    asyncio.run(leave())
    go.set()
    assert asyncio.run(_asked(serial)) == "still there"


async def _asked(serial: SerialThread) -> str:
    async with asyncio.timeout(20):
        return await serial.ask(lambda: "still there")
