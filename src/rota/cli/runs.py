"""`rota runs`: what was wanted, what became of it, and why."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

import typer

from rota.cli.common import Json, Limit, Namespace, OfTask, Since, check_known, command, only
from rota.cli.remote import Again, Api
from rota.cli.show import Answer, Listing, Sheet, clean, note
from rota.domain.errors import Invalid
from rota.domain.run import TERMINAL, State

group = typer.Typer(name="runs", help="What was wanted, what became of it, and why.")
Id = Annotated[str, typer.Argument(metavar="RUN", help="Its id, or the end or start of it.")]
COLUMNS = ("id", "task", "state", "created_at", "duration_ms")
MORE = ("attempt", "worker", "error")
LOOKS = 10
"""So many pages of 1,000 runs are looked through for the end of an id, which no index serves."""
LINES = 500
PUZZLED = 15
"""After so many looks that found it as it was, some five seconds, it is told why."""


@command(group, "list")
async def listed(
    api: Api,
    task: OfTask = "",
    schedule: Annotated[str, typer.Option(help="Of this schedule only.")] = "",
    queue: Annotated[str, typer.Option(help="In this queue only.")] = "",
    state: Annotated[list[State] | None, typer.Option(help="In this state only; may be repeated.")] = None,
    since: Since = None,
    namespace: Namespace = "main",
    limit: Limit = 50,
) -> Answer:
    """List runs, newest first."""
    where = {"namespace": namespace, "task": task, "queue": queue, "schedule": schedule, "since": since}
    rows = await api.items("/api/runs", limit, **where, state=[one.value for one in state or ()])
    if not rows:
        await check_known(api, namespace, tasks=task, schedules=schedule)
    return Listing("runs", rows, COLUMNS, MORE)


@command(group, "show")
async def shown(api: Api, run: Id) -> Answer:
    """Show a run with its payload and result."""
    return Sheet(await api("GET", await path(api, run)))


@command(group, "cancel")
async def cancel(api: Api, run: Id) -> Answer:
    """Cancel a run. One that runs is told to stop, and ends cancelled."""
    return Sheet(await api("POST", f"{await path(api, run)}/cancel"))


@command(group, "retry")
async def retry(api: Api, run: Id) -> Answer:
    """Run an ended run again, as a new run that points back at it."""
    return Sheet(await api("POST", f"{await path(api, run)}/retry"))


@command(group, "explain")
async def explain(api: Api, run: Id) -> Answer:
    """Tell the story of a run: why it ran, waits or failed."""
    found = await api("GET", f"{await path(api, run)}/explain")
    return Sheet(found, found["story"])


@command(group, "logs")
async def logs(
    api: Api,
    run: Annotated[str, typer.Argument(help="Its id, or the end or start of it; of all runs if not given.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    search: Annotated[str, typer.Option(help="Only lines that hold this text.")] = "",
    namespace: Namespace = "*",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Of all runs: at most so many of the newest.")] = 1_000,
    as_json: Json = False,
) -> Answer | None:
    """Print what runs wrote and logged. With --follow and --json each line is a JSON object of its own."""
    if follow and not run:
        raise Invalid("follow", "which run? lines of all runs have no end")
    if follow:
        async for line in _lines(api, await path(api, run), search, follow):
            print(json.dumps(line) if as_json else clean(_text(line, False)), flush=True)
        return None
    if run:
        found = [line async for line in _lines(api, await path(api, run), search, follow)]
    else:
        found = (await api.items("/api/system/logs", limit, namespace=namespace, search=search))[::-1]
    return Sheet(found, [_text(line, not run) for line in found]) if found else Listing("lines", [], ())


async def _lines(api: Api, run: str, search: str, follow: bool) -> AsyncIterator[dict[str, Any]]:
    """Lines, oldest first; following, until the run has ended."""
    again, cursor = Again(), ""
    while True:
        page = await api("GET", f"{run}/logs", cursor=cursor, limit=LINES, search=search)
        for line in page["items"]:
            yield line
        cursor = page["next"] or cursor
        if not page["items"] and (page["over"] or not follow):
            return
        if follow and not page["over"]:
            await again.rest(bool(page["items"]))


def _text(line: Mapping[str, Any], named: bool) -> str:
    """A line for people: when and from where, and the text."""
    source = line["level"] if line["stream"] == "log" else line["stream"]
    run = f"{line['run']} " if named else ""
    return f"{run}{line['at'].replace('T', ' ')} {line['attempt']} {source:7} {line['text']}"


async def followed(api: Api, run_id: str, steps: bool = True) -> dict[str, Any]:
    """The run once it has ended; its `steps`, and why it waits for long, are told on standard error."""
    again, said, looks = Again(), "", 0
    while True:
        run: dict[str, Any] = await api("GET", f"/api/runs/{run_id}")
        state = run["state"]
        now = f"{state} on {run['worker']}, attempt {run['attempt']}" if state == "running" else state
        if steps and now != said:
            note(f"run {run_id}: {now}")
        if state in TERMINAL:
            return run
        looks = 0 if now != said else looks + 1
        if looks == PUZZLED and state != "running":
            note(f"run {run_id}: {(await api('GET', f'/api/runs/{run_id}/explain'))['story'][-1]}")
        await again.rest(now != said)
        said = now


async def path(api: Api, text: str) -> str:
    """The path of the one run whose id begins with `text`, or among the newest ends, with `text`.

    Raises `Invalid` or `NotFound`.
    """
    part = text.strip().lower()
    if not re.fullmatch("[0-9a-f]{6,32}", part):
        raise Invalid("run", f"{text[:60]!r} is not the id of a run, nor 6 or more of its last or first digits")
    found = [{"id": part}] if len(part) == 32 else await api.items("/api/runs", 10, namespace="*", prefix=part)
    if not found:
        found = await api.items("/api/runs", 10, LOOKS, namespace="*", suffix=part)
    return f"/api/runs/{only('run', part, [run['id'] for run in found])}"
