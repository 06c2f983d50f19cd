"""Waiting for what the examples do, by hints and never by sleeping."""

import asyncio

from rota import Rota
from rota.domain.run import Run
from rota.ports.store import Line, Where


async def ended_run(app: Rota, task: str) -> Run:
    """The first run of a task that has ended."""
    ear = app.engine.store.watch(["done"])
    try:
        async with asyncio.timeout(30):
            while True:
                found = await app.engine.store.find(Run, Where(task=task), oldest=True)
                for held in found.items:
                    if held.record.ended_at is not None:
                        return held.record
                await ear.wait(1)
    finally:
        ear.close()


async def output(app: Rota, run_id: str) -> list[Line]:
    """The lines that a run left."""
    lines, _ = await app.engine.logs.read(run_id)
    return lines
