"""The processes of a campaign, and the strikes on them."""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rota.engine.engine import Engine
from rota.scheduler.leader import NAME as TERM
from tests.chaos.history import Exit, Strike, boot
from tests.chaos.proxy import Proxy

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60
MANY = 20
"""So many fall over by themselves only where they cannot start at all: a store that dies as all start takes seven."""
POINTS = {
    "stop": "commit before stop 1",
    "die before": "commit before kill 1",
    "die after": "commit after kill 1",
    "lose": "* after lose 12",
    "waver": "* after waver 21",
    "refuse": "* before refuse 1000",
}


class Process:
    """A child of the nursery."""

    def __init__(self, name: str, role: str, pid: int) -> None:
        self.name, self.role, self.pid = name, role, pid
        self.gone = asyncio.Event()
        self.code = 0

    def signal(self, number: int) -> None:
        """Send it, if it is still there: the nursery buries a child only when it tells us of it."""
        if not self.gone.is_set():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Cluster:
    """Starts roles, keeps their number, and ends those that it started."""

    def __init__(self, folder: Path, url: str, seed: int, bug: str = "", load: str = "") -> None:
        self.folder, self.url, self.seed, self.bug, self.load = folder, url, seed, bug, load
        self.broker = self.token = ""
        """Where workers are reached, if they do not know the store, and by which token."""
        self.living: dict[int, Process] = {}
        self.wanted: Counter[str] = Counter()
        self.names: Counter[str] = Counter()
        self.proxies: dict[str, Proxy] = {}
        self.exits: list[Exit] = []
        self.deaths = asyncio.Event()
        self.strikes: list[Strike] = []
        self._born: asyncio.Queue[Process | None] = asyncio.Queue()
        """The nursery itself, then its children."""
        self._nursery: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        (folder / "ctl").mkdir()

    async def open(self) -> None:
        """Start the nursery."""
        self._nursery = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.chaos.tasks_chaos",
            cwd=ROOT,
            env=os.environ | {"CHAOS_FOLDER": str(self.folder), "CHAOS_BUG": self.bug, "CHAOS_LOAD": self.load},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self._listening = asyncio.create_task(self._listen())
        async with asyncio.timeout(DEADLINE_S):
            await self._born.get()

    async def _listen(self) -> None:
        assert self._nursery
        assert self._nursery.stdout
        while line := await self._nursery.stdout.readline():
            said = json.loads(line)
            if "name" in said:
                # Known at once: one that dies young may be buried before who asked for it goes on.
                born = Process(said["name"], said["name"].rstrip("0123456789"), said["pid"])
                self.living[born.pid] = born
                self._born.put_nowait(born)
            elif "ready" in said:
                self._born.put_nowait(None)
            elif process := self.living.pop(said["pid"], None):
                process.code = said["code"]
                process.gone.set()
                now = boot()
                if process.code:
                    self.strikes.append(Strike("death", process.name, process.pid, now, now))
                if process.code not in (0, -signal.SIGKILL):
                    self.exits.append(Exit(process.name, process.pid, now, now, process.code))
                self.deaths.set()

    async def start(self, role: str) -> Process:
        """One process more in a role."""
        assert self._nursery
        assert self._nursery.stdin
        self.names[role] += 1
        name = f"{role}{self.names[role]}"
        behind = self.broker if role == "worker" else ""
        url = behind or self.url
        if url.startswith(("postgresql", "redis", "etcd", "amqp")):
            self.proxies[name] = proxy = Proxy(url)
            url = await proxy.open()
        order = {"name": name, "role": role, "url": url, "seed": self.seed}
        order |= {"broker": url if behind else self.broker, "token": self.token}
        self._nursery.stdin.write(json.dumps(order).encode() + b"\n")
        async with asyncio.timeout(DEADLINE_S):
            process = await self._born.get()
        assert process
        return process

    async def fill(self) -> None:
        """Start what there should be and is not. Raises `RuntimeError` where they fall over by themselves."""
        broken = [one for one in self.exits if one.code]
        if len(broken) > MANY:
            raise RuntimeError((self.folder / f"{broken[-1].name}.log").read_text()[-3_000:])
        for role, number in self.wanted.items():
            while len(self.of(role)) < number:
                await self.start(role)

    def of(self, role: str) -> list[Process]:
        """Those who live, oldest first."""
        return [one for one in self.living.values() if role in (one.role, "any", "all")]

    def lacks(self) -> bool:
        """Whether somebody is missing."""
        return any(len(self.of(role)) < number for role, number in self.wanted.items())

    async def leave(self, process: Process) -> None:
        """Ask it to leave, and wait until it has."""
        began = boot()
        process.signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE_S):
            await process.gone.wait()
        self.exits.append(Exit(process.name, process.pid, began, boot(), process.code))

    def point(self, name: str, kind: str) -> Path:
        path = self.folder / "ctl" / f"{name}.point"
        path.write_text(POINTS[kind])
        return path

    def met(self, path: Path, kind: str) -> bool:
        """Whether the process has come to its point."""
        try:
            return path.read_text() != POINTS[kind]
        except FileNotFoundError:
            return True

    def heal(self) -> None:
        """Take back whatever stands against them."""
        for path in (self.folder / "ctl").iterdir():
            path.unlink(missing_ok=True)
        for proxy in self.proxies.values():
            proxy.mode = "pass"
        for process in self.living.values():
            process.signal(signal.SIGCONT)

    async def close(self) -> None:
        """End all, by force."""
        for process in list(self.living.values()):
            process.signal(signal.SIGKILL)
            process.signal(signal.SIGCONT)
        for process in list(self.living.values()):
            with suppress(TimeoutError):
                async with asyncio.timeout(DEADLINE_S):
                    await process.gone.wait()
        if self._nursery and self._nursery.stdin:
            self._nursery.stdin.close()
            await self._nursery.wait()
        if self._listening:
            await self._listening
        for proxy in self.proxies.values():
            await proxy.close()


async def pause(cluster: Cluster, ms: int) -> None:
    """Let time pass: until so many ms are over."""
    await until(cluster, lambda: False, ms)


async def until(cluster: Cluster, condition: Callable[[], bool], ms: int) -> bool:
    """Until something holds, looked at when a process ends and every now and then; False after so many ms."""
    end = boot() + ms
    while not condition():
        left = end - boot()
        if left <= 0:
            return False
        cluster.deaths.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(left, 100) / 1_000):
                await cluster.deaths.wait()
    return True


async def leader(cluster: Cluster, engine: Engine) -> Process | None:
    """Who leads now. Resigning what one does not hold changes nothing, and tells who holds it."""
    holder = (await engine.store.lead(TERM, "nemesis", 0)).holder
    name = holder.rpartition(":")[0]
    return next((one for one in cluster.living.values() if one.name == name), None)
