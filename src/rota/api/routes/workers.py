"""Workers: the sessions of those who work. A worker may be named by its session or, while it lives, by its name."""

from typing import Annotated, Any

from fastapi import Query, Response

from rota.api.asked import Asked
from rota.api.deps import Here, Json, Name, Operator, Reader, Seals, answers, router
from rota.api.paging import listing
from rota.api.schemas import views as shown
from rota.api.schemas.bodies import WorkerChange
from rota.api.schemas.filters import WorkerFilter
from rota.api.views import plain
from rota.domain.access import ANY, Action
from rota.domain.errors import Invalid, NotFound
from rota.domain.records import Session
from rota.engine import control, query
from rota.engine.engine import Engine
from rota.engine.recover import open_sessions
from rota.ports.store import Where

routes = router("/api/workers", "workers")


def places(session: Session) -> set[tuple[str, str]]:
    """The namespaces and queues that it takes from."""
    return {(one[0], one[1]) for one in (name.split("/", 2) for name in session.lanes)}


def sees(asked: Asked, session: Session) -> bool:
    """Whether the asker may know of it: who may see a queue of its may."""
    return any(asked.sees(space, "", queue) for space, queue in places(session))


async def rows(engine: Engine, sessions: list[Session]) -> list[dict[str, Any]]:
    """Sessions as JSON, with what they hold."""
    return [plain(one) for one in await query.views(engine, sessions)]


async def known(engine: Engine, name: str, asked: Asked) -> Session:
    """The session that is meant. Raises `NotFound`, `Forbidden`, or `Invalid` where several workers have the name."""
    held = (await engine.store.get(Session, [name]))[0]
    found = [held.record] if held else [one for one in await open_sessions(engine) if one.worker == name]
    found = [one for one in found if sees(asked, one)]
    if not found:
        raise NotFound("worker", name)
    if len(found) > 1:
        raise Invalid("worker", f"{name!r} has several sessions; name one of {', '.join(one.id for one in found)}")
    if asked.action is not Action.READ:  # to see one of its queues is enough to see it
        for space, queue in places(found[0]):
            asked.permit("worker", name, space, "", queue)
    return found[0]


async def _told(engine: Engine, session: Session, status: int = 200) -> Response:
    return Json((await rows(engine, [session]))[0], status)


@routes.get("", response_model=shown.page(shown.WorkerView))
async def listed(engine: Here, asked: Reader, cursors: Seals, query: Annotated[WorkerFilter, Query()]) -> Response:
    """List sessions of workers, newest first: the live ones unless asked otherwise."""

    def fits(one: Session) -> bool:
        mine = any(query.namespace in (ANY, space) for space, _ in places(one)) and query.worker in ("", one.worker)
        right = (not query.queue or query.queue in one.queues) and (not query.label or query.label in one.labels)
        return mine and right and sees(asked, one)

    where = Where(open=None if query.state == "all" else query.state == "open")
    found, after = await listing(engine.store, cursors, Session, where, query, fits)
    return Json({"items": await rows(engine, found), "next": after})


@routes.get("/{name}", response_model=shown.WorkerView, responses=answers(404))
async def show(engine: Here, asked: Reader, name: Name) -> Response:
    """Show a worker's session, a closed one too."""
    return await _told(engine, await known(engine, name, asked))


@routes.patch("/{name}", response_model=shown.WorkerView, responses=answers(404, 409))
@routes.put("/{name}", response_model=shown.WorkerView, responses=answers(404, 409))
async def update(engine: Here, asked: Operator, name: Name, body: WorkerChange) -> Response:
    """Change a live worker's labels or capacity, or drain it. It obeys within a beat."""
    session = await known(engine, name, asked)
    if body.labels is not None:
        session = await control.relabel(engine, session.id, body.labels, asked.name)
    if body.slots is not None:
        session = await control.resize(engine, session.id, body.slots, asked.name)
    if body.draining:
        session = await control.drain(engine, session.id, asked.name)
    return await _told(engine, session)


@routes.post("/{name}/drain", status_code=202, response_model=shown.WorkerView, responses=answers(404, 409))
async def drain(engine: Here, asked: Operator, name: Name) -> Response:
    """Let a worker finish what it holds, take nothing more and leave."""
    session = await known(engine, name, asked)
    return await _told(engine, await control.drain(engine, session.id, asked.name), 202)


@routes.delete("/{name}", status_code=202, response_model=shown.WorkerView, responses=answers(404, 409))
async def leave(engine: Here, asked: Operator, name: Name) -> Response:
    """As drain: a worker goes when it has finished what it holds. Records of ended sessions go by themselves."""
    return await drain(engine, asked, name)
