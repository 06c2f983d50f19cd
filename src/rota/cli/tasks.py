"""`rota tasks`: what can be run."""

from dataclasses import replace
from typing import Annotated, Any

import typer

from rota.cli import read
from rota.cli.common import Limit, Namespace, actor, collect, command
from rota.cli.schedules import COLUMNS as SCHEDULE_COLUMNS
from rota.cli.show import Answer, Listing, Said, Sheet, warn
from rota.cli.views import iso, schedule_view, task_view
from rota.domain.errors import Invalid, Refused
from rota.domain.lane import lane
from rota.domain.schedule import Schedule
from rota.domain.task import Isolation, OnLost, Task
from rota.engine import define
from rota.engine.engine import Engine
from rota.engine.engine import read as read_one
from rota.engine.recover import open_sessions
from rota.ports.store import Where

group = typer.Typer(help="What can be run.")
Name = Annotated[str, typer.Argument(metavar="TASK", help="Its name.")]


def fields(
    executor: Annotated[str | None, typer.Option(help="python, script, shell, http, grpc or one of your own.")] = None,
    command: Annotated[
        str | None, typer.Option(help="Handler, file, command line, URL or target/service/method.")
    ] = None,
    payload: Annotated[str | None, typer.Option(help="JSON arguments of runs that bring none.")] = None,
    param: Annotated[list[str] | None, typer.Option(help="Setting of the executor, key=value (JSON or text).")] = None,
    queue: Annotated[str | None, typer.Option(help="The line that its runs stand in.")] = None,
    priority: Annotated[str | None, typer.Option(help="low, normal, high, urgent, or 0 to 3.")] = None,
    retries: Annotated[int | None, typer.Option(min=0, help="How often a failed run is tried again.")] = None,
    retry_delay: Annotated[str | None, typer.Option(help="Before the first retry; later ones wait longer.")] = None,
    timeout: Annotated[str | None, typer.Option(help="Of one attempt, such as 90s or 1h30m; or none.")] = None,
    total_timeout: Annotated[str | None, typer.Option(help="Of all attempts together; or none.")] = None,
    queue_timeout: Annotated[str | None, typer.Option(help="From ready to start; or none.")] = None,
    silence_timeout: Annotated[str | None, typer.Option(help="Between two progress reports; or none.")] = None,
    on_lost: Annotated[OnLost | None, typer.Option(help="What becomes of a run whose worker vanished.")] = None,
    isolation: Annotated[Isolation | None, typer.Option(help="Where a Python task runs.")] = None,
    requires: Annotated[list[str] | None, typer.Option(help="Label that a worker must have.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
) -> None:
    """The options that a task is made and changed with."""


CLOCKS = {
    "timeout": "attempt_ms",
    "total_timeout": "total_ms",
    "queue_timeout": "queue_ms",
    "silence_timeout": "silence_ms",
}


def changed(task: Task, flags: dict[str, Any], known: bool) -> Task:
    """The task as the options say; what they leave out stays as it is, or takes its default if the task is new."""
    plain = ("command", "queue", "on_lost", "isolation", "description")
    given: dict[str, Any] = {name: flags[name] for name in plain if flags[name] is not None}
    executor = read.kind(
        task.executor if flags["executor"] is None else flags["executor"], given.get("command", task.command)
    )
    given |= {
        "executor": executor,
        "retry": read.policy(executor, flags["retries"], flags["retry_delay"], task.retry if known else None),
    }
    if flags["payload"] is not None:
        given["payload"] = read.json_bytes(flags["payload"], "payload")
    if flags["param"]:
        given["params"] = {**task.params, **read.params(flags["param"])}
    if flags["priority"] is not None:
        given["priority"] = read.level(flags["priority"])
    if flags["requires"]:
        given["requires"] = tuple(sorted(set(flags["requires"])))
    clocks = {slot: read.limit_ms(flags[name], name) for name, slot in CLOCKS.items() if flags[name] is not None}
    after = replace(task, **given, clocks=replace(task.clocks, **clocks))
    if not after.command:
        if executor != "python":
            raise Invalid("command", f"is missing; an {executor} task needs one")
        after = replace(after, command=task.name)
    return after


@command(group, "list")
async def listed(engine: Engine, namespace: Namespace = "main", limit: Limit = 100) -> Answer:
    """List tasks, newest first."""
    found = await collect(engine, Task, Where(namespace=namespace), limit)
    rows = [task_view(task, await _schedules(engine, task)) for task in found]
    return Listing("tasks", rows, ("name", "executor", "queue", "priority", "owner", "next_at", "description"))


@command(group, "show")
async def shown(engine: Engine, name: Name, namespace: Namespace = "main") -> Answer:
    """Show a task and its schedules."""
    task = await known_task(engine, name, namespace)
    schedules = await _schedules(engine, task)
    below = Listing("schedules", [schedule_view(one) for one in schedules], SCHEDULE_COLUMNS)
    return Sheet(task_view(task, schedules), below)


@command(group, "create", fields)
async def create(
    engine: Engine,
    name: Name,
    schedule: Annotated[
        list[str] | None, typer.Option(help='"0 2 * * *", "@daily", "every 10s" or "at 2026-12-24T18:00".')
    ] = None,
    timezone: Annotated[str, typer.Option(help="IANA zone of its schedules.")] = "UTC",
    namespace: Namespace = "main",
    **flags: Any,
) -> Answer:
    """Make a task, and schedules for it."""
    space, _, own = read.name_id("name", name, namespace).partition("/")
    task = changed(Task(space, own), flags, known=False)
    schedules = [
        Schedule(space, own if place == 1 else f"{own}:{place}", own, read.trigger(text, timezone))
        for place, text in enumerate(schedule or [], 1)
    ]
    born = await define.create_task(engine, task, schedules, actor())
    await _warn_unable(engine, born)
    made = await _schedules(engine, born)
    fires = [f"; it fires next at {iso(one.next_at)}" for one in made[:1] if one.next_at is not None]
    return Said(task_view(born, made), [f"task {born.id} made{''.join(fires)}"])


@command(group, "update", fields)
async def update(engine: Engine, name: Name, namespace: Namespace = "main", **flags: Any) -> Answer:
    """Change a task. On a task from code the change stays over deploys until it is reset."""
    before = await known_task(engine, name, namespace)
    wanted = changed(before, flags, known=True)
    names = ("executor", "command", "params", "payload", "queue", "priority", "retry", "clocks", "on_lost",
             "isolation", "requires", "description")  # fmt: skip
    changes = {field: getattr(wanted, field) for field in names if getattr(wanted, field) != getattr(before, field)}
    if not changes:
        raise Invalid("", "nothing to change; see `rota tasks update --help` for what can be")
    after = await define.update_task(engine, before.id, changes, actor())
    await _warn_unable(engine, after)
    return Said(task_view(after, await _schedules(engine, after)), [f"task {after.id} is at revision {after.revision}"])


@command(group, "reset")
async def reset(engine: Engine, name: Name, namespace: Namespace = "main") -> Answer:
    """Drop what people changed: the task is as its code has it."""
    after = await define.reset_task(engine, read.name_id("task", name, namespace), actor())
    return Said(task_view(after, await _schedules(engine, after)), [f"task {after.id} is as its code has it"])


@command(group, "delete")
async def delete(engine: Engine, name: Name, namespace: Namespace = "main") -> Answer:
    """Delete a task and its schedules; runs that exist go on."""
    key = read.name_id("task", name, namespace)
    await define.delete_task(engine, key, actor())
    return Said({"deleted": key}, [f"task {key} and its schedules deleted"])


@command(group, "pause")
async def pause(
    engine: Engine,
    name: Name,
    why: Annotated[str, typer.Option(help="The reason, for whoever finds it paused.")] = "",
    namespace: Namespace = "main",
) -> Answer:
    """Pause all schedules of a task. It can still be triggered."""
    names = await _scheduled(engine, name, namespace)
    after = [await define.pause_schedule(engine, one, why, actor()) for one in names]
    return Said([schedule_view(one) for one in after], [f"schedule {one} does not fire until resumed" for one in names])


@command(group, "resume")
async def resume(engine: Engine, name: Name, namespace: Namespace = "main") -> Answer:
    """Resume all schedules of a task."""
    names = await _scheduled(engine, name, namespace)
    after = [await define.resume_schedule(engine, one, actor()) for one in names]
    lines = [f"schedule {one.id} fires next at {iso(one.next_at or 0)}" for one in after]
    return Said([schedule_view(one) for one in after], lines)


async def known_task(engine: Engine, name: str, namespace: str) -> Task:
    """The task of that name. Raises `NotFound`."""
    found: Task = (await read_one(engine, Task, read.name_id("task", name, namespace), "task")).record
    return found


async def _schedules(engine: Engine, task: Task) -> list[Schedule]:
    """Its schedules, oldest first."""
    return [held.record for held in reversed(await define.schedules_of(engine, task))]


async def _scheduled(engine: Engine, name: str, namespace: str) -> list[str]:
    task = await known_task(engine, name, namespace)
    names: list[str] = [one.id for one in await _schedules(engine, task)]
    if not names:
        raise Refused(f"task {task.id} has no schedule; nothing fires it by itself")
    return names


async def _warn_unable(engine: Engine, task: Task) -> None:
    """A task that nobody can run now is accepted: its worker may come later."""
    wanted = lane(task.namespace, task.queue, task.executor, task.requires)
    if not any(wanted in session.lanes for session in await open_sessions(engine)):
        warn(f"no live worker takes queue {task.queue} with executor {task.executor}; its runs wait for one")
