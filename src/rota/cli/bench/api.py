"""`rota bench api`: requests at a fixed rate beside a working scheduler, timed from the instant each was meant for."""

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import psutil

from rota.cli.bench.machine import UNHEARD, cost, percentile, role
from rota.cli.bench.measures import BULK, Told, key_for
from rota.cli.bench.tasks import WRITTEN, app, noop
from rota.domain.access import ANY, Grant
from rota.domain.ids import timed_id
from rota.domain.lane import lane
from rota.domain.run import Run, State
from rota.ports.store import Change, Group

MIX = {"run": 40, "list": 20, "submit": 20, "write": 10, "stats": 10}
"""Shares of the requests, in percent."""
LISTS = (
    "/api/runs?limit=50", "/api/runs?state=success&limit=50", "/api/runs?state=failed&task=noop", "/api/runs?task=noop",
    "/api/runs?queue=default&state=success", "/api/tasks", "/api/schedules", "/api/workers", "/api/queues",
)  # fmt: skip


async def api(url: str, runs: int, rate: int, seconds: int, listeners: int, told: Told) -> dict[str, Any]:
    """`rate` requests a second for `seconds`, with `runs` ended ones in the store; ms by kind, and what went wrong.

    Beside them so many `listeners` hear events, and the memory of the server is noted each minute.
    """
    async with app:
        told(f"filling in {runs} ended runs")
        ids, key = await _fill(runs), await key_for(Grant("admin", ANY))
    with role("up", url, 100, errors=UNHEARD) as up:
        process = up.process
        async with _client(up.api(), key, listeners) as (ask, heard):
            told("warming up")
            await _Load(ask, ids).run(rate // 3, 3)
            load = _Load(ask, ids)
            told(f"{rate} requests a second for {seconds} s")
            before, first, minutes = cost(process), heard.total(), list[float]()
            noting = asyncio.create_task(_noted(process, minutes))
            await load.run(rate, seconds)
            noting.cancel()
            after, messages = cost(process), (heard.total() - first) / max(listeners, 1) / seconds
    return {
        "runs": runs,
        "rate": rate,
        **load.result(),
        "server_cpu_percent": round((after.cpu_s - before.cpu_s) / seconds * 100, 1),
        "rss_mb": round(after.rss_mb, 1),
        **({"listeners": len(heard), "messages_per_s": round(messages, 2)} if listeners else {}),
        **({"rss_mb_by_minute": minutes} if minutes else {}),
    }


async def _noted(process: psutil.Process, minutes: list[float]) -> None:
    while True:
        await asyncio.sleep(60)
        minutes.append(round(cost(process).rss_mb, 1))


class _Load:
    """The requests, when they were meant to go, and how they went."""

    def __init__(self, ask: Callable[..., Any], ids: list[str]) -> None:
        self._ask = ask
        self._ids = ids
        self._spent: dict[str, list[float]] = defaultdict(list)
        self._errors: Counter[str] = Counter()

    async def run(self, rate: int, seconds: int) -> None:
        """Send them, late or not, and wait for all answers."""
        kinds = random.Random(7).choices(list(MIX), list(MIX.values()), k=rate * seconds)
        began = time.perf_counter() + 0.05
        async with asyncio.TaskGroup() as group:
            for place, kind in enumerate(kinds):
                due = began + place / rate
                if (wait := due - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
                group.create_task(self._one(kind, due))

    async def _one(self, kind: str, due: float) -> None:
        try:
            status, answer = await self._ask(*self._request(kind))
            if status >= 400:
                self._errors[f"{kind}: {status}"] += 1
            elif kind == "submit":
                self._ids.append(answer["id"])
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._errors[f"{kind}: {type(error).__name__}"] += 1
        self._spent[kind].append((time.perf_counter() - due) * 1_000)

    def _request(self, kind: str) -> tuple[str, str, Any]:
        match kind:
            case "run":
                return "GET", f"/api/runs/{random.choice(self._ids)}", None
            case "list":
                return "GET", random.choice(LISTS), None
            case "submit":
                return "POST", f"/api/tasks/{noop.task.name}/trigger", {}
            case "write":
                return "PATCH", f"/api/tasks/{random.choice(WRITTEN)}", {"description": f"at {time.time()}"}
        return "GET", "/api/system/stats", None

    def result(self) -> dict[str, Any]:
        """Milliseconds, over all and by kind."""
        every = [one for spent in self._spent.values() for one in spent]
        kinds = {f"{kind}_p99_ms": round(percentile(spent, 0.99), 1) for kind, spent in sorted(self._spent.items())}
        named = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999}
        overall = {name: round(percentile(every, share), 1) for name, share in named.items()}
        return {"requests": len(every), "errors": dict(self._errors), **overall, **kinds}


@asynccontextmanager
async def _client(base: str, key: str, listeners: int) -> AsyncIterator[tuple[Callable[..., Any], Counter[int]]]:
    """What asks by this key, and how many messages each listener has heard."""
    connector, login = aiohttp.TCPConnector(limit=256 + listeners), {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(
        base, connector=connector, headers=login, timeout=aiohttp.ClientTimeout(30)
    ) as session:

        async def ask(method: str, path: str, body: Any = None) -> tuple[int, Any]:
            async with session.request(method, path, json=body) as answer:
                return answer.status, await answer.json(content_type=None)

        for name in WRITTEN:
            await ask("POST", "/api/tasks", {"name": name})
        heard: Counter[int] = Counter()
        hearing = [asyncio.create_task(_hear(session, heard, number)) for number in range(listeners)]
        yield ask, heard
        for one in hearing:
            one.cancel()


async def _hear(session: aiohttp.ClientSession, heard: Counter[int], number: int) -> None:
    async with session.get("/api/system/events", timeout=aiohttp.ClientTimeout(None)) as stream:
        async for line in stream.content:
            heard[number] += line.startswith(b"event:")


async def _fill(count: int) -> list[str]:
    """Ended runs of a history, and ids of some of them."""
    now, engine = app.engine.clock.now(), app.engine
    ids: list[str] = []
    for start in range(0, count, BULK):
        made = [_ended(now - (count - number) * 100, number) for number in range(start, min(start + BULK, count))]
        await engine.commit([Group((Change(None, one),)) for one in made])
        ids.append(made[0].id)
    return ids or [timed_id(now, 0)]


def _ended(at: int, number: int) -> Run:
    state = State.FAILED if number % 20 == 0 else State.SUCCESS
    return Run(
        timed_id(at, number), "main", noop.task.name, 1, "default", lane("main", "default", "python"), 1, state,
        "done" if state is State.SUCCESS else "error", "", 0, None, at, at, b"{}", attempt=1, token=number + 1,
        session="filled", worker="filled", tries=1, claimed_at=at, started_at=at, ended_at=at + 5, result=b"null",
        error="" if state is State.SUCCESS else "ValueError: no",
    )  # fmt: skip
