"""Beats come from a thread of their own, whatever the worker's loop does."""

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest

from rota.domain.errors import Barred, Unavailable, Unclear
from rota.domain.facts import Trouble
from rota.domain.records import Load
from rota.domain.run import State
from rota.ports.store import BeatReply
from rota.testing.recorder import Recorder
from rota.worker.pulse import SAY_MS, Pulse
from tests.unit.worker.support import LONG_MS, PATIENCE, Bell, House, Time

OPEN = BeatReply(True, 0, 0, (), 10, False)
BEAT_MS = 20


class Deaf:
    """An ear for no hints, which only `wake` wakes."""

    def __init__(self) -> None:
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()

    async def wait(self, seconds):
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()
        return {}

    def wake(self):
        self._loop.call_soon_threadsafe(self._woken.set)

    def close(self):
        self.closed = True


class Heart:
    """A pulse, and the desk at the other end of it."""

    def __init__(self, beat_ms: int = BEAT_MS) -> None:
        self.bell = Bell()
        self.facts = Recorder()
        self.beats = threading.Semaphore(0)
        self.threads: set[str] = set()
        self.errors: list[Exception] = []
        self.heard: list[BeatReply] = []
        self.loads: list[Load | None] = []
        self.ears: list[Deaf] = []
        self.connected = self.disconnected = 0
        self.time, self.said, self.slow_ms = Time(), 0, 0
        self.asked: list[int] = []
        self.pulse = Pulse("session-1", beat_ms, self.connect, self.hear, self.time, self.emit, self.load)

    @asynccontextmanager
    async def connect(self):
        if self.errors and isinstance(self.errors[0], OSError):
            raise self.errors.pop(0)
        self.connected += 1
        try:
            yield self, self.listen
        finally:
            self.disconnected += 1

    def load(self) -> Load:
        self.said += 1
        return Load(self.said, 0, 0, 0, 0, 0)

    def listen(self, topics):
        assert topics == ["session:session-1"]
        self.ears.append(Deaf())
        return self.ears[-1]

    async def beat(self, session: str, load: Load | None = None) -> BeatReply:
        self.beats.release()
        self.loads.append(load)
        self.threads.add(threading.current_thread().name)
        self.bell.ring()
        self.time.pass_by(self.slow_ms)
        if self.errors:
            raise self.errors.pop(0)
        return OPEN

    def hear(self, reply: BeatReply | Barred, asked: int) -> None:
        assert isinstance(reply, BeatReply)
        self.heard.append(reply)
        self.asked.append(asked)
        self.bell.ring()

    def emit(self, fact) -> None:
        self.facts(fact)
        self.bell.ring()

    async def until(self, condition):
        return await self.bell.until(condition)


async def test_a_slow_answer_vouches_for_the_instant_of_the_question():
    heart = Heart()
    heart.slow_ms = 3_600_000
    before = heart.time.monotonic()
    await heart.pulse.start(False)
    await heart.until(lambda: heart.asked)
    await heart.pulse.stop()
    assert heart.asked[0] < before + heart.slow_ms


@pytest.mark.parametrize("thread", [True, False])
async def test_it_beats_on_and_on_and_is_heard(thread):
    heart = Heart()
    await heart.pulse.start(thread)
    await heart.until(lambda: len(heart.heard) >= 5)
    await heart.pulse.stop()
    assert heart.threads == {"rota-pulse" if thread else "MainThread"}
    assert (heart.connected, heart.disconnected) == (1, 1)
    assert all(ear.closed for ear in heart.ears)
    assert "rota-pulse" not in {thread.name for thread in threading.enumerate()}


async def test_what_the_worker_does_goes_with_a_beat_now_and_then():
    """It is written where it changed, which it nearly always did."""
    heart = Heart()
    await heart.pulse.start(thread=False)
    await heart.until(lambda: len(heart.loads) >= 5)
    assert [one is not None for one in heart.loads[:5]] == [True, False, False, False, False]
    heart.time.pass_by(SAY_MS)
    await heart.until(lambda: heart.said == 2)
    await heart.pulse.stop()


@pytest.mark.parametrize("thread", [True, False])
async def test_a_hint_makes_it_beat_at_once(thread):
    heart = Heart(LONG_MS)
    await heart.pulse.start(thread)
    await heart.until(lambda: heart.heard)
    heart.ears[0].wake()
    await heart.until(lambda: len(heart.heard) == 2)
    await heart.pulse.stop()


async def test_it_beats_while_the_loop_is_blocked_and_names_what_blocks_it():
    heart = Heart()

    async def blocks() -> None:
        for _ in range(6):
            assert heart.beats.acquire(timeout=PATIENCE)

    await heart.pulse.start(thread=True)
    await heart.until(lambda: heart.heard)
    await asyncio.create_task(blocks(), name="run 7 of report")
    await heart.pulse.stop()
    stalls = [str(fact.error) for fact in heart.facts.of(Trouble) if fact.where == "worker loop"]
    assert stalls
    assert all(stall.endswith("by run 7 of report") for stall in stalls)


@pytest.mark.parametrize("error", [Unavailable("down"), Unclear("lost"), OSError("no way"), RuntimeError("a bug")])
@pytest.mark.parametrize("thread", [True, False])
async def test_it_survives_errors_and_is_soon_back(error, thread):
    heart = Heart()
    heart.errors = [error] * 2
    await heart.pulse.start(thread)
    await heart.until(lambda: len(heart.heard) >= 3)
    await heart.pulse.stop()
    assert len(heart.facts.of(Trouble)) == 2


async def test_an_outage_costs_no_longer_than_it_lasts():
    """However often it failed, the wait for the next try is no longer than a beat."""
    heart = Heart(BEAT_MS)
    heart.errors = [Unavailable("down")] * 30
    await heart.pulse.start(thread=True)
    async with asyncio.timeout(5):
        await heart.until(lambda: heart.heard)
    await heart.pulse.stop()


async def test_what_it_hears_after_the_stop_is_dropped():
    heart = Heart(LONG_MS)
    await heart.pulse.start(thread=True)
    await heart.until(lambda: heart.heard)
    heart.ears[0].wake()
    heart.ears[0].wake()
    await heart.pulse.stop()
    heard = len(heart.heard)
    await asyncio.get_running_loop().run_in_executor(None, str)
    assert len(heart.heard) == heard


async def test_start_and_stop_again_and_again():
    before = set(threading.enumerate())
    for _ in range(50):
        heart = Heart()
        await heart.pulse.start(thread=True)
        await heart.pulse.stop()
        await heart.pulse.stop()
    assert set(threading.enumerate()) == before


async def test_stop_without_start():
    await Heart().pulse.stop()


async def test_a_worker_whose_loop_is_blocked_keeps_its_session_and_is_told_later(house: House, gate):
    """The cancel of a run next to the blocking one reaches it as soon as the loop is free."""
    inside, leave = threading.Event(), threading.Event()

    async def blocks() -> None:
        inside.set()
        leave.wait(PATIENCE)

    await house.task(gate, name="gate")
    await house.task(blocks)
    victim = await house.submit("gate")
    worker = await house.worker(thread=True, beat_ms=BEAT_MS)
    await gate.holds(1)
    blocking = await house.submit("blocks")
    beats = house.desks[worker].answers["beat"]

    def meanwhile() -> None:
        assert inside.wait(PATIENCE)
        asyncio.run(house.cancel(victim))
        while house.desks[worker].answers["beat"] < beats + 10:
            if leave.wait(0.005):
                break
        leave.set()

    other = threading.Thread(target=meanwhile)
    other.start()
    assert (await house.settled(victim)).state is State.CANCELLED
    assert (await house.settled(blocking)).state is State.SUCCESS
    other.join()
    assert any(blocking in str(error) for error in house.troubles("worker loop"))
    assert len(house.desks[worker].of("enter")) == 1


async def test_a_stopped_worker_leaves_no_thread_and_no_task(house: House):
    async def quick() -> None: ...

    def slow() -> None: ...

    threads, tasks = set(threading.enumerate()), asyncio.all_tasks()
    await house.task(quick)
    await house.task(slow)
    runs = [*await house.submit_many("quick", 3), *await house.submit_many("slow", 3)]
    worker = await house.worker(thread=True)
    await house.all_settled(runs)
    await worker.stop()
    left = {thread.name for thread in set(threading.enumerate()) - threads}
    assert {name for name in left if not name.startswith(("rota-task", "asyncio"))} == set()
    assert asyncio.all_tasks() == tasks
