"""Which worker gets a run: strategies, each a pure function of the workers that have room.

A strategy only advises: whoever is chosen holds the run by its claim, as everybody else. So two leaders who choose at
once, or one who knows too little, cost evenness, never a run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
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
    credits: dict[str, float] = field(default_factory=dict)
    """By session: how far it is behind its share."""


Strategy = Callable[[Sequence[Seat], str, Memory], Seat]
"""Chooses among the seats that have room, of which there is one at least, for a run with this key."""


def by_chance(seats: Sequence[Seat], key: str, memory: Memory) -> Seat:
    """Any, all alike."""
    return memory.random.choice(seats)


def in_turn(seats: Sequence[Seat], key: str, memory: Memory) -> Seat:
    """The next one in the order of their names."""
    ordered = sorted(seats, key=_name)
    chosen = next((seat for seat in ordered if _name(seat) > memory.last), ordered[0])
    memory.last = _name(chosen)
    return chosen


def least_loaded(seats: Sequence[Seat], key: str, memory: Memory) -> Seat:
    """The emptiest one; of equals the one with the fewest runs, then the next in turn."""
    least = min((seat.load, seat.held) for seat in seats)
    return in_turn([seat for seat in seats if (seat.load, seat.held) == least], key, memory)


def by_weight(seats: Sequence[Seat], key: str, memory: Memory) -> Seat:
    """As many for each as its weight says, well mixed: everybody earns its weight, whoever has most pays for all."""
    memory.credits = {seat.session: memory.credits.get(seat.session, 0.0) + seat.weight for seat in seats}
    chosen = max(seats, key=lambda seat: (memory.credits[seat.session], seat.session))
    memory.credits[chosen.session] -= sum(seat.weight for seat in seats)
    return chosen


def by_hash(seats: Sequence[Seat], key: str, memory: Memory) -> Seat:
    """Always the same one for the same key; when it comes, goes or is full, no key but its own moves (rendezvous
    hashing). Workers are told apart by their name, so that a restart moves nothing; those of one name by their session.
    """
    return max(seats, key=lambda seat: (_drawn(key, seat.worker), _drawn(key, seat.session)))


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
