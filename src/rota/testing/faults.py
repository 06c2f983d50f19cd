"""Faults at a store's seam: a wrapper that fails by plan.

    store = FaultyStore(connect(url), at(3, LOST_REPLY))     the third write happens, and its caller cannot know
    store = FaultyStore(connect(url), seeded(7, rate=0.2))   the same faults at every run of seed 7
    store = FaultyStore(connect(url)); ...; store.calls      which writes a scenario makes, to enumerate its faults

Only writes are counted and planned for; `down` makes every call fail until it is set back.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple, TypeVar, cast

from rota.domain.errors import RotaError, Unavailable, Unclear
from rota.ports.store import Store, Watch

V = TypeVar("V", bound=Callable[..., Any])
WRITES = ("commit", "claim", "beat", "lead")


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


def _faulty(verb: V) -> V:
    """The same verb of the store behind, if it is reached."""
    name = verb.__name__

    async def reach(self: "FaultyStore", *args: Any, **named: Any) -> Any:
        if self.down:
            _refuse()
        fault = self._planned(name) if name in WRITES else NO_FAULT
        fault.before()
        try:
            for _ in range(fault.times - 1):
                await getattr(self._store, name)(*args, **named)
            answer = await getattr(self._store, name)(*args, **named)
        except RotaError:
            # A lost reply is lost whatever it was, a refusal included.
            fault.after()
            raise
        fault.after()
        return answer

    return cast(V, reach)


class FaultyStore:
    """A `Store` around a store, whose writes meet the faults of a plan. `plan` may be exchanged at any time."""

    open, get, find, count = _faulty(Store.open), _faulty(Store.get), _faulty(Store.find), _faulty(Store.count)
    due, commit, claim = _faulty(Store.due), _faulty(Store.commit), _faulty(Store.claim)
    beat, lead = _faulty(Store.beat), _faulty(Store.lead)

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

    def watch(self, topics: Sequence[str]) -> Watch:
        return self._store.watch(topics)

    def _planned(self, verb: str) -> Fault:
        self.calls.append(Call(len(self.calls) + 1, verb))
        return self.plan(self.calls[-1])
