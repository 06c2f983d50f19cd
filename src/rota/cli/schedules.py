"""`rota schedules`: when tasks run by themselves."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from rota.cli import read
from rota.cli.common import Count, Limit, Namespace, OfTask, When, Why, changes, check_known, command, deleted, given
from rota.cli.remote import Api, thing
from rota.cli.show import Answer, Listing, Sheet, clock
from rota.domain.schedule import CatchUp, Overlap

group = typer.Typer(name="schedules", help="When tasks run by themselves.")
Name = Annotated[str, read.argument("SCHEDULE")]
AsMissed = Annotated[bool, typer.Option("--catch-up", help="Judge what passed meanwhile as missed.")]
COLUMNS = ("name", "when", "state", "next_at")
MORE = ("task", "fired", "skipped")


def rules(
    timezone: Annotated[str | None, typer.Option(help="IANA zone of the cron text or time; UTC if not given.")] = None,
    gap: Annotated[Literal["shift", "skip"] | None, typer.Option(help="Times that a clock change leaves out.")] = None,
    fold: Annotated[Literal["first", "both"] | None, typer.Option(help="Times that a clock change repeats.")] = None,
    catch_up: Annotated[CatchUp | None, typer.Option(help="Occurrences that nobody was there to fire.")] = None,
    window_ms: Annotated[int | None, read.option(read.length, "Older missed ones are skipped.", "--window")] = None,
    max_runs: Annotated[int | None, typer.Option(min=1, help="Most missed ones that `all` makes up for.")] = None,
    start_deadline_ms: Annotated[int | None, read.option(read.limit, "To start, or none.", "--start-deadline")] = None,
    overlap: Annotated[Overlap | None, typer.Option(help="An occurrence while an earlier run is not over.")] = None,
    payload: Annotated[Any, read.option(read.payload, "JSON arguments; the task's if not given.")] = None,
) -> None:
    """The options that a schedule is made and changed with."""


def body(flags: Mapping[str, Any]) -> dict[str, Any]:
    """What the options say of a schedule."""
    policy = given(flags, "catch_up", "window_ms", "max_runs", "start_deadline_ms", "overlap")
    found = given(flags, "timezone", "gap", "fold", "payload", "schedule", "task", "name")
    return found | ({"policy": policy} if policy else {})


@command(group, "list")
async def listed(api: Api, task: OfTask = "", namespace: Namespace = "main", limit: Limit = 100) -> Answer:
    """List schedules, newest first."""
    rows = await api.items("/api/schedules", limit, namespace=namespace, task=task)
    if not rows:
        await check_known(api, namespace, tasks=task)
    return Listing("schedules", rows, COLUMNS, MORE)


@command(group, "show")
async def shown(api: Api, name: Name) -> Answer:
    """Show a schedule and its next fires."""
    return Sheet(await api("GET", thing("schedules", name)))


@command(group, "create", rules)
async def create(
    api: Api,
    task: Annotated[str, read.argument("TASK")],
    schedule: When,
    name: Annotated[str | None, typer.Option(help="The task's if not given.")] = None,
    **flags: Any,
) -> Answer:
    """Make a schedule for a task."""
    space, target = task.split("/")
    wanted = body({**flags, "task": target, "schedule": schedule, "name": name})
    return Sheet(await api("POST", "/api/schedules", wanted, namespace=space))


@command(group, "update", rules)
async def update(
    api: Api,
    name: Name,
    schedule: Annotated[str | None, typer.Option(help="A new trigger.")] = None,
    task: Annotated[str | None, typer.Option(help="Another task.")] = None,
    **flags: Any,
) -> Answer:
    """Change a schedule from now on; its past is never fired again."""
    wanted = changes(body({**flags, "task": task, "schedule": schedule}))
    return Sheet(await api("PATCH", thing("schedules", name), wanted))


@command(group, "reset")
async def reset(api: Api, name: Name) -> Answer:
    """Drop what people changed: the schedule is as its code has it."""
    return Sheet(await api("POST", thing("schedules", name, "reset")))


@command(group, "delete")
async def delete(api: Api, name: Name) -> Answer:
    """Delete a schedule; runs that it fired go on."""
    return await deleted(api, "schedules", name)


@command(group, "pause")
async def pause(api: Api, name: Name, why: Why = "") -> Answer:
    """Let a schedule rest until it is resumed."""
    return Sheet(await api("POST", thing("schedules", name, "pause"), {"why": why}))


@command(group, "resume")
async def resume(api: Api, name: Name, catch_up: AsMissed = False) -> Answer:
    """Let a schedule fire again, from now on."""
    return Sheet(await api("POST", thing("schedules", name, "resume"), {"catch_up": catch_up}))


@command(group, "preview")
async def preview(api: Api, name: Name, count: Count = 10) -> Answer:
    """Show the next fires of a schedule, or why there are none."""
    fires = await api("GET", thing("schedules", name, "next"), count=count)
    why = [] if fires else (await api("GET", thing("schedules", name, "explain")))["story"][:1]
    return Sheet(fires, [clock(one) for one in fires] or why)


@command(group, "explain")
async def explain(api: Api, name: Name) -> Answer:
    """Say why a schedule fires or does not, and what it skipped."""
    found = await api("GET", thing("schedules", name, "explain"))
    return Sheet(found, found["story"])
