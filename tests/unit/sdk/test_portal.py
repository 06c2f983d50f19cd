import asyncio
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from rota.domain.errors import RotaError
from rota.ports.loops import at_once
from rota.sdk.portal import Portal, synchronous


class Desk:
    """Something in both colours."""

    def __init__(self) -> None:
        self.portal = Portal()

    async def ahello(self, name: str, *, loud: bool = False) -> str:
        """Says hello."""
        return f"hello {name}{'!' if loud else ''} from {threading.current_thread().name}"

    async def afail(self) -> None:
        raise LookupError("nothing here")

    hello = synchronous(ahello)
    fail = synchronous(afail)


@pytest.fixture
def desk():
    made = Desk()
    yield made
    made.portal.close()


def portals() -> int:
    return sum(thread.name == "rota-portal" for thread in threading.enumerate())


def test_a_synchronous_twin_does_the_same(desk):
    assert desk.hello("you", loud=True) == "hello you! from rota-portal"
    assert desk.hello.__doc__ == "Says hello."


def test_errors_come_out_as_they_were(desk):
    with pytest.raises(LookupError, match="nothing here"):
        desk.fail()


def test_no_thread_before_the_first_call_and_one_after(desk):
    assert portals() == 0
    desk.hello("a")
    desk.hello("b")
    assert portals() == 1
    desk.portal.close()
    assert portals() == 0
    desk.portal.close()
    assert desk.hello("c")


def test_many_threads_share_one_loop(desk):
    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    with ThreadPoolExecutor(8) as threads:
        loops = set(threads.map(lambda _: desk.portal.call(loop()), range(200)))
    assert len(loops) == 1
    assert portals() == 1


async def test_on_a_running_loop_it_refuses_to_block_and_says_what_helps(desk):
    with pytest.raises(RotaError, match="begins with `a`"):
        desk.hello("a")
    assert await asyncio.to_thread(desk.hello, "b")


def test_its_own_thread_cannot_wait_for_itself(desk):
    async def inner() -> str:
        return str(desk.hello("you"))

    with pytest.raises(RotaError, match="begins with `a`"):
        desk.portal.call(inner())


def test_closing_cancels_the_calls_under_way(desk):
    inside = threading.Event()
    ended: list[str] = []

    async def forever() -> None:
        inside.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("in order")

    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(lambda: desk.portal.call(forever()))
        assert inside.wait(20)
        desk.portal.close()
        with pytest.raises(CancelledError):
            waiting.result(20)
    assert ended == ["in order"]


def test_open_and_close_from_many_threads(desk):
    def one(number: int) -> bool:
        try:
            desk.hello(str(number))
        except CancelledError:
            return False
        finally:
            if number % 5 == 0:
                desk.portal.close()
        return True

    with ThreadPoolExecutor(8) as threads:
        assert any(threads.map(one, range(300)))
    desk.portal.close()
    assert portals() == 0


class Forever:
    def __await__(self):
        yield


async def waiting():
    await Forever()


def test_what_waits_for_nothing_needs_no_loop(desk):
    assert at_once(desk.ahello("Ada")) == f"hello Ada from {threading.main_thread().name}"
    with pytest.raises(LookupError):
        at_once(desk.afail())
    with pytest.raises(RuntimeError, match="waits for something"):
        at_once(waiting())
