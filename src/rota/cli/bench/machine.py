"""A role in a process of its own, and what it costs."""

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from secrets import token_hex
from typing import NamedTuple

import psutil

from rota.domain.errors import RotaError

TARGET = "rota.cli.bench.tasks:app"


class Cost(NamedTuple):
    """What a process has used: CPU seconds so far, resident memory in MB now."""

    cpu_s: float
    rss_mb: float


@contextmanager
def role(name: str, url: str, slots: int, port: int = 0) -> Iterator[psutil.Process]:
    """Run `rota NAME` on the store at `url` while the block lasts."""
    command = [sys.executable, "-m", "rota", name, "--app", TARGET, "--store", url, "--quiet"]
    if name != "scheduler":
        command += ["--slots", str(slots)]
    if name == "up":
        command += ["--port", str(port)]
    # A store without a folder has no place for a secret of its own.
    environment = {"ROTA_SECURITY__SECRET": token_hex(32)} | os.environ | {"PYTHONUNBUFFERED": "1"}
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
