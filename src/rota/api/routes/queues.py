"""Queues: the lines that runs stand in. A queue needs no record: without one it has the defaults."""

from typing import Annotated, Any

from fastapi import Depends, Request, Response

from rota.api.deps import Definer, Here, Json, Name, Namespace, Operator, Reader, answers, router
from rota.api.schemas import views as shown
from rota.api.schemas.bodies import QueueChange, WhyBody
from rota.api.views import instant, plain
from rota.domain.errors import Invalid
from rota.domain.ids import definition_id
from rota.domain.records import Queue
from rota.engine import control, query
from rota.engine.engine import Engine
from rota.engine.query import QueueView

routes = router("/api/queues", "queues")


def row(view: QueueView) -> dict[str, Any]:
    """A queue as JSON; one without a record was never changed."""
    return {"id": view.queue.name, **plain(view), **instant("updated_at", view.queue.updated_at or None)}


async def _named(request: Request, name: Name, namespace: Namespace = "main") -> tuple[str, str]:
    request.state.asked.check("queue", name, namespace, "", name)
    return namespace, name


Named = Annotated[tuple[str, str], Depends(_named)]
"""Namespace and name of the queue of the path, which the asker may do this to; named behind the asker."""


async def _told(engine: Engine, queue: Queue) -> Response:
    views = {view.queue.name: view for view in await query.queues(engine, queue.namespace)}
    waiting = views.get(queue.name, QueueView(queue, 0, 0))
    return Json(row(waiting._replace(queue=queue)))


@routes.get("", response_model=shown.page(shown.QueueView))
async def listed(engine: Here, asked: Reader, namespace: Namespace = "main") -> Response:
    """List queues that have a record, or runs that are not over."""
    views = [view for view in await query.queues(engine, namespace) if asked.sees(namespace, "", view.queue.name)]
    return Json({"items": [row(view) for view in views], "next": None})


@routes.get("/{name}", response_model=shown.QueueView, responses=answers(404))
async def show(engine: Here, asked: Reader, queue: Named) -> Response:
    """Show a queue with what waits and runs in it."""
    held = (await engine.store.get(Queue, [definition_id(*queue)]))[0]
    return await _told(engine, held.record if held else Queue(*queue))


@routes.patch("/{name}", response_model=shown.QueueView, responses=answers(404, 409))
@routes.put("/{name}", response_model=shown.QueueView, responses=answers(404, 409))
async def update(engine: Here, asked: Definer, queue: Named, body: QueueChange) -> Response:
    """Change how a queue is ordered, which acts on runs that become ready later, or by what its runs are placed."""
    after = None
    if body.dispatch is not None:
        after = await control.place_queue(engine, *queue, body.dispatch, asked.name)
    if body.strict is not None:
        after = await control.order_queue(engine, *queue, body.strict, asked.name)
    if after is None:
        raise Invalid("body", "names nothing to change; give strict or dispatch")
    return await _told(engine, after)


@routes.post("/{name}/pause", response_model=shown.QueueView, responses=answers(404, 409))
async def pause(engine: Here, asked: Operator, queue: Named, body: WhyBody | None = None) -> Response:
    """Let nothing more of a queue be taken; what runs goes on."""
    return await _told(engine, await control.pause_queue(engine, *queue, body.why if body else "", asked.name))


@routes.post("/{name}/resume", response_model=shown.QueueView, responses=answers(404, 409))
async def resume(engine: Here, asked: Operator, queue: Named) -> Response:
    """Let a queue be taken from again."""
    return await _told(engine, await control.resume_queue(engine, *queue, asked.name))
