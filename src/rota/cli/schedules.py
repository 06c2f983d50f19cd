"""`rota schedules`: when tasks run by themselves."""

from typing import Annotated, Any, Literal

import typer

from rota.api.views import iso, plain
from rota.cli import read
from rota.cli.common import Count, Limit, Namespace, OfTask, When, Why, actor, command, known, newest
from rota.cli.show import Answer, Listing, Sheet, clock
from rota.domain.schedule import TIMED, CatchUp, Overlap, Policy, Schedule
from rota.engine import define, query
from rota.engine.engine import Engine
from rota.engine.explain import explain_schedule
from rota.ports.store import Where

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
    payload: Annotated[bytes | None, read.option(read.payload, "JSON arguments; the task's if not given.")] = None,
) -> None:
    """The options that a schedule is made and changed with."""


@command(group, "list")
async def listed(engine: Engine, task: OfTask = "", namespace: Namespace = "main", limit: Limit = 100) -> Answer:
    """List schedules, newest first."""
    found = await newest(engine, Schedule, Where(namespace=namespace, task=task), limit)
    return Listing("schedules", found, COLUMNS, MORE)


@command(group, "show")
async def shown(engine: Engine, name: Name) -> Answer:
    """Show a schedule and its next fires."""
    fires = await query.next_fires(engine, name, 3)
    return Sheet(plain(await known(engine, Schedule, name)) | {"next_fires": [iso(one) for one in fires]})


@command(group, "create", rules)
async def create(
    engine: Engine,
    task: Annotated[str, read.argument("TASK")],
    schedule: When,
    name: Annotated[str, typer.Option(help="The task's if not given.")] = "",
    **flags: Any,
) -> Answer:
    """Make a schedule for a task."""
    space, target = task.split("/")
    policy = read.updated(Policy(), flags)
    made = Schedule(space, name or target, target, read.trigger(schedule, flags), policy=policy)
    return Sheet(await define.create_schedule(engine, read.updated(made, flags), actor()))


@command(group, "update", rules)
async def update(
    engine: Engine,
    name: Name,
    schedule: Annotated[str | None, typer.Option(help="A new trigger.")] = None,
    task: Annotated[str | None, typer.Option(help="Another task.")] = None,
    **flags: Any,
) -> Answer:
    """Change a schedule from now on; its past is never fired again."""
    before = await known(engine, Schedule, name)
    timed = {"trigger": read.trigger(schedule, flags, before.trigger), "policy": read.updated(before.policy, flags)}
    changes = read.changes(before, read.updated(before, {**flags, **timed, "task": task}), TIMED)
    return Sheet(await define.update_schedule(engine, name, changes, actor()))


@command(group, "reset")
async def reset(engine: Engine, name: Name) -> Answer:
    """Drop what people changed: the schedule is as its code has it."""
    return Sheet(await define.reset_schedule(engine, name, actor()))


@command(group, "delete")
async def delete(engine: Engine, name: Name) -> Answer:
    """Delete a schedule; runs that it fired go on."""
    await define.delete_schedule(engine, name, actor())
    return Sheet({"deleted": name})


@command(group, "pause")
async def pause(engine: Engine, name: Name, why: Why = "") -> Answer:
    """Let a schedule rest until it is resumed."""
    return Sheet(await define.pause_schedule(engine, name, why, actor()))


@command(group, "resume")
async def resume(engine: Engine, name: Name, catch_up: AsMissed = False) -> Answer:
    """Let a schedule fire again, from now on."""
    return Sheet(await define.resume_schedule(engine, name, actor(), catch_up))


@command(group, "preview")
async def preview(engine: Engine, name: Name, count: Count = 10) -> Answer:
    """Show the next fires of a schedule, whether it is paused or not."""
    fires = [iso(one) for one in await query.next_fires(engine, name, count)]
    return Sheet(fires, [clock(one) for one in fires] or ["it does not fire any more"])


@command(group, "explain")
async def explain(engine: Engine, name: Name) -> Answer:
    """Say why a schedule fires or does not, and what it skipped."""
    story = await explain_schedule(engine, name)
    return Sheet({"schedule": name, "story": story}, story)
