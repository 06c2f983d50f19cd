"""`rota schedules`: when tasks run by themselves."""

from dataclasses import replace
from typing import Annotated, Any, Literal

import typer

from rota.cli import read
from rota.cli.common import Limit, Namespace, actor, collect, command
from rota.cli.show import Answer, Listing, Said, Sheet
from rota.cli.views import iso, schedule_view
from rota.domain.errors import Invalid
from rota.domain.schedule import CatchUp, Overlap, Policy, Schedule
from rota.domain.triggers import Cron, Trigger
from rota.engine import define, query
from rota.engine import engine as verbs
from rota.engine.engine import Engine
from rota.engine.explain import explain_schedule
from rota.ports.store import Where

group = typer.Typer(help="When tasks run by themselves.")
Name = Annotated[str, typer.Argument(metavar="SCHEDULE", help="Its name.")]
COLUMNS = ("name", "task", "when", "state", "next_at", "fired", "skipped")


def rules(
    timezone: Annotated[str | None, typer.Option(help="IANA zone of the cron text or time; UTC if not given.")] = None,
    gap: Annotated[Literal["shift", "skip"] | None, typer.Option(help="Times that a clock change leaves out.")] = None,
    fold: Annotated[Literal["first", "both"] | None, typer.Option(help="Times that a clock change repeats.")] = None,
    catch_up: Annotated[CatchUp | None, typer.Option(help="Occurrences that nobody was there to fire.")] = None,
    window: Annotated[str | None, typer.Option(help="Missed occurrences older than this are skipped.")] = None,
    max_runs: Annotated[
        int | None, typer.Option(min=1, help="Most missed occurrences that `all` makes up for.")
    ] = None,
    start_deadline: Annotated[str | None, typer.Option(help="A run not started so long after its time fails.")] = None,
    overlap: Annotated[Overlap | None, typer.Option(help="An occurrence while an earlier run is not over.")] = None,
    payload: Annotated[str | None, typer.Option(help="JSON arguments of its runs; the task's if not given.")] = None,
) -> None:
    """The options that a schedule is made and changed with."""


@command(group, "list")
async def listed(
    engine: Engine,
    task: Annotated[str, typer.Option(help="Of this task only.")] = "",
    namespace: Namespace = "main",
    limit: Limit = 100,
) -> Answer:
    """List schedules, newest first."""
    found = await collect(engine, Schedule, Where(namespace=namespace, task=task), limit)
    return Listing("schedules", [schedule_view(one) for one in found], COLUMNS)


@command(group, "show")
async def shown(engine: Engine, name: Name, namespace: Namespace = "main") -> Answer:
    """Show a schedule and its next fires."""
    schedule = await known(engine, name, namespace)
    fires = await query.next_fires(engine, schedule.id, 3)
    data = schedule_view(schedule) | {"next_fires": [iso(moment) for moment in fires]}
    return Sheet(data)


@command(group, "create", rules)
async def create(
    engine: Engine,
    task: Annotated[str, typer.Argument(help="The task that it fires.")],
    schedule: Annotated[str, typer.Argument(help='"0 2 * * *", "@daily", "every 10s" or "at 2026-12-24T18:00".')],
    name: Annotated[str, typer.Option(help="The task's if not given.")] = "",
    namespace: Namespace = "main",
    **flags: Any,
) -> Answer:
    """Make a schedule for a task."""
    space, _, target = read.name_id("task", task, namespace).partition("/")
    made = Schedule(
        namespace=space,
        name=name or target,
        task=target,
        trigger=read.trigger(schedule, flags["timezone"], flags["gap"], flags["fold"]),
        payload=read.json_bytes(flags["payload"], "payload") if flags["payload"] else b"",
        policy=_policy(Policy(), flags),
    )
    born = await define.create_schedule(engine, made, actor())
    return _said(born, f"schedule {born.id} made; it fires next at {iso(born.next_at or 0)}")


@command(group, "update", rules)
async def update(
    engine: Engine,
    name: Name,
    schedule: Annotated[str | None, typer.Option(help="A new trigger.")] = None,
    task: Annotated[str | None, typer.Option(help="Another task.")] = None,
    namespace: Namespace = "main",
    **flags: Any,
) -> Answer:
    """Change a schedule from now on; its past is never fired again."""
    before = await known(engine, name, namespace)
    wanted: dict[str, Any] = {
        "trigger": _trigger(before.trigger, schedule, flags),
        "policy": _policy(before.policy, flags),
        "task": task or before.task,
        "payload": before.payload if flags["payload"] is None else read.json_bytes(flags["payload"], "payload"),
    }
    changes = {field: value for field, value in wanted.items() if value != getattr(before, field)}
    if not changes:
        raise Invalid("", "nothing to change; see `rota schedules update --help` for what can be")
    after = await define.update_schedule(engine, before.id, changes, actor())
    return _said(after, f"schedule {after.id} is at revision {after.revision}")


@command(group, "reset")
async def reset(engine: Engine, name: Name, namespace: Namespace = "main") -> Answer:
    """Drop what people changed: the schedule is as its code has it."""
    after = await define.reset_schedule(engine, read.name_id("schedule", name, namespace), actor())
    return _said(after, f"schedule {after.id} is as its code has it")


@command(group, "delete")
async def delete(engine: Engine, name: Name, namespace: Namespace = "main") -> Answer:
    """Delete a schedule; runs that it fired go on."""
    key = read.name_id("schedule", name, namespace)
    await define.delete_schedule(engine, key, actor())
    return Said({"deleted": key}, [f"schedule {key} deleted"])


@command(group, "pause")
async def pause(
    engine: Engine,
    name: Name,
    why: Annotated[str, typer.Option(help="The reason, for whoever finds it paused.")] = "",
    namespace: Namespace = "main",
) -> Answer:
    """Let a schedule rest until it is resumed."""
    after = await define.pause_schedule(engine, read.name_id("schedule", name, namespace), why, actor())
    return _said(after, f"schedule {after.id} does not fire until it is resumed")


@command(group, "resume")
async def resume(
    engine: Engine,
    name: Name,
    catch_up: Annotated[bool, typer.Option("--catch-up", help="Judge what passed meanwhile as missed.")] = False,
    namespace: Namespace = "main",
) -> Answer:
    """Let a schedule fire again, from now on."""
    after = await define.resume_schedule(engine, read.name_id("schedule", name, namespace), actor(), catch_up)
    return _said(after, f"schedule {after.id} fires next at {iso(after.next_at or 0)}")


@command(group, "preview")
async def preview(
    engine: Engine,
    name: Name,
    count: Annotated[int, typer.Option(min=1, max=1_000, help="How many.")] = 10,
    namespace: Namespace = "main",
) -> Answer:
    """Show the next fires of a schedule, whether it is paused or not."""
    fires = [iso(one) for one in await query.next_fires(engine, read.name_id("schedule", name, namespace), count)]
    return Said(fires, fires)


@command(group, "explain")
async def explain(engine: Engine, name: Name, namespace: Namespace = "main") -> Answer:
    """Say why a schedule fires or does not, and what it skipped."""
    key = read.name_id("schedule", name, namespace)
    story = await explain_schedule(engine, key)
    return Said({"schedule": key, "story": story}, story)


async def known(engine: Engine, name: str, namespace: str) -> Schedule:
    """The schedule of that name. Raises `NotFound`."""
    found: Schedule = (await verbs.read(engine, Schedule, read.name_id("schedule", name, namespace), "schedule")).record
    return found


def _said(schedule: Schedule, line: str) -> Said:
    return Said(schedule_view(schedule), [line])


def _trigger(before: Trigger, text: str | None, flags: dict[str, Any]) -> Trigger:
    """A new trigger, or the known one by another clock."""
    zone, gap, fold = flags["timezone"], flags["gap"], flags["fold"]
    old = before if isinstance(before, Cron) else Cron("0 0 * * *")
    if text is not None:
        return read.trigger(text, zone or old.timezone, gap, fold)
    if not (zone or gap or fold):
        return before
    if not isinstance(before, Cron):
        raise Invalid("timezone", "is for cron text; give a new --schedule as well")
    return replace(before, timezone=zone or old.timezone, gap=gap or old.gap, fold=fold or old.fold)


def _policy(known: Policy, flags: dict[str, Any]) -> Policy:
    given: dict[str, Any] = {name: flags[name] for name in ("catch_up", "max_runs", "overlap")}
    if flags["window"] is not None:
        given["window_ms"] = read.length_ms(flags["window"], "window")
    found = replace(known, **{name: value for name, value in given.items() if value is not None})
    if flags["start_deadline"] is None:
        return found
    return replace(found, start_deadline_ms=read.limit_ms(flags["start_deadline"], "start-deadline"))
