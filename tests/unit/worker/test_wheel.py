"""One timer for all deadlines; wall clocks mean nothing to it."""

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest

from rota.domain.run import End, Fence, Outcome, Reason
from rota.domain.task import Clocks, Task
from rota.ports.desk import Assignment
from rota.ports.loops import end
from rota.testing.clock import MovableClock
from rota.testing.factories import make_run
from rota.worker.attempt import SILENT, TIMEOUT, TOTAL, Attempt
from rota.worker.context import RunContext
from rota.worker.wheel import Wheel
from tests.services.turns import breathe
from tests.unit.worker.support import PATIENCE, Bell

GRACE_MS = 1_000
HOUR_MS = 3_600_000


class Turning:
    """A wheel on a clock that moves when told to."""

    def __init__(self) -> None:
        self.bell = Bell()
        self.clock = MovableClock()
        self.attempts: dict[Fence, Attempt] = {}
        self.given_up: list[tuple[Attempt, Outcome]] = []
        self.wheel = Wheel(self.attempts, self.clock, GRACE_MS, self._give_up)

    def _give_up(self, attempt: Attempt, outcome: Outcome) -> None:
        self.given_up.append((attempt, outcome))
        self.bell.ring()
        del self.attempts[attempt.fence]

    def attempt(self, number: int, timeout_ms: int | None, silence_ms: int | None = None, total_ms=None) -> Attempt:
        now, began = self.clock.now(), self.clock.monotonic()
        run = make_run(number, timeout_ms=timeout_ms, end_by=now + total_ms if total_ms else None)
        task = Task("main", "report", clocks=Clocks(silence_ms=silence_ms, total_ms=total_ms))
        limits = [began + one for one in (timeout_ms, total_ms) if one is not None]
        assignment = Assignment(run, task, b"", 1)
        context = RunContext(assignment, None, self.clock, lambda _: None)
        made = Attempt(assignment, context, began, min(limits, default=None))
        self.attempts[made.fence] = made
        self.wheel.watch(made)
        return made

    async def turn(self) -> None:
        """Let the wheel look at once, as when its timer rings."""
        self.wheel.watch(self._nudge)
        await breathe()

    @property
    def _nudge(self) -> Attempt:
        """An attempt that is none of the wheel's, and was over long ago."""
        assignment = Assignment(make_run(0), Task("main", "report"), b"", 1)
        return Attempt(assignment, RunContext(assignment, None, self.clock, lambda _: None), 0, -HOUR_MS)

    def stopped(self) -> dict[str, str]:
        return {one.assignment.run.id: one.context.stopping for one in self.attempts.values() if one.context.stopping}


@pytest.fixture
async def turning() -> AsyncIterator[Turning]:
    made = Turning()
    running = asyncio.create_task(made.wheel.run())
    await breathe()
    async with asyncio.timeout(PATIENCE):
        yield made
    await end(running)


async def test_thousands_of_attempts_end_each_at_its_own_time(turning: Turning):
    random = Random(1)
    limits = {}
    for number in range(5_000):
        limit = random.choice([None, random.randrange(1, HOUR_MS)])
        limits[turning.attempt(number, limit).assignment.run.id] = limit
    await turning.turn()
    assert turning.stopped() == {}
    expected: set[str] = set()
    for now in (1, 500, 60_000, 60_001, HOUR_MS // 2, HOUR_MS):
        turning.clock.advance(now - turning.clock.monotonic())
        await turning.turn()
        expected |= {run for run, limit in limits.items() if limit is not None and limit <= now}
        told = turning.stopped() | {one.assignment.run.id: TIMEOUT for one, _ in turning.given_up}
        assert set(told) == expected
        assert set(told.values()) <= {TIMEOUT}


async def test_there_is_one_timer_however_many_attempts(turning: Turning, monkeypatch):
    timers: list[float] = []
    loop = asyncio.get_running_loop()
    real = loop.call_at

    def counting(when, callback, *args, **kwargs):
        timers.append(when)
        return real(when, callback, *args, **kwargs)

    monkeypatch.setattr(loop, "call_at", counting)
    for number in range(2_000):
        turning.attempt(number, HOUR_MS + number)
    await breathe()
    assert timers == [], "none of them ends before the wheel looks anyway"
    turning.attempt(3_000, 100)
    await breathe()
    assert len(timers) == 1


async def test_a_real_timer_rings_for_the_first_of_them():
    class Steady(MovableClock):
        def monotonic(self) -> int:
            return int(asyncio.get_running_loop().time() * 1_000)

    turning = Turning()
    turning.clock = Steady()
    turning.wheel = Wheel(turning.attempts, turning.clock, 0, turning._give_up)
    running = asyncio.create_task(turning.wheel.run())
    for number in range(100):
        turning.attempt(number, 60_000)
    first, second = turning.attempt(1_000, 500), turning.attempt(1_001, 20)
    await turning.bell.until(lambda: len(turning.given_up) == 2)
    assert [one for one, _ in turning.given_up] == [second, first]
    await end(running)


@pytest.mark.parametrize("jump", [-10 * HOUR_MS, 10 * HOUR_MS])
async def test_a_jump_of_the_wall_clock_changes_nothing(turning: Turning, jump):
    attempts = [turning.attempt(1, 1_000), turning.attempt(2, None, 1_000), turning.attempt(3, None, None, 1_000)]
    turning.clock.jump(jump)
    await turning.turn()
    assert turning.stopped() == {}
    turning.clock.advance(999)
    await turning.turn()
    assert turning.stopped() == {}
    turning.clock.advance(1)
    await turning.turn()
    assert [one.context.stopping for one in attempts] == [TIMEOUT, SILENT, TOTAL]


async def test_progress_puts_the_silence_clock_off_and_no_other(turning: Turning):
    lively, quiet = turning.attempt(1, 2_500, 1_000), turning.attempt(2, 2_500, 1_000)
    for _ in range(2):
        turning.clock.advance(900)
        lively.context.progress("on and on")
        await turning.turn()
    assert (lively.context.stopping, quiet.context.stopping) == ("", SILENT)
    turning.clock.advance(700)
    await turning.turn()
    assert lively.context.stopping == TIMEOUT


async def test_the_first_reason_stays(turning: Turning):
    one = turning.attempt(1, 1_000)
    turning.wheel.stop(one, "cancelled")
    turning.clock.advance(1_000)
    await turning.turn()
    assert one.context.stopping == "cancelled"


async def test_who_does_not_end_within_the_grace_is_given_up_once(turning: Turning):
    timed_out, cancelled = turning.attempt(1, 500), turning.attempt(2, None)
    turning.clock.advance(500)
    await turning.turn()
    turning.clock.advance(GRACE_MS - 1)
    turning.wheel.stop(cancelled, "cancelled")
    await turning.turn()
    assert turning.given_up == []
    turning.clock.advance(1)
    await turning.turn()
    assert [(one, last.end, last.reason) for one, last in turning.given_up] == [
        (timed_out, End.FAILURE, Reason.TIMEOUT)
    ]
    turning.clock.advance(GRACE_MS)
    await turning.turn()
    await turning.turn()
    assert [(one, last.end) for one, last in turning.given_up] == [(timed_out, End.FAILURE), (cancelled, End.CANCELLED)]


async def test_a_time_that_is_over_at_the_start_ends_it(turning: Turning):
    late = turning.attempt(1, 0)
    await breathe()
    assert late.context.stopping == TIMEOUT
