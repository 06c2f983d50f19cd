"""`rota runs`: what was wanted, what became of it, and why."""

import json
import re
from collections.abc import AsyncIterator
from typing import Annotated

import typer

from rota.api.views import iso, plain
from rota.cli.common import Json, Limit, Namespace, OfTask, Since, Store, actor, ask, command, newest, only
from rota.cli.show import Answer, Listing, Sheet, clean
from rota.domain.errors import Invalid
from rota.domain.run import TERMINAL, Run, State
from rota.engine import control, query
from rota.engine.engine import PAGE, Engine
from rota.engine.explain import explain_run
from rota.ports.store import Line, Where

group = typer.Typer(name="runs", help="What was wanted, what became of it, and why.")
Id = Annotated[str, typer.Argument(metavar="RUN", help="Its id, or the end or start of it.")]
COLUMNS = ("id", "task", "state", "created_at", "duration_ms")
MORE = ("attempt", "worker", "error")
NEWEST = 10_000
"""Among so many runs an id is looked for by its end, which no index serves."""
LOOK_S = 0.5


@command(group, "list")
async def listed(
    engine: Engine,
    task: OfTask = "",
    schedule: Annotated[str, typer.Option(help="Of this schedule only.")] = "",
    queue: Annotated[str, typer.Option(help="In this queue only.")] = "",
    state: Annotated[list[State] | None, typer.Option(help="In this state only; may be repeated.")] = None,
    since: Since = None,
    namespace: Namespace = "main",
    limit: Limit = 50,
) -> Answer:
    """List runs, newest first."""
    where = Where(namespace, tuple(state or ()), task, queue, schedule, since=since)
    return Listing("runs", await newest(engine, Run, where, limit), COLUMNS, MORE)


@command(group, "show")
async def shown(engine: Engine, run: Id) -> Answer:
    """Show a run with its payload and result."""
    return Sheet(await query.run_detail(engine, await run_id(engine, run)))


@command(group, "cancel")
async def cancel(engine: Engine, run: Id) -> Answer:
    """Cancel a run. One that runs is told to stop, and ends cancelled."""
    key = await run_id(engine, run)
    return Sheet({"id": key, "state": await control.cancel(engine, key, actor())})


@command(group, "retry")
async def retry(engine: Engine, run: Id) -> Answer:
    """Run an ended run again, as a new run that points back at it."""
    key = await run_id(engine, run)
    return Sheet({"id": (await control.retry(engine, key, actor())).id, "origin": key})


@command(group, "explain")
async def explain(engine: Engine, run: Id) -> Answer:
    """Tell the story of a run: why it ran, waits or failed."""
    key = await run_id(engine, run)
    story = await explain_run(engine, key)
    return Sheet({"id": key, "story": story}, story)


@group.command("logs")
def logs(
    run: Annotated[str, typer.Argument(help="Its id, or the end or start of it; of all runs if not given.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    search: Annotated[str, typer.Option(help="Only lines that hold this text.")] = "",
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Print what runs wrote and logged. With --follow and --json each line is a JSON object of its own."""
    if follow and not run:
        raise Invalid("follow", "which run? lines of all runs have no end")

    async def printed(engine: Engine) -> None:
        key = await run_id(engine, run) if run else ""
        lines = _lines(engine, key, search, follow)
        if as_json and not follow:
            print(json.dumps([plain(line) async for line in lines], indent=2))
            return
        async for line in lines:
            print(json.dumps(plain(line)) if as_json else _text(line, not key), flush=follow)

    ask(store, printed)


async def _lines(engine: Engine, key: str, search: str, follow: bool) -> AsyncIterator[Line]:
    """Lines, oldest first; following, until the run has ended."""
    position, ear = 0, engine.store.watch(["done"])
    try:
        while True:
            # Before reading, so that no line which a run wrote just before its end is missed.
            held = (await engine.store.get(Run, [key]))[0] if follow else None
            lines, position = await engine.logs.read(key, position, PAGE, search)
            for line in lines:
                yield line
            if not lines:
                if held is None or held.record.state in TERMINAL:
                    return
                await ear.wait(LOOK_S)
    finally:
        ear.close()


def _text(line: Line, named: bool) -> str:
    """A line for people: when and from where, and the text as it can be shown."""
    source = line.level if line.stream == "log" else line.stream
    run = f"{line.run} " if named else ""
    return clean(f"{run}{iso(line.at).replace('T', ' ')} {line.attempt} {source:7} {line.text}")


async def run_id(engine: Engine, text: str) -> str:
    """The id of the one run whose id begins with `text`, or among the newest ends, with `text`.

    Raises `Invalid` or `NotFound`.
    """
    part = text.strip().lower()
    if not re.fullmatch("[0-9a-f]{6,32}", part):
        raise Invalid("run", f"{text[:60]!r} is not the id of a run, nor 6 or more of its last or first digits")
    found = [held.record.id for held in (await engine.store.find(Run, Where(prefix=part), "", 10)).items]
    if not found and len(part) < 32:
        found = [run.id for run in await newest(engine, Run, Where(), NEWEST) if run.id.endswith(part)]
    return only("run", part, found)
