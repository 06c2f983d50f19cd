"""`rota bench`: what this machine does with Rota."""

import asyncio
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from rota.cli.show import Sheet, show
from rota.domain.errors import Invalid

Mode = Literal["throughput", "latency", "schedules", "idle", "api"]


def bench(
    mode: Annotated[Mode, typer.Argument(help="What to measure.")] = "throughput",
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
    from rota.cli.bench.tasks import app
    from rota.settings.load import Loaded
    from rota.settings.tree import Settings

    def told(text: str) -> None:
        if not as_json:
            print(text, file=sys.stderr)

    with tempfile.TemporaryDirectory(prefix="rota-bench-") as folder:
        url = store or f"sqlite:///{Path(folder) / 'rota.db'}"
        if url in ("sqlite://", "sqlite:///:memory:"):
            raise Invalid("store", "several processes are measured; a store in memory belongs to one")
        asyncio.run(measures.check_unused(url))
        app.store = url
        app.configure(Loaded(Settings(), {}, None, "", {}))  # whatever is set for others here
        work: Coroutine[Any, Any, dict[str, float]]
        if profile:
            work = steps.profile(runs or 10_000)
        elif mode == "throughput":
            work = measures.throughput(url, runs or 30_000, slots, workers, by, told)
        elif mode == "latency":
            work = measures.latency(url, runs or 200, slots, by, told)
        elif mode == "schedules":
            work = measures.schedules(url, schedules, every, seconds or 25, told)
        elif mode == "api":
            from rota.cli.bench.api import api

            work = api(url, runs or 10_000, rate, seconds or 30, listeners, told)
        else:
            work = measures.idle(url, seconds or 60, told)
        show(Sheet(machine.described(url) | asyncio.run(work)), as_json)
