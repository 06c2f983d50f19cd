"""The measurements. Every run is settled durably before it counts, and every result is checked."""

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Sequence

import psutil

from rota.cli.bench.machine import Way, check_going, cost, crew, percentile, role
from rota.cli.bench.tasks import SCHEDULE, WRITTEN, app, lag, noop, stamp
from rota.domain.access import ANY, Actor, Grant
from rota.domain.errors import Invalid, RotaError
from rota.domain.names import number_of
from rota.domain.people import Kind, Token
from rota.domain.run import LIVE, Run, State
from rota.domain.schedule import Overlap, Policy, Schedule
from rota.domain.task import Task
from rota.domain.timing import started
from rota.domain.triggers import Interval
from rota.engine.define import register
from rota.engine.engine import walk
from rota.engine.people import mint
from rota.engine.submit import Order, submit
from rota.ports.store import Change, Group, Where
from rota.wiring import locks, opened

BULK = 1_000
WARM_S = 2
"""The API of a `rota up` still starts when its first run has ended."""
Told = Callable[[str], None]
OWN = frozenset((noop.task.name, stamp.task.name, lag.task.name, *WRITTEN))


async def check_unused(url: str) -> None:
    """Raises `Invalid` for a store in which there is more than earlier benchmarks left: it would run here, and be
    waited for.
    """
    async with opened(url) as engine:
        found = [f"task {one.id}" async for one, _ in walk(engine, Task) if not _own(one)]
        found += [f"schedule {one.id}" async for one, _ in walk(engine, Schedule) if not one.name.startswith(SCHEDULE)]
        live = await engine.store.count(Run, "task", Where(states=tuple(LIVE)))
        found += [f"{number_of(number, 'run')} of task {name}" for name, number in live.items() if name not in OWN]
    if found:
        raise Invalid("store", f"it is in use, there is {found[0]}; name an empty one, or none for a new SQLite file")


def _own(task: Task) -> bool:
    return task.namespace == "main" and task.name in OWN and task.app in ("", app.name)


async def throughput(url: str, runs: int, slots: int, workers: int, by: str, told: Told) -> dict[str, float]:
    """Fill, then drain by worker processes; then fill while they drain. Runs per second. `by`: how they are reached."""
    async with app:
        told(f"submitting {number_of(runs, 'run')}")
        began = time.perf_counter()
        await _fill(runs)
        filled = time.perf_counter() - began
        with crew(url, slots, workers, await _way(by)) as working:
            told("draining")
            await _until_ended(runs, working)
            first, last = await _span(0)
            told(f"submitting {number_of(runs, 'run')} meanwhile")
            mark = int(time.time() * 1000)
            await _fill(runs)
            await _until_ended(2 * runs, working)
        _, end = await _span(mark)
    return {
        "runs": runs,
        "slots": slots,
        "workers": workers,
        "enqueue_per_s": round(runs / filled),
        "drain_per_s": round(runs / max(last - first, 1) * 1000),
        "combined_per_s": round(runs / max(end - mark, 1) * 1000),
    }


async def latency(url: str, runs: int, slots: int, by: str, told: Told) -> dict[str, float]:
    """One submission every 50 ms to `rota up`, or to a worker that is reached so; ms from the submit call to the first
    line of the task.
    """
    async with app:
        way = await _way(by)
        with crew(url, slots, 1, way) if way else role("up", url, slots):
            told("waiting for the worker")
            await (await stamp.asubmit(time.monotonic_ns())).aresult(30)
            await asyncio.sleep(WARM_S)
            told(f"submitting {number_of(runs, 'run')}, one every 50 ms")
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
    async with app:
        told(f"making {number_of(count, 'schedule')}, each every {every_s} s")
        await _make_schedules(count, every_s * 1000)
        with role("up", url, 500) as up:
            up.api()  # it has started
            await asyncio.sleep(every_s + 2)
            before, since = cost(up.process), int(time.time() * 1000)
            told(f"measuring for {seconds} s")
            await asyncio.sleep(seconds)
            after, until = cost(up.process), int(time.time() * 1000)
            await asyncio.sleep(1)
        fired = [run for run in await _ended(since) if since <= (run.nominal_at or 0) < until]
        lags = [json.loads(run.result or b"0") for run in fired]
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
    with role("up", url, 10) as up:
        up.api()  # it has started
        await asyncio.sleep(5)
        told(f"watching an idle process for {seconds} s")
        before = cost(up.process)
        await asyncio.sleep(seconds)
        after = cost(up.process)
    return {
        "idle_cpu_s_per_min": round((after.cpu_s - before.cpu_s) * 60 / seconds, 3),
        "rss_mb": round(after.rss_mb, 1),
    }


async def key_for(grant: Grant) -> str:
    """A key that opens so much."""
    minted, actor = locks().mint(Kind.KEY), Actor("bench", (Grant("admin", ANY),))
    await mint(app.engine, minted, Token("", Kind.KEY, "bench", grants=(grant,)), actor)
    return minted.text


async def _way(by: str) -> Way | None:
    """That way, and a token for it; None for workers beside the store."""
    return Way(by, await key_for(Grant("worker"))) if by else None


async def _fill(runs: int) -> None:
    order = Order(task=noop.task.name)
    for start in range(0, runs, BULK):
        await submit(app.engine, [order] * min(BULK, runs - start))


async def _until_ended(runs: int, working: Iterable[psutil.Process]) -> None:
    # Counting them is work for the store, too: ten looks a second took a quarter of a core from what is measured.
    live = Where(states=tuple(LIVE))
    while sum((await app.engine.store.count(Run, "state", live)).values()):
        for one in working:
            check_going(one)
        await asyncio.sleep(1)
    counts = await app.engine.store.count(Run, "state")
    if counts != {State.SUCCESS: runs}:
        raise RotaError(
            f"expected {number_of(runs, 'run')} with success, found {counts}; is the store empty at the start?"
        )


async def _ended(since: int) -> Sequence[Run]:
    ended = walk(app.engine, Run, Where(states=(State.SUCCESS,)), size=BULK)
    return [run async for run, _ in ended if run.created_at >= since]


async def _span(since: int) -> tuple[int, int]:
    runs = await _ended(since)
    return min(run.claimed_at or 0 for run in runs), max(run.ended_at or 0 for run in runs)


async def _make_schedules(count: int, every_ms: int) -> None:
    now = app.engine.clock.now()
    policy = Policy(overlap=Overlap.ALLOW)
    triggers = [Interval(every_ms, now + number * every_ms // count) for number in range(count)]
    made = [
        started(Schedule("main", f"{SCHEDULE}{number}", lag.task.name, trigger, policy=policy), now)
        for number, trigger in enumerate(triggers)
    ]
    await register(app.engine, app.name, [lag.task], [])
    await app.engine.commit([Group((Change(None, schedule),)) for schedule in made])
