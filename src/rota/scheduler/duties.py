"""A duty: one step, repeated while this node leads, woken by hints, by its own next instant, or by the scan."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import NamedTuple, TypeVar

from rota.domain.errors import Stale
from rota.engine.account import Accountant
from rota.engine.admit import release, ripen
from rota.engine.engine import Engine
from rota.engine.fire import fire
from rota.engine.prune import prune
from rota.engine.recover import Watch, recover
from rota.engine.seal import seal
from rota.ports.loops import Backoff, wait_for_event
from rota.ports.store import Term
from rota.scheduler.dispatch import Deliver, Dispatcher
from rota.scheduler.leader import Leader
from rota.scheduler.options import Options
from rota.scheduler.progress import HUNG_MS

BREATH_MS = 10
"""From a step to one for what was not due by then: thousands of fires a second come in batches worth their commits."""
COUNT_EVERY = 30
"""Steps of prune between two that count."""
COUNT_MS = 120_000
"""How long counting may take, of tens of millions of runs on a slow disk."""

T = TypeVar("T")
Step = Callable[[Term], Awaitable[int | None]]
"""Does what is to be done; the instant (ms since the epoch) at which to look again, None: when asked or scanned.

One that was over as it began means that more is due already."""


class Duty(NamedTuple):
    """What a leader does over and over."""

    name: str
    step: Step
    topics: Sequence[str] = ()
    scan_ms: int = 5_000
    patience_ms: int = HUNG_MS
    """How long the store may take for one answer."""


def _again(step: Callable[[Term], Awaitable[object]]) -> Step:
    """Repeated at once while it says that there may be more."""

    async def repeated(term: Term) -> int | None:
        return 0 if await step(term) else None

    return repeated


def _anew(look: Callable[[], Callable[[Term], Awaitable[T]]]) -> Callable[[Term], Awaitable[T]]:
    """A look that begins anew in each term, and after one that failed half-way: it has seen what it did not judge."""
    looks, looked_in = look(), Term("", 0)

    async def looked(term: Term) -> T:
        nonlocal looks, looked_in
        if term != looked_in:
            looks = look()
        looked_in = Term("", 0)
        found = await looks(term)
        looked_in = term
        return found

    return looked


def duties(engine: Engine, options: Options, deliver: Deliver | None = None) -> list[Duty]:
    """Everything that needs a leader."""
    watching = Watch(engine)

    def watched() -> Callable[[Term], Awaitable[int]]:
        nonlocal watching
        watching = Watch(engine)
        return watching.look

    watch, account = _anew(watched), _anew(lambda: Accountant(engine).look)
    dispatcher, steps = Dispatcher(engine, deliver), count(1)

    async def recovered(term: Term) -> int:
        again_ms = await watch(term)
        await recover(engine, term)
        return engine.clock.now() + again_ms

    async def accounted(term: Term) -> int:
        return engine.clock.now() + options.account_ms if await account(term) else 0

    async def pruned(term: Term) -> int:
        return await prune(engine, options.retention, term, next(steps) % COUNT_EVERY == 0)

    news = ("lane:*", "ready", "done", "due", "session*")
    return [
        Duty("fire", lambda term: fire(engine, term), ("schedules",), options.scan_ms),
        Duty("ripen", lambda term: ripen(engine, term, watching.vouched), ("due",), options.scan_ms),
        Duty("release", _again(lambda term: release(engine, term)), ("gate",), options.scan_ms),
        Duty("dispatch", _again(dispatcher.place), news, options.scan_ms),
        Duty("recover", recovered, ("sessions",), options.scan_ms),
        Duty("seal", _again(lambda term: seal(engine, term)), (), options.scan_ms),
        Duty("account", accounted, (), options.account_ms),
        Duty("prune", _again(pruned), (), options.prune_ms, COUNT_MS),
    ]


async def perform(duty: Duty, leader: Leader, leading: asyncio.Event, engine: Engine) -> None:
    """Do a duty until cancelled: while this node leads, and not otherwise."""
    backoff = Backoff(duty.name, engine.emit)
    ear = engine.store.watch(duty.topics)
    try:
        while True:
            term = leader.term
            if term is None:
                leading.clear()
                await wait_for_event(leading, duty.scan_ms / 1000)
                await ear.wait(0)  # what was heard was for whoever led: of sessions that come and go it is ever more
                continue
            began = engine.clock.now()
            try:
                with leader.progress.step(duty.name, duty.patience_ms):
                    again_at = await duty.step(term)
                backoff.reset()
            except Stale:
                leader.doubt(term)
                continue
            except Exception as error:
                await backoff.failed(error)
                await ear.wait(0)
                continue
            await ear.wait(_rest_ms(duty, began, again_at, engine.clock.now()) / 1000)
    finally:
        ear.close()


def _rest_ms(duty: Duty, began: int, again_at: int | None, now: int) -> int:
    """How long to wait after a step that began then and asks for the next at that instant."""
    if again_at is None:
        return duty.scan_ms
    soonest = max(again_at, began + BREATH_MS) if again_at > began else now
    return min(max(soonest - now, 0), duty.scan_ms)
