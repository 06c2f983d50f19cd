"""A duty: one step, repeated while this node leads, woken by hints, by its own next instant, or by the scan."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import NamedTuple

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

BREATH_MS = 10
"""From a step to one for what was not due by then: thousands of fires a second come in batches worth their commits."""
COUNT_EVERY = 30
"""Steps of prune between two that count."""

Step = Callable[[Term], Awaitable[int | None]]
"""Does what is to be done; the instant (ms since the epoch) at which to look again, None: when asked or scanned.

One that was over as it began means that more is due already."""


class Duty(NamedTuple):
    """What a leader does over and over."""

    name: str
    step: Step
    topics: Sequence[str] = ()
    scan_ms: int = 5_000


def _again(step: Callable[[Term], Awaitable[object]]) -> Step:
    """Repeated at once while it says that there may be more."""

    async def repeated(term: Term) -> int | None:
        return 0 if await step(term) else None

    return repeated


def duties(engine: Engine, options: Options, deliver: Deliver | None = None) -> list[Duty]:
    """Everything that needs a leader."""
    watch, watched = Watch(engine), Term("", 0)
    accountant, accounted_in = Accountant(engine), Term("", 0)

    async def recovered(term: Term) -> int | None:
        nonlocal watched
        if term != watched:
            watch.forget()
            watched = term
        try:
            again_ms = await watch.look(term)
        except Exception:
            watch.forget()
            raise
        await recover(engine, term)
        return engine.clock.now() + again_ms

    dispatcher, steps = Dispatcher(engine, deliver), count(1)

    async def pruned(term: Term) -> int:
        return await prune(engine, options.retention, term, next(steps) % COUNT_EVERY == 0)

    async def accounted(term: Term) -> int | None:
        nonlocal accountant, accounted_in
        if term != accounted_in:
            accountant = Accountant(engine)
        # Known again only after a whole look: one that failed half-way has seen what it did not judge.
        accounted_in = Term("", 0)
        complete = await accountant.look(term)
        accounted_in = term
        return engine.clock.now() + options.account_ms if complete else 0

    news = ("lane:*", "ready", "done", "due", "session*")
    return [
        Duty("fire", lambda term: fire(engine, term), ("schedules",), options.scan_ms),
        Duty("ripen", lambda term: ripen(engine, term), ("due",), options.scan_ms),
        Duty("release", _again(lambda term: release(engine, term)), ("gate",), options.scan_ms),
        Duty("dispatch", _again(dispatcher.place), news, options.scan_ms),
        Duty("recover", recovered, ("sessions",), options.scan_ms),
        Duty("seal", _again(lambda term: seal(engine, term)), (), options.scan_ms),
        Duty("account", accounted, (), options.account_ms),
        Duty("prune", _again(pruned), (), options.prune_ms),
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
                continue
            began = engine.clock.now()
            try:
                again_at = await duty.step(term)
                backoff.reset()
            except Stale:
                leader.doubt(term)
                continue
            except Exception as error:
                await backoff.failed(error)
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
