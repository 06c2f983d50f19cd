"""Tasks: what can be run. A task's id is its name."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Query, Response

from rota.api.asked import Asked, scope
from rota.api.deps import Counted, Definer, Here, Json, Key, Namespace, Operator, Reader, Seals, answers, router
from rota.api.etags import Unchanged, etag
from rota.api.named import Each, Kind
from rota.api.paging import listing, readable
from rota.api.schemas import views as shown
from rota.api.schemas.bodies import ResumeBody, TaskChange, TaskNew, TriggerBody, WhyBody, trigger_of
from rota.api.schemas.filters import TaskFilter
from rota.api.stats import Stats
from rota.api.views import instant, plain, when
from rota.domain.access import Action, allowed
from rota.domain.errors import Refused, StoreError, Unclear
from rota.domain.lane import lane
from rota.domain.retry import Defaults
from rota.domain.run import LIVE, Run, State
from rota.domain.schedule import Schedule
from rota.domain.task import Task, without_secrets
from rota.domain.timing import started
from rota.engine import control, define
from rota.engine.define import schedules_of
from rota.engine.engine import Engine
from rota.engine.explain import hindered, untaken
from rota.engine.query import living
from rota.observe.traces import submission
from rota.ports.store import Where

routes = router("/api/tasks", "tasks")


def seen(task: Task, asked: Asked) -> Task:
    """The task as the asker may see it."""
    if allowed(asked.actor.grants, Action.DEFINE, *scope(task)):
        return task
    return replace(task, params=without_secrets(task.params), overrides=without_secrets(task.overrides))


def row(task: Task) -> dict[str, Any]:
    """A task as JSON, under the names that it was made with too."""
    attempt_ms = task.clocks.attempt_ms
    timeout = None if attempt_ms is None else attempt_ms / 1_000
    return {"id": task.name, **plain(task), "retry_count": task.retry.retries, "timeout_seconds": timeout}


TASKS = Kind(Task)
Named = Annotated[Task, Depends(TASKS.named)]
"""The task of the path, which the asker may do this to; named behind the asker."""
Chosen = Annotated[Each, Depends(TASKS.each)]


async def told(engine: Engine, task: Task, status: int = 200, warning: str = "") -> Response:
    """A task with its schedules, its next fire and its ETag."""
    location = {"Location": f"/api/tasks/{task.name}?namespace={task.namespace}"} if status == 201 else {}
    body = {**row(task), **await _times(engine, task), "warning": warning}
    return Json(body, status, {"ETag": etag(task), **location})


async def _times(engine: Engine, task: Task) -> dict[str, Any]:
    mine = [one.record for one in reversed(await schedules_of(engine, task))]
    next_at = min((one.next_at for one in mine if one.next_at is not None), default=None)
    times = {"schedules": [one.name for one in mine], "when": [when(one.trigger) for one in mine]}
    return {**times, **instant("next_at", next_at)}


async def _accepted(engine: Engine, task: Task, status: int = 200) -> Response:
    """A task that nobody can run is accepted with a warning: its worker may come later.

    Raises `Unclear` where the store goes away only now: who is told to come back would meet their own task.
    """
    own = lane(task.namespace, task.queue, task.executor, task.requires)
    try:
        return await told(engine, task, status, untaken(own, await living(engine)))
    except StoreError as error:
        raise Unclear(f"task {task.id} is as it should be, but cannot be told: {error}") from error


@routes.get("", response_model=shown.page(shown.TaskRow))
async def listed(engine: Here, asked: Reader, cursors: Seals, query: Annotated[TaskFilter, Query()]) -> Response:
    """List tasks, newest first."""
    where, fits = readable(asked, Where(namespace=query.namespace, queue=query.queue), narrow=False)
    text = query.search.lower()

    def wanted(task: Task) -> bool:
        right = query.task_type in ("", task.task_type)
        return right and fits(task) and text in f"{task.name}\n{task.description}".lower()

    found, after = await listing(engine.store.late, cursors, Task, where, query, wanted)
    rows = [row(seen(one, asked)) | (await _times(engine, one) if query.schedules else {}) for one in found]
    return Json({"items": rows, "next": after})


@routes.post("", status_code=201, response_model=shown.TaskView, responses=answers(409))
async def create(engine: Here, asked: Definer, body: TaskNew, namespace: Namespace = "main") -> Response:
    """Make a task, and with `schedule` schedules of it."""
    task = body.applied(Task(namespace, body.name), engine.defaults)
    asked.permit("task", task.name, *scope(task))
    schedules = [
        Schedule(
            namespace, f"{task.name}:{place}" if place > 1 else task.name, task.name, trigger_of(text, body.timezone)
        )
        for place, text in enumerate(body.schedule or [], 1)
    ]
    return await _accepted(engine, await define.create_task(engine, task, schedules, asked.name), 201)


@routes.get("/{name}", response_model=shown.TaskView, responses=answers(404))
async def show(engine: Here, asked: Reader, task: Named) -> Response:
    """Show a task and when it runs."""
    return await told(engine, seen(task, asked))


@routes.patch("/{name}", response_model=shown.TaskView, responses=answers(404, 409, 412))
async def update(engine: Here, asked: Definer, task: Named, body: TaskChange, check: Unchanged) -> Response:
    """Change what the body names. On a task from code the change stays over deploys until it is reset."""
    return await _changed(engine, asked, task, body, check)


@routes.put("/{name}", response_model=shown.TaskView, responses=answers(404, 409, 412))
async def replaced(engine: Here, asked: Definer, task: Named, body: TaskChange, check: Unchanged) -> Response:
    """Put the whole definition: what the body leaves out goes back to its default. Schedules stay if not named."""
    return await _changed(engine, asked, task, body, check, engine.defaults)


async def _changed(
    engine: Engine, asked: Asked, task: Task, body: TaskChange, check: define.Check, whole: Defaults | None = None
) -> Response:
    changes = body.changes(task, whole)
    if queue := changes.get("queue"):
        asked.permit("task", task.name, task.namespace, task.name, queue)
    check(task)
    timed = await _timing(engine, task, body, whole is not None)
    after = task
    if changes:
        after = await define.update_task(engine, task.id, lambda one: body.changes(one, whole), asked.name, check)
    if timed:
        await timed(asked.name)
    return await _accepted(engine, after)


async def _timing(
    engine: Engine, task: Task, body: TaskChange, whole: bool
) -> Callable[[str], Awaitable[object]] | None:
    """How the schedule of the task's name becomes what the body says; None where it is so. Raises before any change."""
    if "schedule" not in body.model_fields_set:
        return None
    timezone = body.timezone if whole or "timezone" in body.model_fields_set else None
    held = (await engine.store.get(Schedule, [task.id]))[0]
    if held and held.record.task != task.name:
        raise Refused(f"schedule {task.name} is of another task; change it under /api/schedules")
    if body.schedule is None:
        return partial(define.delete_schedule, engine, task.id) if held else None
    text = body.schedule

    def wanted(known: Schedule | None) -> dict[str, Any]:
        return {"trigger": trigger_of(text, timezone, None if whole or not known else known.trigger)}

    trigger = wanted(held and held.record)["trigger"]
    if held and held.record.trigger == trigger:
        return None
    made = started(Schedule(task.namespace, task.name, task.name, trigger), engine.clock.now())
    if held is None:
        if len(await schedules_of(engine, task)) >= define.SCHEDULE_LIMIT:
            raise Refused(f"task {task.id} has {define.SCHEDULE_LIMIT} schedules, the most there can be")
        return partial(define.create_schedule, engine, made)
    return partial(define.update_schedule, engine, task.id, wanted)


@routes.delete("/{name}", status_code=204, responses=answers(404, 412))
async def delete(engine: Here, asked: Definer, task: Named, check: Unchanged) -> Response:
    """Delete a task and its schedules; runs that exist go on."""
    await define.delete_task(engine, task.id, asked.name, check)
    return Response(status_code=204)


@routes.post("/{name}/reset", response_model=shown.TaskView, responses=answers(404, 409, 412))
async def reset(engine: Here, asked: Definer, task: Named, check: Unchanged) -> Response:
    """Drop what people changed: the task is as its code has it."""
    return await _accepted(engine, await define.reset_task(engine, task.id, asked.name, check))


@routes.post(
    "/{name}/trigger", status_code=201, response_model=shown.Receipt, responses=answers(404, 409) | shown.KNOWN
)
async def trigger(
    engine: Here, counted: Counted, asked: Operator, task: Named, body: TriggerBody | None = None, key: Key = None
) -> Response:
    """Run a task now, or when the body says. 200 where a key led to an earlier run."""
    return await triggered(engine, counted, asked, task, body or TriggerBody(), key)


async def triggered(
    engine: Engine, counted: Stats, asked: Asked, task: Task, body: TriggerBody, key: str | None
) -> Response:
    """The receipt of one run, with a warning where it is seen that nobody will take it as things are."""
    with submission(task.name):
        order = ordered(engine, asked, task, body, key)
        receipt = await control.trigger(engine, order, asked.name, body.overlap)
    warning = ""
    with suppress(StoreError):  # the run is made: told of trouble, who asked would ask again
        held = (await engine.store.get(Run, [receipt.id]))[0]
        if held and held.record.state in LIVE - {State.RUNNING}:
            warning = await hindered(engine, held.record, await counted.refused(task.namespace))
    data = {"id": receipt.id, "created": receipt.created, "warning": warning}
    return Json(data, 201 if receipt.created else 200, {"Location": f"/api/runs/{receipt.id}"})


def ordered(engine: Engine, asked: Asked, task: Task, body: TriggerBody, key: str | None) -> Any:
    """The order that a body means. Raises `Forbidden` for a queue that the asker may not use."""
    order = body.order(task, asked.name, key, engine.clock.now())
    if order.queue is not None:
        asked.permit("queue", order.queue, task.namespace, task.name, order.queue)
    return order


@routes.post("/{name}/pause", response_model=shown.TaskView, responses=answers(404, 409))
async def pause(engine: Here, asked: Operator, task: Named, body: WhyBody | None = None) -> Response:
    """Pause all schedules of a task. It can still be triggered."""
    for one in await _scheduled(engine, task):
        await define.pause_schedule(engine, one, body.why if body else "", asked.name)
    return await told(engine, seen(task, asked))


@routes.post("/{name}/resume", response_model=shown.TaskView, responses=answers(404, 409))
async def resume(engine: Here, asked: Operator, task: Named, body: ResumeBody | None = None) -> Response:
    """Resume all schedules of a task."""
    for one in await _scheduled(engine, task):
        await define.resume_schedule(engine, one, asked.name, bool(body and body.catch_up))
    return await told(engine, seen(task, asked))


async def _scheduled(engine: Engine, task: Task) -> list[str]:
    """The ids of its schedules. Raises `Refused` where it has none."""
    if found := await schedules_of(engine, task):
        return [one.record.id for one in found]
    raise Refused(
        f"task {task.name} has no schedule, so nothing fires it by itself; to hold runs back, pause queue {task.queue}"
    )


@routes.post("/trigger", response_model=shown.Bulk)
async def trigger_many(engine: Here, asked: Operator, each: Chosen, key: Key = None) -> Response:
    """Run each of these tasks once, now."""

    async def one(task: Task) -> str:
        with submission(task.name):
            order = ordered(engine, asked, task, TriggerBody(), key and f"{key}/{task.name}")
            return (await control.trigger(engine, order, asked.name)).id

    return await each(one, 201)


@routes.post("/delete", response_model=shown.Bulk)
async def delete_many(engine: Here, asked: Definer, each: Chosen) -> Response:
    """Delete these tasks and their schedules."""
    return await each(lambda one: define.delete_task(engine, one.id, asked.name), 204)
