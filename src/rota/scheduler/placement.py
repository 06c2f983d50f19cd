"""Which worker gets a run: strategies, each a pure function of the workers that have room.

A strategy only advises: whoever is chosen holds the run by its claim, as everybody else. So two leaders who choose at
once, or one who knows too little, cost evenness, never a run.
"""

from bisect import bisect_right, insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from heapq import heappop, heappush, heapreplace
from operator import itemgetter
from random import Random

WEIGHT = "weight:"
"""How a label begins that says what a worker weighs; without one it weighs as much as it has slots."""


@dataclass(slots=True, eq=False)
class Seat:
    """A session, and how much it is given by now."""

    session: str
    worker: str
    lanes: frozenset[str]
    slots: int
    held: int
    """Runs that it has, those included that it is about to be given."""
    weight: int
    busy: float = 0.0
    """How busy its machine is, by processors or memory, whichever is scarcer; from 0 to 1."""

    @property
    def free(self) -> int:
        """Slots that are left."""
        return self.slots - self.held

    @property
    def load(self) -> float:
        """How full it is: by slots, or by its machine where that is fuller."""
        return max(self.held / self.slots, self.busy)


@dataclass(slots=True)
class Memory:
    """What the strategy of a queue remembers between two choices, while one node leads."""

    random: Random
    last: str = ""
    """Who was chosen last."""
    dues: dict[str, float] = field(default_factory=dict)
    """By session: when it comes next, in rounds; a round is as many runs as all weigh together."""
    reached: float = 0.0
    """How far the rounds have come."""


Strategy = Callable[[Sequence[Seat], str, Memory], Iterator[Seat]]
"""Whom to give the next run with this key, and the next, as long as one of these seats has room. Whoever asks for the
next one has given the one before: none is dearer for the number of seats, for there may be thousands of either.
"""


def by_chance(seats: Sequence[Seat], key: str, memory: Memory) -> Iterator[Seat]:
    """Any, all alike."""
    able = list(seats)
    while able:
        at = memory.random.randrange(len(able))
        yield able[at]
        if able[at].free <= 0:
            able[at] = able[-1]
            able.pop()


def in_turn(seats: Sequence[Seat], key: str, memory: Memory) -> Iterator[Seat]:
    """The next one in the order of their names."""
    ordered = sorted((_name(seat), seat) for seat in seats)
    at = bisect_right(ordered, memory.last, key=itemgetter(0))
    while ordered:
        at %= len(ordered)
        memory.last, seat = ordered[at]
        yield seat
        if seat.free > 0:
            at += 1
        else:
            del ordered[at]


def least_loaded(seats: Sequence[Seat], key: str, memory: Memory) -> Iterator[Seat]:
    """The emptiest one; of equals the one with the fewest runs, then the next in turn."""
    alike: dict[tuple[float, int], list[tuple[str, Seat]]] = {}
    for name, seat in sorted((_name(seat), seat) for seat in seats):
        alike.setdefault((seat.load, seat.held), []).append((name, seat))
    loads = sorted(alike)
    while loads:
        equals = alike[loads[0]]
        at = bisect_right(equals, memory.last, key=itemgetter(0)) % len(equals)
        memory.last, seat = turn = equals.pop(at)
        if not equals:
            del alike[heappop(loads)]
        yield seat
        if seat.free > 0:
            load = seat.load, seat.held
            if load not in alike:
                alike[load] = []
                heappush(loads, load)
            insort(alike[load], turn, key=itemgetter(0))


def by_weight(seats: Sequence[Seat], key: str, memory: Memory) -> Iterator[Seat]:
    """As many for each as its weight says, well mixed: each comes at even intervals, the shorter the more it weighs."""
    start = memory.reached

    def due_of(seat: Seat) -> float:
        return max(memory.dues.get(seat.session, start + 0.5 / seat.weight), start - 1 / seat.weight)

    dues = sorted((due_of(seat), seat.session, seat) for seat in seats)
    # Who has no room now, or does not suit, keeps its turn; nobody makes up for more than one.
    memory.dues = {session: due for session, due in memory.dues.items() if due > start - 1}
    memory.dues |= {session: due for due, session, _ in dues}
    while dues:
        due, _, seat = dues[0]
        memory.reached, due = max(memory.reached, due), due + 1 / seat.weight
        memory.dues[seat.session] = due
        yield seat
        if seat.free > 0:
            heapreplace(dues, (due, seat.session, seat))
        else:
            heappop(dues)


def by_hash(seats: Sequence[Seat], key: str, memory: Memory) -> Iterator[Seat]:
    """Always the same one for the same key; when it comes, goes or is full, no key but its own moves (rendezvous
    hashing). Workers are told apart by their name, so that a restart moves nothing; those of one name by their session.
    """
    for seat in sorted(seats, key=lambda seat: (_drawn(key, seat.worker), _drawn(key, seat.session)), reverse=True):
        while seat.free > 0:
            yield seat


def _drawn(key: str, name: str) -> bytes:
    return blake2b(f"{key}\0{name}".encode(), digest_size=8).digest()


STRATEGIES: Mapping[str, Strategy] = {
    "random": by_chance,
    "round_robin": in_turn,
    "least_load": least_loaded,
    "weighted": by_weight,
    "consistent_hash": by_hash,
}


def weight_of(labels: Sequence[str], slots: int) -> int:
    """What a worker weighs."""
    said = [label.removeprefix(WEIGHT) for label in labels if label.startswith(WEIGHT)]
    return int(said[0]) if said and said[0].isdecimal() and 0 < int(said[0]) <= 1_000 else slots


def _name(seat: Seat) -> str:
    return f"{seat.worker}\0{seat.session}"
