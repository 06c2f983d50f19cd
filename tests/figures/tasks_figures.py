"""The tasks of the figures, and what makes them run in workers: `rota worker --app tests.figures.tasks_figures:app`."""

import asyncio

from rota import Rota

app = Rota(name="figures")


@app.task(name="tick", retries=0)
async def tick() -> None:
    """What schedules run."""


@app.task(name="hold", retries=0)
async def hold(seconds: float) -> None:
    """Occupies a slot."""
    await asyncio.sleep(seconds)
