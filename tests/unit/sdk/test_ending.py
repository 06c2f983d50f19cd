"""How an app that works in somebody's program is ended there."""

import asyncio

import pytest

from rota import Rota
from rota.domain.run import State
from rota.engine.recover import open_sessions
from rota.scheduler.node import Scheduler


async def test_who_is_cancelled_twice_leaves_no_worker_behind(tmp_path, monkeypatch):
    app, began, ending, stop = (
        Rota(f"sqlite:///{tmp_path / 'rota.db'}"),
        asyncio.Event(),
        asyncio.Event(),
        Scheduler.stop,
    )

    @app.task
    async def endless() -> None:
        began.set()
        await asyncio.Event().wait()

    async def slow(scheduler: Scheduler) -> None:
        ending.set()
        await stop(scheduler)

    async def life() -> None:
        async with app.running():
            await asyncio.Event().wait()

    monkeypatch.setattr(Scheduler, "stop", slow)
    async with app:
        handle = await endless.asubmit()
        living = asyncio.create_task(life())
        async with asyncio.timeout(20):
            await began.wait()
            living.cancel()
            await ending.wait()
            living.cancel()
            with pytest.raises(asyncio.CancelledError):
                await living
        run = await app.client.run(handle.id)
        assert (run.state, run.tries, run.lost) == (State.PENDING, 0, 0)
        assert await open_sessions(app.engine) == []
