"""Time that jumps: an event loop on which hours cost milliseconds, and whose every choice comes from a seed.

    simulate(7, main)        runs `main(loop)` to its end; the same seed gives the same run, whatever the machine

Nothing waits for real. When nobody can go on, the clock stands at the next timer at once; what could go on at the same
instant does so in an order drawn by the seed. What belongs to one process runs in its `Lane`, which can be stopped at
any await, as by SIGSTOP, and for good, as by a crash: then not even its `finally` is reached.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from heapq import heappop
from math import ceil
from random import Random
from typing import Any, TypeVar, TypeVarTuple

from rota.testing.clock import START_AT

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

OUTSIDE = Context()
"""Where what belongs to no process runs: the network, the store."""


class Stuck(AssertionError):
    """Everybody waits for ever, or nobody ever rests."""


class Lane:
    """What stops together. `main`: the lane of the loop to which its threadsafe calls go, if another."""

    def __init__(self, main: "Lane | None" = None) -> None:
        self.main = main or self
        self.held: list[Any] | None = None
        """What would have run since it was stopped; None while it runs."""

    def stop(self) -> None:
        """Nothing of it goes on, from the next await on."""
        self.held = [] if self.held is None else self.held


LANE: ContextVar[Lane | None] = ContextVar("lane", default=None)


def within(lane: Lane) -> Context:
    """A new context in which everything belongs to the lane."""
    context = copy_context()
    context.run(LANE.set, lane)
    return context


class VirtualLoop(asyncio.BaseEventLoop):
    """`ms` have passed since its beginning. It stands on the private parts of CPython's loop; see `_run_once` there."""

    _ready: deque[Any]
    _scheduled: list[Any]

    def __init__(self, seed: int, turns: int) -> None:
        super().__init__()
        self.random = Random(seed)
        self.ms = 0
        self.turns, self._limit = 0, turns
        self.errors: list[str] = []
        """Of callbacks that failed, which nothing in a correct program does."""
        self.set_exception_handler(self._failed)

    def time(self) -> float:
        return self.ms / 1000

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As from another thread: the callback runs in the main lane, even if this one is a side's."""
        lane = LANE.get()
        if context is None and lane is not None and lane.main is not lane:
            context = within(lane.main)
        return self.call_soon(callback, *args, context=context)

    def go_on(self, lane: Lane) -> None:
        """What was held goes on, late."""
        held, lane.held = lane.held or [], None
        self._ready.extend(held)

    def _run_once(self) -> None:
        self.turns += 1
        if self.turns > self._limit:
            raise Stuck(f"no rest after {self._limit} turns and {self.ms} ms")
        self._ripen()
        batch = list(self._ready)
        self._ready.clear()
        if len(batch) > 1:
            self.random.shuffle(batch)
        for handle in batch:
            lane = handle._context.get(LANE)
            if lane is not None and lane.held is not None:
                lane.held.append(handle)
            elif not handle._cancelled:
                handle._run()

    def _ripen(self) -> None:
        timers = self._scheduled
        while timers and timers[0]._cancelled:
            heappop(timers)._scheduled = False
        if not self._ready and not timers:
            raise Stuck(f"everybody waits for ever after {self.ms} ms")
        if not self._ready:
            self.ms = max(self.ms, _whole(timers[0]._when))
        while timers and _whole(timers[0]._when) <= self.ms:
            timer = heappop(timers)
            timer._scheduled = False
            self._ready.append(timer)

    def _write_to_self(self) -> None:
        """There is no other thread to be woken by."""

    def _failed(self, _: Any, context: dict[str, Any]) -> None:
        if "handle" in context:
            self.errors.append(f"{context['message']}: {context.get('exception')!r}")


def _whole(seconds: float) -> int:
    return ceil(seconds * 1000 - 1e-6)


class HostClock:
    """A `Clock` of one machine: the wall clock is `skew` ms off, the monotonic one began anywhere."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.skew = 0
        self._loop = loop
        self._since = loop.random.randrange(1 << 40)

    def now(self) -> int:
        return START_AT + self._loop.ms + self.skew

    def monotonic(self) -> int:
        return self._since + self._loop.ms


async def pass_time(ms: float) -> None:
    """Wait so many virtual milliseconds."""
    await asyncio.sleep(ms / 1000)


def simulate(seed: int, main: Callable[[VirtualLoop], Coroutine[Any, Any, T]], turns: int = 1_000_000) -> T:
    """What `main` returns. Raises `Stuck` where nothing can happen any more, or after so many turns of the loop."""
    loop = VirtualLoop(seed, turns)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main(loop))
