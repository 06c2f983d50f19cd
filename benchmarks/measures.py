"""The measurements of a peer, by its own interpreter: this file and what it imports are in no need of Rota.

python -m benchmarks.measures throughput|latency PEER URL TASKS NUMBER…     figures, as JSON
python -m benchmarks.measures work PEER URL NUMBER                          a worker process, until SIGTERM
"""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from benchmarks.field import LEDGER, STAMP, file_of

POLL_S = 0.003
EVERY_S = 0.05
WARM_S = 2
SETTLE_S = 2
"""How long after the last task a peer may commit what it has done, and show a task that ran twice."""
STALLED_S = 30
STOP_S = 10


def throughput(peer: Any, name: str, url: str, tasks: int, numbers: Sequence[str]) -> dict[str, float]:
    """Fill, then drain by worker processes; then fill while they drain. Tasks per second, by the bodies that ran."""
    peer.prepare(url)
    client = peer.Client(url)
    began = time.perf_counter()
    client.many(tasks)
    filled = time.perf_counter() - began
    with _workers(name, url, numbers):
        first = _until(1)
        started = time.perf_counter()
        _until(tasks)
        drained = time.perf_counter() - started
        _settle(tasks)
        began = time.perf_counter()
        client.many(tasks)
        _until(2 * tasks)
        both = time.perf_counter() - began
        _settle(2 * tasks)
        client.close()
    return {"enqueue": tasks / filled, "drain": (tasks - first) / drained, "combined": tasks / both}


def latency(peer: Any, name: str, url: str, tasks: int, numbers: Sequence[str]) -> dict[str, float]:
    """One task every 50 ms for an idle worker; ms from before the submit call to the first line of the task."""
    peer.prepare(url)
    client = peer.Client(url)
    with _workers(name, url, numbers):
        client.one(time.monotonic_ns())
        _until(STAMP.size)
        time.sleep(WARM_S)
        for _ in range(tasks):
            client.one(time.monotonic_ns())
            time.sleep(EVERY_S)
        _until((1 + tasks) * STAMP.size)
        client.close()
    with open(os.environ[LEDGER], "rb") as ledger:
        spent = sorted(nanoseconds / 1e6 for (nanoseconds,) in list(STAMP.iter_unpack(ledger.read()))[1:])
    return {"p50": spent[len(spent) // 2], "p99": spent[int(len(spent) * 0.99)]}


@contextmanager
def _workers(name: str, url: str, numbers: Sequence[str]) -> Iterator[None]:
    """Worker processes, each in a group of its own with what it starts, while the block lasts.

    They stay in the session, as Rota's do: some systems give each session the same share of the cores.
    """
    command = [sys.executable, "-m", "benchmarks.measures", "work", name, url]
    # What they print would stand among the figures.
    silent = subprocess.DEVNULL
    processes = [subprocess.Popen([*command, number], stdout=silent, process_group=0) for number in numbers]
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _size() -> int:
    return os.stat(os.environ[LEDGER]).st_size


def _until(size: int) -> int:
    """Wait until the ledger is that long; how long it is then."""
    last, changed = _size(), time.monotonic()
    while last < size:
        time.sleep(POLL_S)
        now = _size()
        if now > last:
            last, changed = now, time.monotonic()
        elif time.monotonic() - changed > STALLED_S:
            raise TimeoutError(f"nothing ran for {STALLED_S} s; the ledger has {last} of {size} bytes")
    return last


def _settle(tasks: int) -> None:
    time.sleep(SETTLE_S)
    if (ran := _size()) != tasks:
        raise RuntimeError(f"{tasks} tasks were submitted, {ran} ran")


def main(what: str, name: str, url: str, *numbers: str) -> None:
    """Do what the command line says."""
    logging.disable(logging.INFO)  # no peer writes a line for each task
    peer = import_module(f"benchmarks.peers.{file_of(name)}")
    if what == "work":
        peer.work(url, int(numbers[0]))
    else:
        measure = {"throughput": throughput, "latency": latency}[what]
        print(json.dumps(measure(peer, name, url, int(numbers[0]), numbers[1:])))


if __name__ == "__main__":
    main(*sys.argv[1:])
