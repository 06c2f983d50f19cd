"""The nemesis: a plan of faults, drawn from a seed alone, so that a seed names it for good."""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple


class Blow(NamedTuple):
    """One fault of the plan: when to begin (ms from the start), on whom of those there are, how long and how much."""

    at: int
    kind: str
    victim: int
    lasts: int
    ms: int = 0


LEADER, WORKER, CLIENT, ANY, ALL, STORE = "leader", "worker", "client", "any", "all", "store"
SCHEDULERS = "schedulers"
"""All of them."""

KINDS: dict[str, tuple[str, str, tuple[int, int], int]] = {
    "kill leader": (LEADER, "kill", (0, 0), 4),
    "kill worker": (WORKER, "kill", (0, 0), 4),
    "kill client": (CLIENT, "kill", (0, 0), 1),
    "kill all": (ALL, "kill", (0, 0), 1),
    "freeze leader": (LEADER, "freeze", (700, 4_500), 2),
    "freeze worker": (WORKER, "freeze", (700, 4_500), 3),
    "freeze all schedulers": (SCHEDULERS, "freeze", (2_500, 5_000), 2),
    "leader stops before a write": (LEADER, "stop", (2_200, 4_500), 4),
    "worker stops before a write": (WORKER, "stop", (2_200, 4_500), 4),
    "leader dies before a write": (LEADER, "die before", (0, 0), 2),
    "leader dies after a write": (LEADER, "die after", (0, 0), 2),
    "worker dies after a write": (WORKER, "die after", (0, 0), 2),
    "lost replies": (ANY, "lose", (300, 1_000), 4),
    "lost replies to a client": (CLIENT, "lose", (300, 1_000), 3),
    "a store that wavers": (CLIENT, "waver", (300, 1_000), 2),
    "store unreachable": (ANY, "refuse", (500, 3_000), 3),
    "leader's clock": (LEADER, "clock", (1_000, 3_000), 2),
    "clock": (ANY, "clock", (1_000, 3_000), 4),
    "rolling restart": (ALL, "restart", (0, 0), 1),
    "partition": (ANY, "partition", (1_000, 4_000), 4),
    "lost connection": (ANY, "cut", (200, 800), 4),
    "store killed": (STORE, "store", (300, 2_000), 2),
    "disk full": (STORE, "disk", (500, 2_500), 2),
    "broker killed": (STORE, "broker", (300, 3_000), 4),
}
"""Name: whom it befalls, what is done, how long it may last, and how often it comes among the others."""
EVERYWHERE = tuple(
    name for name, kind in KINDS.items() if kind[1] not in ("partition", "cut", "store", "disk", "broker")
)
SERVER = ("partition", "lost connection", "store killed")
GAP_MS = (300, 2_400)
SKEW_MS = 4_000


def plan(seed: int, ms: int, kinds: Sequence[str] = EVERYWHERE) -> list[Blow]:
    """The faults of `ms` milliseconds, one after the other: each kind once at first, as far as there is time, in an
    order by chance, but the zombies foremost; then by weight.
    """
    random = Random(seed)
    first = list(kinds)
    random.shuffle(first)
    first.sort(key=lambda kind: KINDS[kind][1] == "stop")
    weights = [KINDS[kind][3] for kind in kinds]
    blows, at = [], 1_500
    while kinds:
        kind = first.pop() if first else random.choices(kinds, weights)[0]
        lasts = random.randint(*KINDS[kind][2])
        gap = random.randint(*GAP_MS)
        if at + lasts + gap > ms:
            break
        error = random.choice((-1, 1)) * random.randint(500, SKEW_MS)
        blows.append(Blow(at, kind, random.randrange(1_000), lasts, error if KINDS[kind][1] == "clock" else 0))
        at += lasts + gap
    return blows
