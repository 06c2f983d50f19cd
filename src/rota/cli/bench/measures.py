"""The measurements. Every run is settled durably before it counts, and every result is checked."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from rota.cli.bench.machine import cost, percentile, role
from rota.cli.bench.tasks import app, lag, noop, stamp
from rota.domain.errors import RotaError
from rota.domain.run import Run, State
from rota.domain.schedule import Overlap, Policy, Schedule
from rota.domain.timing import started
from rota.domain.triggers import Interval
from rota.engine.define import register
from rota.engine.query import unfinished
from rota.engine.submit import Order, submit
from rota.ports.store import Change, Group, Where

BULK = 1_000
WARM_S = 2
"""The API of a `rota up` still starts when its first run has ended."""
Told = Callable[[str], None]


async def throughput(url: str, runs: int, slots: int, workers: int, told: Told) -> dict[str, float]:
    """Fill, then drain by worker processes; then fill while they drain. Runs per second."""
    app.store = url
    async with app:
        told(f"submitting {runs} runs")
        began = time.perf_counter()
        await _fill(runs)
        filled = time.perf_counter() - began
        with ExitStack() as roles:
            for _ in range(workers):
                roles.enter_context(role("worker", url, slots))
            told("draining")
            await _until_ended(runs)
            first, last = await _span(0)
            told(f"submitting {runs} runs meanwhile")
            mark = int(time.time() * 1000)
            await _fill(runs)
            await _until_ended(2 * runs)
        _, end = await _span(mark)
    return {
        "runs": runs,
        "slots": slots,
        "workers": workers,
        "enqueue_per_s": round(runs / filled),
        "drain_per_s": round(runs / max(last - first, 1) * 1000),
        "combined_per_s": round(runs / max(end - mark, 1) * 1000),
    }


async def latency(url: str, runs: int, slots: int, told: Told) -> dict[str, float]:
    """One submission every 50 ms to `rota up`; ms from the submit call to the first line of the task."""
    app.store = url
    async with app:
        with role("up", url, slots):
            told("waiting for the worker")
            await (await stamp.asubmit(time.monotonic_ns())).aresult(30)
            await asyncio.sleep(WARM_S)
            told(f"submitting {runs} runs, one every 50 ms")
            handles = []
            for _ in range(runs):
                handles.append(await stamp.asubmit(time.monotonic_ns()))
                await asyncio.sleep(0.05)
            spent = [await handle.aresult(30) / 1e6 for handle in handles]
    return {
        "runs": runs,
        "start_p50_ms": round(percentile(spent, 0.5), 2),
        "start_p99_ms": round(percentile(spent, 0.99), 2),
    }


async def schedules(url: str, count: int, every_s: int, seconds: int, told: Told) -> dict[str, float]:
    """`count` schedules spread over their period; ms from nominal time to the first line of the task."""
    app.store = url
    async with app:
        told(f"making {count} schedules, each every {every_s} s")
        await _make_schedules(count, every_s * 1000)
        with role("up", url, 500) as process:
            await asyncio.sleep(every_s + 2)
            before, since = cost(process), int(time.time() * 1000)
            told(f"measuring for {seconds} s")
            await asyncio.sleep(seconds)
            after, until = cost(process), int(time.time() * 1000)
            await asyncio.sleep(1)
        lags = await _lags(since, until)
    return {
        "schedules": count,
        "every_s": every_s,
        "fires": len(lags),
        "expected_fires": round(count / every_s * (until - since) / 1000),
        "lag_p50_ms": round(percentile(lags, 0.5), 1),
        "lag_p99_ms": round(percentile(lags, 0.99), 1),
        "cpu_percent": round((after.cpu_s - before.cpu_s) / (until - since) * 100_000, 1),
        "rss_mb": round(after.rss_mb, 1),
    }


async def idle(url: str, seconds: int, told: Told) -> dict[str, float]:
    """All roles in one process with nothing to do."""
    app.store = url
    with role("up", url, 10) as process:
        await asyncio.sleep(5)
        told(f"watching an idle process for {seconds} s")
        before = cost(process)
        await asyncio.sleep(seconds)
        after = cost(process)
    return {
        "idle_cpu_s_per_min": round((after.cpu_s - before.cpu_s) * 60 / seconds, 3),
        "rss_mb": round(after.rss_mb, 1),
    }


async def _fill(runs: int) -> None:
    order = Order(task=noop.task.name)
    for start in range(0, runs, BULK):
        await submit(app.engine, [order] * min(BULK, runs - start))


async def _until_ended(runs: int) -> None:
    # Counting them is work for the store, too: ten looks a second took a quarter of a core from what is measured.
    while await unfinished(app.engine):  # noqa: ASYNC110  # another process does the work
        await asyncio.sleep(1)
    counts = await app.engine.store.count(Run, "state")
    if counts != {State.SUCCESS: runs}:
        raise RotaError(f"expected {runs} runs with success, found {counts}; is the store empty at the start?")


async def _ended(since: int) -> Sequence[Run]:
    found: list[Run] = []
    cursor = ""
    while True:
        page = await app.engine.store.find(Run, Where(states=(State.SUCCESS,)), cursor, BULK)
        found += [held.record for held in page.items if held.record.created_at >= since]
        cursor = page.cursor
        if not cursor:
            return found


async def _span(since: int) -> tuple[int, int]:
    runs = await _ended(since)
    return min(run.claimed_at or 0 for run in runs), max(run.ended_at or 0 for run in runs)


async def _lags(since: int, until: int) -> list[float]:
    runs = await _ended(since)
    return [json.loads(run.result or b"0") for run in runs if since <= (run.nominal_at or 0) < until]


async def _make_schedules(count: int, every_ms: int) -> None:
    now = app.engine.clock.now()
    policy = Policy(overlap=Overlap.ALLOW)
    made = [
        started(
            Schedule(
                "main",
                f"bench-{number}",
                lag.task.name,
                Interval(every_ms, now + number * every_ms // count),
                policy=policy,
            ),
            now,
        )
        for number in range(count)
    ]
    await register(app.engine, app.name, [lag.task], [])
    groups = [Group((Change(None, schedule),)) for schedule in made]
    await app.engine.commit(groups)
