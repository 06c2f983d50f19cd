"""Promises of docs/guarantees.md that no other test shows by itself."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from rota import Retry, Rota, TryAgain
from rota.scheduler.options import Options as SchedulerOptions
from rota.stores.sql.store import SqlStore
from rota.worker.options import Options as WorkerOptions


class Deaf:
    """An ear that hears nothing."""

    def __init__(self) -> None:
        self._closed = asyncio.Event()

    async def wait(self, seconds: float | None) -> Mapping[str, int]:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closed.wait(), seconds)
        return {}

    def wake(self) -> None:
        """Nobody hears it."""

    def close(self) -> None:
        self._closed.set()


async def test_with_all_hints_lost_work_is_late_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(SqlStore, "watch", lambda *_: Deaf())
    app = Rota(f"sqlite:///{tmp_path / 'rota.db'}")

    @app.task(name="twice", retries=Retry(retries=1, delay_ms=1))
    async def twice(attempt: int) -> int:
        if not tried:
            tried.append(attempt)
            raise TryAgain
        return attempt

    tried: list[int] = []
    worker, scheduler = WorkerOptions(scan_ms=20), SchedulerOptions(scan_ms=20)
    async with app.running(worker_options=worker, scheduler_options=scheduler):
        handles = [await twice.asubmit(number) for number in range(3)]
        assert [await handle.aresult(timeout=30) for handle in handles] == [0, 1, 2]
    assert len(tried) == 1
