"""Stats: the whole in numbers. Many ask, one look a second answers them all."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable
from secrets import token_bytes
from typing import Any, TypeVar

from rota.api.views import instant
from rota.domain.access import ANY
from rota.domain.lane import queue_of
from rota.domain.records import Blob, Load, Tally
from rota.domain.run import LIVE, Reason, Run, State
from rota.domain.schedule import Schedule
from rota.domain.task import Task
from rota.engine.account import report
from rota.engine.engine import PAGE, Engine
from rota.engine.query import living
from rota.engine.query import views as workers_of
from rota.ports.store import Change, Group, Where

T = TypeVar("T")

MEMORY_MS = 1_000
PROBE, PROBE_BYTES, PROBE_MS = "probe/write", 16_384, 5_000
"""What is written and taken away to see that writes are taken: enough to need room, and so often at most."""
MINUTE_MS = 60_000
MOST = 100


class Stats:
    """Remembers what it counted for a second, and counts for all who ask meanwhile but once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[Hashable, tuple[int, asyncio.Task[Any]]] = {}

    async def of(self, namespace: str, since: int) -> dict[str, Any]:
        """The numbers of a namespace (`*`: of all), and of what ended since the minute of an instant."""
        key = namespace, since // MINUTE_MS * MINUTE_MS
        return await self._once(key, lambda: self._counted(*key))

    async def refused(self, namespace: str) -> list[Run]:
        """The oldest ready runs of which a worker lacked what they name; at most a second old."""

        async def look() -> list[Run]:
            page = await self._engine.store.find(Run, Where(namespace, (State.PENDING,)), "", PAGE, oldest=True)
            return [run for run, _ in page.items if run.reason == Reason.NO_HANDLER]

        return await self._once(namespace, look)

    async def check_writes(self) -> None:
        """Raises `RotaError` where the store takes no writes, as on a full disk that can still be read."""
        await self._once(PROBE, self._write, PROBE_MS)

    async def _once(self, key: Hashable, look: Callable[[], Coroutine[Any, Any, T]], memory_ms: int = MEMORY_MS) -> T:
        """What a look finds, or found so lately; who asks meanwhile waits for the same one."""
        now, known = self._engine.clock.monotonic(), self._known.get(key)
        if known is None or known[0] + memory_ms <= now:
            if len(self._known) >= MOST:
                self._known.clear()
            known = self._known[key] = now, asyncio.create_task(look())
        found: T = await asyncio.shield(known[1])
        return found

    async def _write(self) -> None:
        # Of several who do this at once, or after one who died in between, one writes and the others take away.
        wanted = Blob(PROBE, token_bytes(PROBE_BYTES), self._engine.clock.now())
        await self._engine.commit_one(Group((Change(None, wanted),)))
        if held := (await self._engine.store.get(Blob, [PROBE]))[0]:
            await self._engine.commit_one(Group((Change(held, None),)))

    async def gauges(self) -> dict[tuple[str, tuple[str, ...]], float]:
        """What metrics tell of the store: gauge and labels. Raises `RotaError`, also where no writes are taken."""
        await self.check_writes()
        whole = await self.of(ANY, self._engine.clock.now())
        found: dict[tuple[str, tuple[str, ...]], float]
        found = {("runs", (str(state),)): whole["runs"].get(state, 0) for state in sorted(LIVE)}
        found |= {(name, ()): whole[name] for name in ("workers", "tasks", "schedules")}
        found |= {("queue_pending", tuple(name.split("/"))): number for name, number in whole["queues"].items()}
        lanes = await self._engine.store.late.count(Run, "lane", Where(states=(State.RUNNING,)))
        for lane, number in lanes.items():
            key = ("queue_running", tuple(queue_of(lane).split("/")))
            found[key] = found.get(key, 0) + number
        return found if whole["unaccounted"] is None else found | {("unaccounted", ()): whole["unaccounted"]}

    async def _counted(self, namespace: str, since: int) -> dict[str, Any]:
        store, space = self._engine.store.late, "" if namespace == ANY else namespace
        live = await store.count(Run, "state", Where(space, tuple(sorted(LIVE))))
        lanes = await store.count(Run, "lane", Where(space, (State.PENDING,)))
        ended = await store.count(Tally, "outcome", Where(space, since=since))
        counts = [await store.count(kind, "namespace", Where(space)) for kind in (Task, Schedule)]
        sessions = [
            one for one in await living(self._engine)
            if one.takes_runs and (not space or any(name.startswith(f"{space}/") for name in one.lanes))
        ]  # fmt: skip
        queues: Counter[str] = Counter()
        for lane, number in lanes.items():
            name = queue_of(lane)
            queues[name if not space else name.partition("/")[2]] += number
        views = await workers_of(self._engine, sessions)
        accounted = await report(self._engine)
        return {
            "tasks": sum(counts[0].values()),
            "schedules": sum(counts[1].values()),
            "runs": live,
            "total": sum(live.values()) + sum(ended.values()),
            "queue_length": live.get(State.PENDING, 0),
            "running": live.get(State.RUNNING, 0),
            "queues": dict(sorted(queues.items())),
            "workers": len(sessions),
            "slots": sum(one.slots for one in sessions),
            "ended": dict(sorted(ended.items())),
            "completed": ended.get(State.SUCCESS, 0),
            "failed": ended.get(State.FAILED, 0),
            "by_worker": [
                {"worker": one.session.worker, "session": one.session.id, "running": one.running}
                | (one.load._asdict() if one.load else dict.fromkeys(Load._fields))  # once it has said so
                for one in views
            ],
            "unaccounted": accounted and accounted.said(self._engine.clock.now()),
            **instant("since", since),
        }
