"""Workers: the sessions of those who work. A worker may be named by its session or, while it lives, by its name."""

from typing import Annotated

from fastapi import Depends, Query, Request, Response

from rota.api.asked import Asked
from rota.api.crew import queues
from rota.api.deps import Here, Json, Name, Operator, Reader, Seals, answers, router
from rota.api.paging import listing
from rota.api.schemas import views as shown
from rota.api.schemas.bodies import WorkerChange
from rota.api.schemas.filters import WorkerFilter
from rota.api.views import plain
from rota.domain.access import ANY, Action
from rota.domain.errors import Invalid, NotFound
from rota.domain.records import Session
from rota.engine import control
from rota.engine.engine import Engine
from rota.engine.query import views
from rota.engine.recover import open_sessions
from rota.ports.store import Where

routes = router("/api/workers", "workers")


def sees(asked: Asked, session: Session) -> bool:
    """Whether the asker may know of it: who may see a queue of its may."""
    return any(asked.sees(space, "", queue) for space, queue in queues(session.lanes))


async def named(request: Request, engine: Here, name: Name) -> Session:
    """The session that is meant. Raises `NotFound`, `Forbidden`, or `Invalid` where several workers have the name."""
    asked: Asked = request.state.asked
    held = (await engine.store.get(Session, [name]))[0]
    found = [held.record] if held else [one for one in await open_sessions(engine) if one.worker == name]
    found = [one for one in found if sees(asked, one)]
    if not found:
        raise NotFound("worker", name)
    if len(found) > 1:
        raise Invalid("worker", f"{name!r} has several sessions; name one of {', '.join(one.id for one in found)}")
    if asked.action is not Action.READ:  # to see one of its queues is enough to see it
        for space, queue in queues(found[0].lanes):
            asked.permit("worker", name, space, "", queue)
    return found[0]


Named = Annotated[Session, Depends(named)]
"""Named behind the asker."""


async def _told(engine: Engine, session: Session, status: int = 200) -> Response:
    return Json(plain((await views(engine, [session]))[0]), status)


@routes.get("", response_model=shown.page(shown.WorkerView))
async def listed(engine: Here, asked: Reader, cursors: Seals, query: Annotated[WorkerFilter, Query()]) -> Response:
    """List sessions of workers, newest first: the live ones unless asked otherwise."""

    def fits(one: Session) -> bool:
        if query.namespace != ANY and all(space != query.namespace for space, _ in queues(one.lanes)):
            return False
        right = query.queue in ("", *one.queues) and query.label in ("", *one.labels)
        return right and query.worker in ("", one.worker) and sees(asked, one)

    where = Where(open=None if query.state == "all" else query.state == "open")
    found, after = await listing(engine.store, cursors, Session, where, query, fits)
    return Json({"items": [plain(one) for one in await views(engine, found)], "next": after})


@routes.get("/{name}", response_model=shown.WorkerView, responses=answers(404))
async def show(engine: Here, asked: Reader, session: Named) -> Response:
    """Show a worker's session, a closed one too."""
    return await _told(engine, session)


@routes.patch("/{name}", response_model=shown.WorkerView, responses=answers(404, 409))
@routes.put("/{name}", response_model=shown.WorkerView, responses=answers(404, 409))
async def update(engine: Here, asked: Operator, session: Named, body: WorkerChange) -> Response:
    """Change a live worker's labels or capacity, or drain it. It obeys within a beat."""
    if body.labels is not None:
        session = await control.relabel(engine, session.id, body.labels, asked.name)
    if body.slots is not None:
        session = await control.resize(engine, session.id, body.slots, asked.name)
    if body.draining:
        session = await control.drain(engine, session.id, asked.name)
    return await _told(engine, session)


@routes.delete("/{name}", status_code=202, response_model=shown.WorkerView, responses=answers(404, 409))
@routes.post("/{name}/drain", status_code=202, response_model=shown.WorkerView, responses=answers(404, 409))
async def drain(engine: Here, asked: Operator, session: Named) -> Response:
    """Let a worker finish what it holds, take nothing more and leave. Records of ended sessions go by themselves."""
    return await _told(engine, await control.drain(engine, session.id, asked.name), 202)
