"""Faults at a store's seam: a wrapper that fails by plan.

    store = FaultyStore(connect(url), at(3, LOST_REPLY))     the third write happens, and its caller cannot know
    store = FaultyStore(connect(url), seeded(7, rate=0.2))   the same faults at every run of seed 7
    store = FaultyStore(connect(url)); ...; store.calls      which writes a scenario makes, to enumerate its faults

Only writes are counted and planned for; `down` makes every call fail until it is set back.
"""

from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import NamedTuple, TypeVar

from rota.domain.errors import RotaError, Unavailable, Unclear
from rota.ports.store import (
    BeatReply,
    Claimed,
    Due,
    Group,
    Guard,
    Hint,
    Lead,
    Page,
    R,
    Record,
    Result,
    Store,
    Versioned,
    Want,
    Watch,
    Where,
)

T = TypeVar("T")


class Call(NamedTuple):
    """One write call: its number, from 1, and its verb (`commit`, `claim`, `beat` or `lead`)."""

    number: int
    verb: str


def _refuse() -> None:
    raise Unavailable("planned fault: the store cannot be reached")


def _lose() -> None:
    raise Unclear("planned fault: the reply was lost")


class Fault(NamedTuple):
    """What befalls a call: a hook on either side, which may raise or end the process, and how often it happens."""

    name: str
    before: Callable[[], None] = lambda: None
    after: Callable[[], None] = lambda: None
    times: int = 1


NO_FAULT = Fault("none")
UNAVAILABLE = Fault("unavailable", before=_refuse)
"""Nothing happens, and the caller is told so."""
LOST_REPLY = Fault("lost reply", after=_lose)
"""It happens, and the caller cannot know."""
REPEATED = Fault("repeated", times=2)
"""It happens twice, as by a network that doubles; the caller sees the second answer."""

Plan = Callable[[Call], Fault]


def at(number: int, fault: Fault) -> Plan:
    """The plan in which `fault` befalls write `number` and no other."""
    return lambda call: fault if call.number == number else NO_FAULT


def seeded(seed: int, rate: float = 0.1, faults: Sequence[Fault] = (UNAVAILABLE, LOST_REPLY, REPEATED)) -> Plan:
    """The plan in which a share `rate` of all writes meets one of `faults`, the same ones for the same seed."""
    random = Random(seed)
    return lambda _: random.choice(faults) if random.random() < rate else NO_FAULT


class FaultyStore:
    """A `Store` around a store, whose writes meet the faults of a plan. `plan` may be exchanged at any time."""

    def __init__(self, store: Store, plan: Plan = lambda _: NO_FAULT) -> None:
        self.plan = plan
        self.down = False
        self.calls: list[Call] = []
        self.logs = store.logs
        self.shared = store.shared
        self.close = store.close
        self._store = store

    @property
    def late(self) -> "FaultyStore":
        return self

    async def open(self) -> None:
        await self._reached().open()

    async def get(self, kind: type[R], ids: Sequence[str]) -> list[Versioned[R] | None]:
        return await self._reached().get(kind, ids)

    async def find(
        self, kind: type[R], where: Where = Where(), cursor: str = "", limit: int = 50, oldest: bool = False
    ) -> Page[R]:
        return await self._reached().find(kind, where, cursor, limit, oldest)

    async def count(self, kind: type[Record], by: str, where: Where = Where()) -> dict[str, int]:
        return await self._reached().count(kind, by, where)

    async def due(self, kind: type[R], now: int, limit: int) -> Due[R]:
        return await self._reached().due(kind, now, limit)

    async def commit(self, groups: Sequence[Group], guard: Guard = None, hints: Sequence[Hint] = ()) -> list[Result]:
        return await self._write("commit", lambda: self._store.commit(groups, guard, hints))

    async def claim(self, wants: Sequence[Want], now: int) -> list[Claimed]:
        return await self._write("claim", lambda: self._store.claim(wants, now))

    async def beat(self, sessions: Sequence[str]) -> list[BeatReply]:
        return await self._write("beat", lambda: self._store.beat(sessions))

    async def lead(self, name: str, holder: str, ttl_ms: int) -> Lead:
        return await self._write("lead", lambda: self._store.lead(name, holder, ttl_ms))

    def watch(self, topics: Sequence[str]) -> Watch:
        return self._store.watch(topics)

    def _reached(self) -> Store:
        if self.down:
            _refuse()
        return self._store

    async def _write(self, verb: str, call: Callable[[], Awaitable[T]]) -> T:
        self._reached()
        self.calls.append(Call(len(self.calls) + 1, verb))
        fault = self.plan(self.calls[-1])
        fault.before()
        try:
            for _ in range(fault.times - 1):
                await call()
            answer = await call()
        except RotaError:
            # A lost reply is lost whatever it was, a refusal included.
            fault.after()
            raise
        fault.after()
        return answer
