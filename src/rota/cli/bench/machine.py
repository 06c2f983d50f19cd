"""A role in a process of its own, and what it costs."""

import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from secrets import token_hex
from typing import NamedTuple

import psutil

from rota.domain.errors import RotaError

TARGET = "rota.cli.bench.tasks:app"
HTTP = "http"


class Cost(NamedTuple):
    """What a process has used: CPU seconds so far, resident memory in MB now."""

    cpu_s: float
    rss_mb: float


class Way(NamedTuple):
    """How workers are reached that know no store: a broker's URL, or `http`, and their token."""

    by: str
    token: str


@contextmanager
def role(name: str, url: str, slots: int, port: int = 0, way: Way | None = None) -> Iterator[psutil.Process]:
    """Run `rota NAME` on the store at `url` while the block lasts; a worker with a way at the end of that."""
    command = [sys.executable, "-m", "rota", name, "--app", TARGET, "--quiet"]
    command += ["--scheduler", f"http://127.0.0.1:{port}"] if way and way.by == HTTP and name == "worker" else []
    command += [] if way and name == "worker" else ["--store", url]
    command += [] if name in ("scheduler", "api") else ["--slots", str(slots)]
    command += ["--port", str(port)] if name in ("up", "api") else []
    # A store without a folder has no place for a secret of its own.
    environment = {"ROTA_SECURITY__SECRET": token_hex(32)} | os.environ | {"PYTHONUNBUFFERED": "1"}
    if way:
        environment |= {"ROTA_TOKEN": way.token} | ({} if way.by == HTTP else {"ROTA_MESSAGE_QUEUE__URL": way.by})
    # The log has a line for each request, which costs what it costs, but nobody wants to see them here.
    errors = subprocess.DEVNULL if port else None
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=environment)
    try:
        yield psutil.Process(child.pid)
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def crew(url: str, slots: int, workers: int, way: Way | None) -> Iterator[None]:
    """So many worker processes, and what they are reached by."""
    port = free_port() if way and way.by == HTTP else 0
    with ExitStack() as roles:
        if way:
            roles.enter_context(role("api" if port else "scheduler", url, slots, port, way))
            until_heard(port)
        for _ in range(workers):
            roles.enter_context(role("worker", url, slots, port, way))
        yield


def until_heard(port: int) -> None:
    """Until somebody listens there; at no port nobody needs to."""
    until = time.monotonic() + 20
    while port:
        with suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port)).close()
        if time.monotonic() > until:
            raise RotaError("the API that workers are to be reached by does not start; what it said stands above")
        time.sleep(0.05)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cost(process: psutil.Process) -> Cost:
    """What the process and its children have used. Raises `RotaError` where it has ended by itself."""
    if process.status() == psutil.STATUS_ZOMBIE:
        raise RotaError("what is measured has ended by itself; what it said stands above")
    family = [process, *process.children(recursive=True)]
    times = [one.cpu_times() for one in family]
    return Cost(sum(t.user + t.system for t in times), sum(one.memory_info().rss for one in family) / 1e6)


def described(url: str) -> dict[str, object]:
    """What the benchmark ran on."""
    import sqlite3

    return {
        "store": url.rsplit("@", maxsplit=1)[-1],
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "rota": version("rota"),
        "load": round(os.getloadavg()[0], 2),
    }


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else float("nan")
