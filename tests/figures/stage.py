"""What every figure stands on: a PostgreSQL server of its own, as it comes and with fsync on; roles in processes of
their own; and a look into the store beside Rota, by which each figure is checked.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from rota.domain.schedule import CatchUp, Overlap, Policy, Schedule
from rota.domain.timing import started
from rota.domain.triggers import Interval
from rota.engine.account import report
from rota.engine.define import register
from rota.engine.engine import Engine, every
from rota.engine.submit import Order, submit
from rota.ports.loops import wait_for_event
from rota.ports.store import Change, Group
from rota.stores import migrate
from rota.wiring import opened
from tests.figures.tasks_figures import app
from tests.services.postgresql import Server

ROOT = Path(__file__).parents[2]
TARGET = "tests.figures.tasks_figures:app"
LOOK_S = 0.02


class Wrong(Exception):
    """What was counted is not what there must be: the figure is worth nothing."""


def check(holds: bool, what: str) -> None:
    """Raises `Wrong`."""
    if not holds:
        raise Wrong(what)


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


async def pause(seconds: float) -> None:
    """Let others work for so long."""
    await wait_for_event(asyncio.Event(), seconds)


async def until(what: str, holds: Callable[[], Awaitable[Any]], seconds: float = 60) -> Any:
    """What `holds` brings, once that is something. Raises `Wrong` where it never is."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not (found := await holds()):
                await pause(LOOK_S)
            return found
    raise Wrong(f"{what}: not within {seconds} s")


async def spread(engine: Engine, schedules: int, every_ms: int) -> None:
    """Schedules of `tick`, spread over their period; none of their occurrences may be left out."""
    now = engine.clock.now()
    policy = Policy(catch_up=CatchUp.ALL, overlap=Overlap.ALLOW)
    made = [
        Schedule("main", f"tick-{n}", "tick", Interval(every_ms, now + n * every_ms // schedules), policy=policy)
        for n in range(schedules)
    ]
    await engine.commit([Group((Change(None, started(one, now)),)) for one in made])


class Stage:
    """The store, by the engine and by plain SQL, and the processes that work on it."""

    def __init__(self, server: Server, engine: Engine, sql: Any) -> None:
        self.server, self.engine, self.sql = server, engine, sql
        self.roles: dict[str, psutil.Popen] = {}
        self.environment = dict(os.environ)

    def start(self, role: str, name: str, *options: str) -> psutil.Popen:
        """A process in a role, by a name of its own."""
        command = [sys.executable, "-m", "rota", role, "--app", TARGET, "--store", self.server.url, "--quiet"]
        self.roles[name] = psutil.Popen(
            [*command, "--node-id", name, *options], cwd=ROOT, env=self.environment, stdout=subprocess.DEVNULL
        )
        return self.roles[name]

    def kill(self, name: str) -> int:
        """As a power cut would; the instant."""
        role = self.roles.pop(name)
        role.kill()
        at = self.engine.clock.now()
        role.wait()
        return at

    async def leave(self, *names: str) -> None:
        """Ask them to leave, and wait until they have."""
        gone = [self.roles.pop(name) for name in names]
        for one in gone:
            one.send_signal(signal.SIGTERM)
        for one in gone:
            check(await asyncio.to_thread(one.wait, 60) == 0, f"process {one.pid} ended with {one.returncode}")

    async def one(self, query: str, *values: object) -> Any:
        """The single value that a query finds."""
        return await self.sql.fetchval(query, *values)

    async def leader(self) -> str:
        """Name of the role that holds the term, empty if nobody does."""
        now = self.engine.clock.now()
        holder = await self.one("SELECT holder FROM terms WHERE expires_at > $1", now) or ""
        return str(holder).rpartition(":")[0]

    async def hold(self, count: int, seconds: float) -> None:
        """Runs that occupy a slot each."""
        await submit(self.engine, [Order("hold", payload=f'{{"seconds":{seconds}}}'.encode())] * count)

    async def settled(self) -> None:
        """Until every run has ended."""
        await until("the end of all runs", self._ended, 120)

    async def _ended(self) -> bool:
        return not await self.one("SELECT count(*) FROM runs WHERE ended_at IS NULL")

    async def occurrences(self) -> int:
        """Their number. Each of every schedule must have its one run, which ended well by its only attempt."""
        rows = await self.sql.fetch(
            "SELECT namespace || '/' || schedule, count(*), count(DISTINCT nominal_at) FROM runs "
            "WHERE state = 'success' AND attempt = 1 AND cause = 'schedule' GROUP BY 1"
        )
        found = {name: (number, distinct) for name, number, distinct in rows}
        held = [one.record for one in await every(self.engine, Schedule)]
        wanted = {one.id: one.trigger.count(one.accounted_from, one.cursor_at) for one in held}
        wrong = {name: (found.get(name), number) for name, number in wanted.items() if found.get(name) != (number,) * 2}
        check(not wrong, f"runs, distinct ones and occurrences of {len(wrong)} schedules: {list(wrong.items())[:3]}")
        total = sum(wanted.values())
        check(total > 0, "no occurrence came")
        runs = await self.one("SELECT count(*) FROM runs WHERE cause = 'schedule'")
        check(runs == total, f"{runs} runs of schedules, {total} occurrences")
        return total

    async def accounted(self) -> None:
        """Until the leader has looked at everything up to now, and found all answered for."""
        now = self.engine.clock.now()

        async def looked() -> bool:
            found = await report(self.engine)
            return found is not None and found.at > now

        await until("a report of the leader's account", looked, 90)
        found = await report(self.engine)
        check(found is not None and found.unaccounted == 0, f"unaccounted: {found and found.examples}")


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """A stage, empty; its processes and its server end with the block."""
    server = Server(settings=())
    try:
        server.start()
        await migrate(server.url)
        sql = await asyncpg.connect(server.url)
        async with opened(server.url) as engine:
            await register(engine, app.name, app.registry.tasks, [])
            made = Stage(server, engine, sql)
            try:
                yield made
            finally:
                for one in made.roles.values():
                    one.kill()
                    one.wait()
        await sql.close()
    finally:
        server.remove()
