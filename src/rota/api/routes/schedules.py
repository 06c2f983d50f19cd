"""Schedules: when tasks run by themselves. A schedule's id is its name."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Query, Response

from rota.api.asked import Asked, scope
from rota.api.deps import Definer, Here, Json, Namespace, Operator, Reader, Seals, answers, router
from rota.api.etags import Unchanged, etag
from rota.api.forecast import forecast
from rota.api.named import Each, Kind
from rota.api.paging import listing, readable
from rota.api.schemas import views as shown
from rota.api.schemas.bodies import PreviewBody, ResumeBody, ScheduleChange, ScheduleNew, WhyBody
from rota.api.schemas.filters import ScheduleFilter
from rota.api.views import fires_next, iso, plain
from rota.domain.errors import Invalid
from rota.domain.schedule import TIMED, Schedule
from rota.domain.timing import upcoming
from rota.engine import define
from rota.engine.engine import Engine
from rota.engine.explain import explain_schedule
from rota.ports.store import Where

routes = router("/api/schedules", "schedules")
FIRES = 3


def row(schedule: Schedule) -> dict[str, Any]:
    """A schedule as JSON."""
    return {"id": schedule.name, **plain(schedule)}


SCHEDULES = Kind(Schedule)
Named = Annotated[Schedule, Depends(SCHEDULES.named)]
"""The schedule of the path, which the asker may do this to; named behind the asker."""
Chosen = Annotated[Each, Depends(SCHEDULES.each)]


def told(engine: Engine, schedule: Schedule, status: int = 200) -> Response:
    """A schedule with its next fires and its ETag."""
    fires = [iso(one) for one in fires_next(schedule, engine.clock.now(), FIRES)]
    place = f"/api/schedules/{schedule.name}?namespace={schedule.namespace}"
    location = {"Location": place} if status == 201 else {}
    return Json({**row(schedule), "next_fires": fires}, status, {"ETag": etag(schedule), **location})


@routes.get("", response_model=shown.page(shown.ScheduleRow))
async def listed(engine: Here, asked: Reader, cursors: Seals, query: Annotated[ScheduleFilter, Query()]) -> Response:
    """List schedules, newest first."""
    where, fits = readable(asked, Where(namespace=query.namespace, task=query.task))
    text, state = query.search.lower(), query.state

    def wanted(one: Schedule) -> bool:
        right = not state or state == ("paused" if one.paused else "on")
        return right and fits(one) and text in f"{one.name}\n{one.task}".lower()

    found, after = await listing(engine.store.late, cursors, Schedule, where, query, wanted)
    return Json({"items": [row(one) for one in found], "next": after})


@routes.post("", status_code=201, response_model=shown.ScheduleView, responses=answers(404, 409))
async def create(engine: Here, asked: Definer, body: ScheduleNew, namespace: Namespace = "main") -> Response:
    """Make a schedule for a task."""
    trigger = body.made()
    made = body.applied(Schedule(namespace, body.name or body.task, body.task, trigger), trigger)
    asked.permit("schedule", made.name, *scope(made))
    return told(engine, await define.create_schedule(engine, made, asked.name), 201)


@routes.post("/preview", response_model=shown.Preview, responses=answers(404))
async def previewed(engine: Here, asked: Reader, body: PreviewBody, namespace: Namespace = "main") -> Response:
    """Tell what a schedule would do, before there is one; with `name`, what changing that one would change."""
    before = await SCHEDULES.known(engine, asked, body.name, namespace) if body.name else None
    trigger = body.made(before.trigger if before else None)
    base = before or Schedule(namespace, "preview", body.task or "preview", trigger)
    if body.task:
        asked.check("task", body.task, namespace, body.task)
    wanted = define.check_schedule(body.applied(base, trigger))
    found = await forecast(engine, wanted, before, body.count)
    if not found["next"]:
        raise Invalid("schedule", "it would never fire: its last instant is in the past")
    return Json(found)


@routes.get("/{name}", response_model=shown.ScheduleView, responses=answers(404))
async def show(engine: Here, asked: Reader, schedule: Named) -> Response:
    """Show a schedule and its next fires."""
    return told(engine, schedule)


@routes.patch("/{name}", response_model=shown.ScheduleView, responses=answers(404, 409, 412))
async def update(engine: Here, asked: Definer, schedule: Named, body: ScheduleChange, check: Unchanged) -> Response:
    """Change what the body names, from now on; the past is never fired again."""
    return await _changed(engine, asked, schedule, lambda one: body.applied(one, body.made(one.trigger)), body, check)


@routes.put("/{name}", response_model=shown.ScheduleView, responses=answers(404, 409, 412))
async def replaced(engine: Here, asked: Definer, schedule: Named, body: ScheduleChange, check: Unchanged) -> Response:
    """Put the whole definition: what the body leaves out, but for the task, goes back to its default."""
    trigger = body.made()
    wanted = body.applied(Schedule(schedule.namespace, schedule.name, schedule.task, trigger), trigger)
    return await _changed(engine, asked, schedule, lambda _: wanted, body, check)


async def _changed(
    engine: Engine,
    asked: Asked,
    before: Schedule,
    wanted: Callable[[Schedule], Schedule],
    body: ScheduleChange,
    check: define.Check,
) -> Response:
    def changes(one: Schedule) -> dict[str, Any]:
        after = wanted(one)
        return {name: getattr(after, name) for name in TIMED if getattr(after, name) != getattr(one, name)}

    if body.name not in (None, before.name):
        raise Invalid("name", f"is {before.name!r} and cannot be changed; make a new schedule instead")
    asked.permit("schedule", before.name, *scope(wanted(before)))
    check(before)
    if not changes(before):
        return told(engine, before)
    return told(engine, await define.update_schedule(engine, before.id, changes, asked.name, check))


@routes.delete("/{name}", status_code=204, responses=answers(404, 412))
async def delete(engine: Here, asked: Definer, schedule: Named, check: Unchanged) -> Response:
    """Delete a schedule; runs that it fired go on."""
    await define.delete_schedule(engine, schedule.id, asked.name, check)
    return Response(status_code=204)


@routes.post("/{name}/reset", response_model=shown.ScheduleView, responses=answers(404, 409))
async def reset(engine: Here, asked: Definer, schedule: Named) -> Response:
    """Drop what people changed: the schedule is as its code has it."""
    return told(engine, await define.reset_schedule(engine, schedule.id, asked.name))


@routes.post("/{name}/pause", response_model=shown.ScheduleView, responses=answers(404, 409))
async def pause(engine: Here, asked: Operator, schedule: Named, body: WhyBody | None = None) -> Response:
    """Let a schedule rest until it is resumed."""
    return told(engine, await define.pause_schedule(engine, schedule.id, body.why if body else "", asked.name))


@routes.post("/{name}/resume", response_model=shown.ScheduleView, responses=answers(404, 409))
async def resume(engine: Here, asked: Operator, schedule: Named, body: ResumeBody | None = None) -> Response:
    """Let a schedule fire again, from now on."""
    again = bool(body and body.catch_up)
    return told(engine, await define.resume_schedule(engine, schedule.id, asked.name, again))


@routes.get("/{name}/next", response_model=list[str], responses=answers(404))
async def next_fires(
    engine: Here, asked: Reader, schedule: Named, count: Annotated[int, Query(ge=1, le=1_000)] = 10
) -> Response:
    """Tell the next fires of a schedule; of a paused one there are none, but `POST /preview` shows what it would do."""
    return Json([iso(one) for one in upcoming(schedule, engine.clock.now(), count)])


@routes.get("/{name}/explain", response_model=shown.Story, responses=answers(404))
async def explain(engine: Here, asked: Reader, schedule: Named) -> Response:
    """Say why a schedule fires or does not, and what it skipped."""
    return Json({"id": schedule.name, "story": await explain_schedule(engine, schedule.id)})


@routes.post("/pause", response_model=shown.Bulk)
async def pause_many(engine: Here, asked: Operator, each: Chosen) -> Response:
    """Let these schedules rest."""
    return await each(lambda one: define.pause_schedule(engine, one.id, "", asked.name), state="paused")


@routes.post("/resume", response_model=shown.Bulk)
async def resume_many(engine: Here, asked: Operator, each: Chosen) -> Response:
    """Let these schedules fire again, from now on."""
    return await each(lambda one: define.resume_schedule(engine, one.id, asked.name), state="on")


@routes.post("/delete", response_model=shown.Bulk)
async def delete_many(engine: Here, asked: Definer, each: Chosen) -> Response:
    """Delete these schedules."""
    return await each(lambda one: define.delete_schedule(engine, one.id, asked.name), 204)
