"""A role in a process of its own, and what it costs."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from secrets import token_hex
from select import select
from typing import IO, NamedTuple, cast

import psutil

from rota.domain.errors import RotaError
from rota.domain.names import number_of, without_password
from rota.settings.place import PREFIX

TARGET = "rota.cli.bench.tasks:app"
HTTP = "http"
PATIENCE_S = 30
"""How long an API may take to start."""
UNHEARD = subprocess.DEVNULL
"""For errors of an API: the log has a line for each request, which costs what it costs, but nobody wants to see it."""


class Cost(NamedTuple):
    """What a process has used: CPU seconds so far, resident memory in MB now."""

    cpu_s: float
    rss_mb: float


class Way(NamedTuple):
    """How workers are reached that know no store: a broker's URL, or `http`, and their token."""

    by: str
    token: str
    api: str = ""
    """Where the API is that they are reached by."""


class Role(NamedTuple):
    """A role that runs."""

    process: psutil.Process
    said: IO[str]

    def api(self) -> str:
        """The URL of its API, once that is served. Raises `RotaError` where it does not start."""
        heard, _, _ = select([self.said], [], [], PATIENCE_S)
        if heard and (first := self.said.readline()):
            return str(json.loads(first)["api"])
        raise RotaError("the API does not start; `rota api` on the same store and settings says why")


@contextmanager
def role(name: str, url: str, slots: int, way: Way | None = None, errors: int | None = None) -> Iterator[Role]:
    """Run `rota NAME` on the store at `url` while the block lasts; a worker with a way at the end of that."""
    command = [sys.executable, "-m", "rota", name, "--app", TARGET, "--quiet", "--json"]
    if way and name == "worker":
        command += ["--scheduler", way.api] if way.api else []
    else:
        command += ["--store", url]
    command += [] if name in ("scheduler", "api") else ["--slots", str(slots)]
    command += ["--port", "0"] if name in ("up", "api") else []
    # What is set for others here is not measured. A store without a folder has no place for a secret of its own.
    environment = {key: value for key, value in os.environ.items() if not key.upper().startswith(PREFIX)}
    environment |= {"ROTA_CONFIG": os.devnull, "ROTA_SECURITY__SECRET": token_hex(32), "PYTHONUNBUFFERED": "1"}
    if way:
        environment |= {"ROTA_TOKEN": way.token} | ({} if way.by == HTTP else {"ROTA_MESSAGE_QUEUE__URL": way.by})
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment, text=True) as child:
        try:
            yield Role(psutil.Process(child.pid), cast(IO[str], child.stdout))
        finally:
            child.terminate()
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()


@contextmanager
def crew(url: str, slots: int, workers: int, way: Way | None) -> Iterator[list[psutil.Process]]:
    """So many worker processes, which are given, and what they are reached by."""
    with ExitStack() as roles:
        if way and way.by == HTTP:
            way = way._replace(api=roles.enter_context(role("api", url, slots, way, UNHEARD)).api())
        elif way:
            roles.enter_context(role("scheduler", url, slots, way))
        yield [roles.enter_context(role("worker", url, slots, way)).process for _ in range(workers)]


def check_going(process: psutil.Process) -> None:
    """Raises `RotaError` where it has ended by itself."""
    if process.status() == psutil.STATUS_ZOMBIE:
        raise RotaError("what is measured has ended by itself; what it said stands above")


def cost(process: psutil.Process) -> Cost:
    """What the process and its children have used. Raises `RotaError` where it has ended by itself."""
    check_going(process)
    family = [process, *process.children(recursive=True)]
    times = [one.cpu_times() for one in family]
    return Cost(sum(t.user + t.system for t in times), sum(one.memory_info().rss for one in family) / 1e6)


def described(url: str) -> dict[str, object]:
    """What the benchmark ran on."""
    import sqlite3

    cores = number_of(os.cpu_count() or 1, "core")
    return {
        "store": without_password(url),
        "machine": f"{cores}, {platform.machine()}, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "rota": version("rota"),
        "load": round(os.getloadavg()[0], 2),
    }


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else float("nan")
