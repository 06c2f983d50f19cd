"""`rota tasks`: what can be run."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any

import typer

from rota.api.views import instant, plain, when
from rota.cli import read
from rota.cli.common import Limit, Namespace, Why, actor, command, known, newest
from rota.cli.schedules import COLUMNS
from rota.cli.show import Answer, Listing, Sheet, note, warn
from rota.domain.errors import Invalid, Refused
from rota.domain.lane import lane
from rota.domain.retry import Defaults
from rota.domain.run import TERMINAL, Run, State
from rota.domain.schedule import Schedule
from rota.domain.task import DEFINED, Clocks, Isolation, OnLost, Task, meant
from rota.engine import control, define, query
from rota.engine.engine import Engine
from rota.engine.explain import warning
from rota.engine.recover import open_sessions
from rota.engine.submit import Order
from rota.ports.store import Where

group = typer.Typer(name="tasks", help="What can be run.")
Name = Annotated[str, read.argument("TASK")]
MORE = ("owner", "description")
LOOK_S = 0.5
Level = Annotated[int | None, read.option(read.level, "low, normal, high, urgent, or 0 to 3.", "--priority")]


def fields(
    executor: Annotated[str | None, typer.Option(help="python, script, shell, http, grpc or one of your own.")] = None,
    command: Annotated[str | None, typer.Option(help="Handler, file, shell line, URL, target/service/method.")] = None,
    payload: Annotated[bytes | None, read.option(read.payload, "JSON arguments of runs that bring none.")] = None,
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


def changed(task: Task, flags: Mapping[str, Any], defaults: Defaults | None = None) -> Task:
    """The task as the options say; what they leave out stays as it is, or on a new one is as the defaults say."""
    given = {
        "clocks": read.updated(task.clocks, flags),
        "params": {**task.params, **dict(flags["params"] or ())},
        "requires": tuple(sorted(set(flags["requires"] or ()))) or None,
    }
    after = meant(read.updated(task, {**flags, **given}))
    retry = read.updated(defaults.retry(after.executor) if defaults else task.retry, flags)
    command = after.command or (task.name if after.executor == "python" else "")
    return replace(after, command=command, retry=retry)


@command(group, "list")
async def listed(engine: Engine, namespace: Namespace = "main", limit: Limit = 100) -> Answer:
    """List tasks, newest first."""
    rows = [await _view(engine, one) for one in await newest(engine, Task, Where(namespace=namespace), limit)]
    return Listing("tasks", rows, ("name", "executor", "queue", "priority", "next_at"), MORE)


@command(group, "show")
async def shown(engine: Engine, name: Name) -> Answer:
    """Show a task and when it runs."""
    return Sheet(await _view(engine, await known(engine, Task, name)))


@command(group, "create", fields)
async def create(
    engine: Engine,
    name: Name,
    schedule: Annotated[list[str] | None, typer.Option(help=read.WHEN)] = None,
    timezone: Annotated[str, typer.Option(help="IANA zone of its schedules.")] = "UTC",
    **flags: Any,
) -> Answer:
    """Make a task, and schedules for it."""
    space, own = name.split("/")
    new = Task(space, own, clocks=Clocks(attempt_ms=engine.defaults.attempt_ms))
    task = changed(new, flags, engine.defaults)
    schedules = [
        Schedule(space, own if place == 1 else f"{own}:{place}", own, read.trigger(text, {"timezone": timezone}))
        for place, text in enumerate(schedule or [], 1)
    ]
    return await _accepted(engine, await define.create_task(engine, task, schedules, actor()))


@command(group, "update", fields)
async def update(engine: Engine, name: Name, **flags: Any) -> Answer:
    """Change a task. On a task from code the change stays over deploys until it is reset."""
    before = await known(engine, Task, name)
    changes = read.changes(before, changed(before, flags), DEFINED)
    return await _accepted(engine, await define.update_task(engine, name, changes, actor()))


@command(group, "reset")
async def reset(engine: Engine, name: Name) -> Answer:
    """Drop what people changed: the task is as its code has it."""
    return await _accepted(engine, await define.reset_task(engine, name, actor()))


@command(group, "delete")
async def delete(engine: Engine, name: Name) -> Answer:
    """Delete a task and its schedules; runs that exist go on."""
    await define.delete_task(engine, name, actor())
    return Sheet({"deleted": name})


@command(group, "pause")
async def pause(engine: Engine, name: Name, why: Why = "") -> Answer:
    """Pause all schedules of a task. It can still be triggered."""
    return await _each(engine, name, lambda one: define.pause_schedule(engine, one, why, actor()))


@command(group, "resume")
async def resume(engine: Engine, name: Name) -> Answer:
    """Resume all schedules of a task."""
    return await _each(engine, name, lambda one: define.resume_schedule(engine, one, actor()))


@command(group, "trigger")
async def trigger(
    engine: Engine,
    name: Name,
    payload: Annotated[bytes | None, read.option(read.payload, "JSON arguments; the task's if not given.")] = None,
    delay: Annotated[int | None, read.option(read.delay, "How long from now, such as 90s or 1h30m.")] = None,
    at: Annotated[int | None, read.option(read.instant, "When, in ISO 8601; without an offset it is UTC.")] = None,
    queue: Annotated[str | None, typer.Option(help="Another queue than the task's.")] = None,
    priority: Level = None,
    key: Annotated[str | None, typer.Option(help="The same key again within a day gives the same run.")] = None,
    unique: Annotated[str | None, typer.Option(help="Only one live run has it; a second order gives that one.")] = None,
    overlap: Annotated[bool, typer.Option("--overlap", help="Obey the overlap rule of the task's schedule.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Show its end; exit code 1 if it failed.")] = False,
) -> Answer:
    """Run a task, and print the id of the run."""
    if delay is not None and at is not None:
        raise Invalid("delay", "give --delay or --at, not both")
    space, own = name.split("/")
    due_at = at if delay is None else delay
    order = Order(own, space, payload or b"", due_at, queue=queue, priority=priority, key=key, unique=unique)
    receipt = await control.trigger(engine, order, actor(), overlap)
    if why := await warning(engine, receipt.id):
        warn(f"it waits: {why}")
    if not wait:
        return Sheet({"id": receipt.id, "created": receipt.created}, [receipt.id])
    run = await _followed(engine, receipt.id)
    return Sheet(await query.run_detail(engine, run.id), code=0 if run.state is State.SUCCESS else 1)


async def _followed(engine: Engine, run_id: str) -> Run:
    """The run once it has ended; what becomes of it meanwhile is told on standard error."""
    ear, said = engine.store.watch(["done"]), ""
    try:
        while True:
            run: Run = (await query.run_detail(engine, run_id)).run
            now = f"{run.state} on {run.worker}, attempt {run.attempt}" if run.state is State.RUNNING else run.state
            if now != said:
                note(f"run {run_id}: {now}")
            if run.state in TERMINAL:
                return run
            said = now
            await ear.wait(LOOK_S)
    finally:
        ear.close()


async def _each(engine: Engine, name: str, change: Callable[[str], Awaitable[Schedule]]) -> Answer:
    """What a change made of all schedules of a task. Raises `Refused` where it has none."""
    task = await known(engine, Task, name)
    after = [await change(one.id) for one in await _schedules(engine, task)]
    if not after:
        hold = f"to hold back what is submitted, pause its queue: `rota queues pause {task.queue}`"
        raise Refused(f"task {name} has no schedule, so nothing fires it by itself; {hold}")
    return Listing("schedules", after, COLUMNS)


async def _schedules(engine: Engine, task: Task) -> list[Schedule]:
    """Its schedules, oldest first."""
    return [held.record for held in reversed(await define.schedules_of(engine, task))]


async def _view(engine: Engine, task: Task) -> dict[str, Any]:
    """A task, with the names of its schedules, their triggers as text, and the next instant of any of them."""
    mine = await _schedules(engine, task)
    next_at = min((one.next_at for one in mine if one.next_at is not None), default=None)
    names, times = [one.name for one in mine], [when(one.trigger) for one in mine]
    return {**plain(task), "schedules": names, "when": times, **instant("next_at", next_at)}


async def _accepted(engine: Engine, task: Task) -> Answer:
    """A task that nobody can run is accepted with a warning: its worker may come later."""
    wanted = lane(task.namespace, task.queue, task.executor, task.requires)
    if not any(wanted in session.lanes for session in await open_sessions(engine)):
        warn(f"no live worker takes queue {task.queue} with executor {task.executor}; its runs wait for one")
    return Sheet(await _view(engine, task))
