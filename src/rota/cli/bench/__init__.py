"""`rota bench`: what this machine does with Rota."""

import asyncio
import sys
import tempfile
from collections.abc import Coroutine
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from rota.cli.show import Sheet, show
from rota.domain.errors import Invalid


class Mode(StrEnum):
    """What is measured."""

    THROUGHPUT = "throughput"
    LATENCY = "latency"
    SCHEDULES = "schedules"
    IDLE = "idle"
    API = "api"


RUNS = {Mode.THROUGHPUT: 30_000, Mode.LATENCY: 200, Mode.SCHEDULES: 0, Mode.IDLE: 0, Mode.API: 10_000}
PROFILED = 10_000
SECONDS = {Mode.SCHEDULES: 25, Mode.IDLE: 60, Mode.API: 30}


def bench(
    mode: Annotated[Mode, typer.Argument(help="What to measure.")] = Mode.THROUGHPUT,
    store: Annotated[str | None, typer.Option(help="An empty store; a new SQLite file if not given.")] = None,
    runs: Annotated[int | None, typer.Option(min=1, max=10_000_000, help="How many runs.")] = None,
    slots: Annotated[int, typer.Option(min=1, max=10_000, help="Slots of a worker.")] = 500,
    workers: Annotated[int, typer.Option(min=1, max=100, help="How many worker processes (throughput).")] = 1,
    by: Annotated[str, typer.Option(help="Reach workers by `http` or a broker's URL (throughput, latency).")] = "",
    schedules: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many schedules.")] = 10_000,
    every: Annotated[int, typer.Option(min=1, help="Seconds between two fires of a schedule.")] = 10,
    seconds: Annotated[int | None, typer.Option(min=5, help="How long to watch (schedules, idle, api).")] = None,
    rate: Annotated[int, typer.Option(min=10, max=100_000, help="Requests a second (api).")] = 300,
    listeners: Annotated[int, typer.Option(min=0, max=500, help="Open streams of events (api).")] = 0,
    profile: Annotated[bool, typer.Option("--profile", help="Microseconds of each named step of a run.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> None:
    """Measure throughput, latency, fire lag, idle cost or the API, on real processes and with durable settling."""
    from rota.cli.bench import machine, measures
    from rota.cli.bench import profile as steps

    def told(text: str) -> None:
        if not as_json:
            print(text, file=sys.stderr)

    with tempfile.TemporaryDirectory(prefix="rota-bench-") as folder:
        url = store or f"sqlite:///{Path(folder) / 'rota.db'}"
        if url in ("sqlite://", "sqlite:///:memory:"):
            raise Invalid("store", "several processes are measured; a store in memory belongs to one")
        number = runs or (PROFILED if profile else RUNS[mode])
        watch = seconds or SECONDS.get(mode, 0)
        work: Coroutine[Any, Any, dict[str, float]]
        if profile:
            work = steps.profile(url, number)
        elif mode is Mode.THROUGHPUT:
            work = measures.throughput(url, number, slots, workers, by, told)
        elif mode is Mode.LATENCY:
            work = measures.latency(url, number, slots, by, told)
        elif mode is Mode.SCHEDULES:
            work = measures.schedules(url, schedules, every, watch, told)
        elif mode is Mode.API:
            from rota.cli.bench.api import api

            work = api(url, number, rate, watch, listeners, told)
        else:
            work = measures.idle(url, watch, told)
        show(Sheet(machine.described(url) | asyncio.run(work)), as_json)
