"""`rota runs`: what was wanted, what became of it, and why."""

from typing import Annotated

import typer

from rota.cli import read
from rota.cli.common import Json, Limit, Namespace, Store, actor, ask, collect, command, run_id
from rota.cli.logs import Asked, print_lines
from rota.cli.show import Answer, Listing, Said, Sheet
from rota.cli.views import detail_view, run_view
from rota.domain.run import Run, State
from rota.engine import control, query
from rota.engine.engine import Engine
from rota.engine.explain import explain_run
from rota.ports.store import Where

group = typer.Typer(help="What was wanted, what became of it, and why.")
Id = Annotated[str, typer.Argument(metavar="RUN", help="Its id, or the first digits of it.")]


@command(group, "list")
async def listed(
    engine: Engine,
    task: Annotated[str, typer.Option(help="Of this task only.")] = "",
    schedule: Annotated[str, typer.Option(help="Of this schedule only.")] = "",
    queue: Annotated[str, typer.Option(help="In this queue only.")] = "",
    state: Annotated[list[State] | None, typer.Option(help="In this state only; may be repeated.")] = None,
    since: Annotated[str | None, typer.Option(help="Made within this time (1h) or after this instant.")] = None,
    namespace: Namespace = "main",
    limit: Limit = 50,
) -> Answer:
    """List runs, newest first."""
    start = read.since(since, engine.clock.now()) if since else None
    where = Where(namespace, tuple(state or ()), task, queue, schedule, since=start)
    found = await collect(engine, Run, where, limit)
    rows = [run_view(one) for one in found]
    return Listing("runs", rows, ("id", "task", "state", "created_at", "duration_ms", "attempt", "worker", "error"))


@command(group, "show")
async def shown(engine: Engine, run: Id) -> Answer:
    """Show a run with its payload and result."""
    return Sheet(detail_view(await query.run_detail(engine, await run_id(engine, run))))


@command(group, "cancel")
async def cancel(engine: Engine, run: Id) -> Answer:
    """Cancel a run. One that runs is told to stop, and ends cancelled."""
    key = await run_id(engine, run)
    state = await control.cancel(engine, key, actor())
    line = f"run {key} is cancelled" if state == "cancelled" else f"run {key} is told to stop"
    return Said({"id": key, "state": state}, [line])


@command(group, "retry")
async def retry(engine: Engine, run: Id) -> Answer:
    """Run an ended run again, as a new run that points back at it."""
    key = await run_id(engine, run)
    receipt = await control.retry(engine, key, actor())
    return Said({"id": receipt.id, "origin": key}, [f"run {receipt.id} retries {key}"])


@command(group, "explain")
async def explain(engine: Engine, run: Id) -> Answer:
    """Tell the story of a run: why it ran, waits or failed."""
    key = await run_id(engine, run)
    story = await explain_run(engine, key)
    return Said({"id": key, "story": story}, story)


@group.command("logs")
def logs(
    run: Annotated[str, typer.Argument(help="Its id, or the first digits of it; of all runs if not given.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    search: Annotated[str, typer.Option(help="Only lines that hold this text.")] = "",
    limit: Limit = 10_000,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Print what runs wrote and logged. With --follow and --json each line is a JSON object of its own."""
    ask(store, lambda engine: print_lines(engine, Asked(run, follow, search, limit, as_json)))
