"""`rota tasks`: what can be run."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from rota.cli import read
from rota.cli.common import Limit, Namespace, Why, changes, command, deleted, given
from rota.cli.remote import Api, thing
from rota.cli.runs import followed
from rota.cli.schedules import COLUMNS
from rota.cli.show import Answer, Listing, Sheet, note, warn
from rota.domain.errors import Invalid, RotaError
from rota.domain.task import Isolation, OnLost

group = typer.Typer(name="tasks", help="What can be run.")
Name = Annotated[str, read.argument("TASK")]
MORE = ("owner", "description")
FIELDS = ("executor", "command", "payload", "queue", "priority", "on_lost", "isolation", "description")
Level = Annotated[Any, read.option(read.level, "low, normal, high, urgent, or 0 to 3.", "--priority")]


def fields(
    executor: Annotated[str | None, typer.Option(help="python, script, shell, http, grpc or one of your own.")] = None,
    command: Annotated[str | None, typer.Option(help="Handler, file, shell line, URL, target/service/method.")] = None,
    payload: Annotated[Any, read.option(read.payload, "JSON arguments of runs that bring none.")] = None,
    params: Annotated[list[Any] | None, read.option(read.setting, "Of the executor, as key=value.", "--param")] = None,
    queue: Annotated[str | None, typer.Option(help="The line that its runs stand in.")] = None,
    priority: Level = None,
    retries: Annotated[int | None, typer.Option(min=0, help="How often a failed run is tried again.")] = None,
    delay_ms: Annotated[int | None, read.option(read.length, "Before a retry; it grows.", "--retry-delay")] = None,
    attempt_ms: Annotated[int | None, read.option(read.limit, "Of an attempt: 90s, 1h30m, none.", "--timeout")] = None,
    total_ms: Annotated[int | None, read.option(read.limit, "Of all attempts, or none.", "--total-timeout")] = None,
    queue_ms: Annotated[int | None, read.option(read.limit, "From ready to start, or none.", "--queue-timeout")] = None,
    silence_ms: Annotated[int | None, read.option(read.limit, "Between progress reports.", "--silence-timeout")] = None,
    on_lost: Annotated[OnLost | None, typer.Option(help="What becomes of a run whose worker vanished.")] = None,
    isolation: Annotated[Isolation | None, typer.Option(help="Where a Python task runs.")] = None,
    requires: Annotated[list[str] | None, typer.Option(help="Label that a worker must have.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
) -> None:
    """The options that a task is made and changed with."""


def body(flags: Mapping[str, Any]) -> dict[str, Any]:
    """What the options say of a task."""
    inner = {
        "params": dict(flags["params"] or ()),
        "retry": given(flags, "retries", "delay_ms"),
        "clocks": given(flags, "attempt_ms", "total_ms", "queue_ms", "silence_ms"),
        "requires": flags["requires"],
    }
    return given(flags, *FIELDS) | {name: value for name, value in inner.items() if value}


@command(group, "list")
async def listed(api: Api, namespace: Namespace = "main", limit: Limit = 100) -> Answer:
    """List tasks, newest first."""
    rows = await api.items("/api/tasks", limit, namespace=namespace, schedules="true")
    return Listing("tasks", rows, ("name", "executor", "queue", "priority", "next_at"), MORE)


@command(group, "show")
async def shown(api: Api, name: Name) -> Answer:
    """Show a task and when it runs."""
    return Sheet(await api("GET", thing("tasks", name)))


@command(group, "create", fields)
async def create(
    api: Api,
    name: Name,
    schedule: Annotated[list[str] | None, typer.Option(help=read.WHEN)] = None,
    timezone: Annotated[str | None, typer.Option(help="IANA zone of its schedules; UTC if not given.")] = None,
    **flags: Any,
) -> Answer:
    """Make a task, and schedules for it."""
    space, own = name.split("/")
    when = given({"schedule": schedule or None, "timezone": timezone})
    return _accepted(await api("POST", "/api/tasks", {"name": own, **body(flags), **when}, namespace=space))


@command(group, "update", fields)
async def update(api: Api, name: Name, **flags: Any) -> Answer:
    """Change a task. On a task from code the change stays over deploys until it is reset."""
    after, read_as = changes(body(flags)), None
    if "params" in after:
        after["params"] = (await api("GET", thing("tasks", name)))["params"] | after["params"]
        read_as = api.tag  # what another has added meanwhile is not taken away
    return _accepted(await api("PATCH", thing("tasks", name), after, match=read_as))


@command(group, "reset")
async def reset(api: Api, name: Name) -> Answer:
    """Drop what people changed: the task is as its code has it."""
    return _accepted(await api("POST", thing("tasks", name, "reset")))


@command(group, "delete")
async def delete(api: Api, name: Name) -> Answer:
    """Delete a task and its schedules; runs that exist go on."""
    return await deleted(api, "tasks", name)


@command(group, "pause")
async def pause(api: Api, name: Name, why: Why = "") -> Answer:
    """Pause all schedules of a task. It can still be triggered."""
    await api("POST", thing("tasks", name, "pause"), {"why": why})
    return await _schedules(api, name)


@command(group, "resume")
async def resume(api: Api, name: Name) -> Answer:
    """Resume all schedules of a task."""
    await api("POST", thing("tasks", name, "resume"))
    return await _schedules(api, name)


@command(group, "trigger")
async def trigger(
    api: Api,
    name: Name,
    payload: Annotated[Any, read.option(read.payload, "JSON arguments; the task's if not given.")] = None,
    delay: Annotated[int | None, read.option(read.length, "How long from now, such as 90s or 1h30m.")] = None,
    at: Annotated[int | None, read.option(read.instant, "When, in ISO 8601; without an offset it is UTC.")] = None,
    queue: Annotated[str | None, typer.Option(help="Another queue than the task's.")] = None,
    priority: Level = None,
    key: Annotated[str | None, typer.Option(help="The same key again within a day gives the same run.")] = None,
    unique: Annotated[str | None, typer.Option(help="Only one live run has it; a second order gives that one.")] = None,
    overlap: Annotated[bool, typer.Option("--overlap", help="Obey the overlap rule of the task's schedule.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Show its end; exit code 1 if it failed.")] = False,
    within: Annotated[Any, read.option(read.limit, "Of the wait, such as 5m; the run goes on.", "--timeout")] = None,
) -> Answer:
    """Run a task, and print the id of the run."""
    if delay is not None and at is not None:
        raise Invalid("delay", "give --delay or --at, not both")
    if within is not None and not wait:
        raise Invalid("timeout", "is for --wait; give that as well (how long runs may take is their task's)")
    said = {"payload": payload, "due_at": at, "queue": queue, "priority": priority, "unique": unique}
    order = {**given(said), "overlap": overlap}
    if delay is not None:
        order["delay_seconds"] = delay / 1_000
    receipt = await api("POST", thing("tasks", name, "trigger"), order, read.key(key))
    run = receipt["id"]
    if receipt["warning"]:
        warn(f"it waits: {receipt['warning']}")
    if not wait:
        return Sheet(receipt, [run])
    left = f"run {run} goes on: `rota runs explain {run}` tells how it is, `rota runs cancel {run}` ends it"
    try:
        async with asyncio.timeout(None if within in (None, read.NO_LIMIT) else within / 1_000):
            ended = await followed(api, run)
    except TimeoutError:
        raise RotaError(f"it has not ended in time; {left}") from None
    except (asyncio.CancelledError, RotaError):  # by Ctrl-C, or by a server that is away
        note(left)
        raise
    return Sheet(ended, code=0 if ended["state"] == "success" else 1)


async def _schedules(api: Api, name: str) -> Answer:
    space, own = name.split("/")
    return Listing("schedules", await api.items("/api/schedules", 1_000, namespace=space, task=own), COLUMNS)


def _accepted(task: dict[str, Any]) -> Answer:
    """A task that nobody can run is accepted with a warning: its worker may come later."""
    if task["warning"]:
        warn(task["warning"])
    return Sheet(task)
