"""What the benchmarks run."""

import time

from rota.embed import Rota
from rota.ports.executor import Context

app = Rota(name="bench")
WRITTEN = tuple(f"written-{number}" for number in range(50))
"""Tasks that are written to."""
SCHEDULE = "bench-"
"""How the names of schedules begin."""


@app.task(name="noop", retries=0)
async def noop() -> None:
    """Nothing at all."""


@app.task(name="stamp", retries=0)
async def stamp(sent_ns: int) -> int:
    """Nanoseconds between the submit call and the first line of the task, on the machine's monotonic clock."""
    return time.monotonic_ns() - sent_ns


@app.task(name="lag", retries=0)
async def lag(context: Context) -> float:
    """Milliseconds between the nominal time and the first line of the task."""
    nominal_at = context.assignment.run.nominal_at or 0
    return time.time() * 1000 - nominal_at
