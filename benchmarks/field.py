"""Who is measured: each peer with the best settings known for it, and Rota on the same stores."""

from collections.abc import Mapping
from dataclasses import dataclass

ROTA = "rota"
LEDGER = "BENCHMARK_LEDGER"
"""Name of the variable with the place of the file that a peer's tasks write to."""
LIGHT = 200
"""Tasks of a measurement of latency, one every 50 ms."""


@dataclass(frozen=True)
class Entrant:
    """One who is measured. A setting has one number for each worker process: what that is to be given.

    `tasks` are those of a long backlog; who is slow gets fewer, some seconds of work. `light` is the setting for
    latency at light load.
    """

    store: str
    tasks: int
    settings: Mapping[str, tuple[int, ...]]
    light: tuple[int, ...]


PEERS = {
    "pgqueuer": Entrant(
        "postgresql", 60_000, {"2 processes, batch 100": (100, 100), "1 process, batch 1000": (1_000,)}, (10,)
    ),
}
"""By the name of the file in `benchmarks/peers/` that works it."""

ROTAS = {
    "postgresql": Entrant(
        "postgresql", 60_000, {"1 process, 500 slots": (500,), "2 processes, 500 slots": (500, 500)}, (500,)
    ),
    "sqlite": Entrant("sqlite", 60_000, {"1 process, 500 slots": (500,)}, (500,)),
}
