"""Who is measured: each peer with the best settings known for it, and Rota on the same stores."""

from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct

ROTA = "rota"
LEDGER = "BENCHMARK_LEDGER"
"""Name of the variable with the place of the file that a peer's tasks write to."""
STAMP = Struct("q")
"""What a task of a measurement of latency writes there: nanoseconds."""
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
        "postgresql",
        60_000,
        {
            "2 processes, batch 100": (100, 100),
            "1 process, batch 1000": (1_000,),
            "2 processes, batch 1000": (1_000, 1_000),
        },
        (10,),
    ),
    "chancy": Entrant(
        "postgresql", 20_000, {"2 processes, 100 at once": (100, 100), "1 process, 1000 at once": (1_000,)}, (100,)
    ),
    "procrastinate": Entrant(
        "postgresql", 3_000, {"1 process, 10 at once": (10,), "2 processes, 10 at once": (10, 10)}, (10,)
    ),
    "huey": Entrant("sqlite", 5_000, {"2 processes": (2,)}, (1,)),
    "dramatiq": Entrant("redis", 30_000, {"2 processes, 32 threads": (32, 32)}, (8,)),
    "huey_redis": Entrant("redis", 30_000, {"2 processes": (2,)}, (1,)),
    "taskiq": Entrant("redis", 30_000, {"2 processes, 100 at once": (100, 100)}, (100,)),
    "celery": Entrant("redis", 12_000, {"2 solo processes": (1, 1), "2 forks": (2,)}, (1,)),
    "dramatiq_rabbitmq": Entrant("rabbitmq", 30_000, {"2 processes, 32 threads": (32, 32)}, (8,)),
    "celery_rabbitmq": Entrant("rabbitmq", 12_000, {"2 solo processes": (1, 1), "2 forks": (2,)}, (1,)),
}
"""By the name of the file in `benchmarks/peers/` that works it, and behind it the store where that is not the first."""


def file_of(peer: str) -> str:
    """Name of the file, and of that with its versions."""
    return peer.partition("_")[0]


ROTAS = {
    "postgresql": Entrant(
        "postgresql", 60_000, {"1 process, 500 slots": (500,), "2 processes, 500 slots": (500, 500)}, (500,)
    ),
    "redis": Entrant("redis", 60_000, {"1 process, 500 slots": (500,), "2 processes, 500 slots": (500, 500)}, (500,)),
    "rabbitmq": Entrant(
        "rabbitmq", 60_000, {"1 process, 500 slots": (500,), "2 processes, 500 slots": (500, 500)}, (500,)
    ),
    "sqlite": Entrant("sqlite", 60_000, {"1 process, 500 slots": (500,)}, (500,)),
}
