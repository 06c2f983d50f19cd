"""The desk of remote workers: the calls of `rota.ports.desk` over HTTP, in the words of `rota.worker.wire`; and the
heartbeats of workers in any language that are reached at a URL alone, to which `api/push.py` posts.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Body as JsonBody
from fastapi import Request, Response
from pydantic import AliasChoices, BeforeValidator, Field

from rota.api.asked import Asked
from rota.api.crew import MOST_REMEMBERED, Crew, credential
from rota.api.deps import Here, Json, may, part, router
from rota.api.desk import CALLS, WAITING, Asker, Desk, check_url
from rota.api.schemas.bodies import Body
from rota.api.schemas.texts import NameText
from rota.api.schemas.views import answer
from rota.domain.access import Action, Actor
from rota.domain.errors import Forbidden, TooLarge
from rota.domain.lane import LABEL_LIMIT, lanes, queue_of
from rota.domain.names import number_of
from rota.domain.people import Kind, Token
from rota.domain.records import Session
from rota.engine.engine import Engine
from rota.engine.recover import open_sessions
from rota.engine.sessions import leave

ALIVE_MS = 30_000
"""A worker at a URL is listed so long after its last heartbeat."""
MOST_LANES = 1_000
NOT_PLACED = "no queue of its has a strategy, so nothing is posted to it: `rota queues dispatch QUEUE round_robin`"

routes = router("/api/worker", "desk")
Worker = Annotated[Asked, may(Action.WORK)]
Served = Annotated[Desk, part("desk")]


def _serve(call: str) -> None:
    @routes.post(f"/{call}", include_in_schema=False, description=CALLS[call][1].__doc__)
    async def ask(desk: Served, asked: Worker, request: Request) -> Response:
        work = desk.answer(call, await request.body(), Asker(asked.actor, request.state.still))
        told = await (_unless_gone(request, work) if call in WAITING else work)
        return Response(told, 200 if told else 204, None, "application/json")


for one in CALLS:
    _serve(one)


async def _unless_gone(request: Request, work: Awaitable[bytes]) -> bytes:
    """What `work` brings; nothing, and it is cancelled, where the asker goes away meanwhile."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, leaving = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else b""
    finally:
        task.cancel()
        leaving.cancel()


class Reachable(Body):
    """A worker that is reached at a URL."""

    url: Annotated[str, Field(max_length=500, validation_alias=AliasChoices("url", "address", "worker"))]
    slots: Annotated[int, Field(ge=1, le=10_000)] = 10
    executors: Annotated[list[NameText], Field(min_length=1, max_length=20)] = Field(default=["python"])
    labels: Annotated[list[NameText], Field(max_length=LABEL_LIMIT)] = Field(default=[])


Listed: Any = answer(
    "ListedWorker", "It is live; runs of its queues are posted to it, where it takes any.", session=str, worker=str,
    queues=list[str], ttl_ms=int, takes_runs=bool, detail=str,
)  # fmt: skip
At = Annotated[
    Reachable,
    BeforeValidator(
        lambda said: {"url": said} if isinstance(said, str) else said, json_schema_input_type=str | Reachable
    ),
    JsonBody(examples=["http://10.0.0.7:9000", {"url": "http://10.0.0.7:9000"}]),
]


@routes.post("/register", response_model=Listed)
async def register(engine: Here, desk: Served, asked: Worker, body: At) -> Response:
    """Begin the life of a worker at a URL, for half a minute from now. What one before it had there goes elsewhere."""
    check_url(body.url)
    desk.crew.listed.pop((credential(asked.actor), body.url), None)
    if former := await _at(engine, credential(asked.actor), body.url):
        await leave(engine, former.id, "it began anew")
    return await _live(engine, desk.crew, asked.actor, body)


@routes.post("/heartbeat", response_model=Listed)
async def heartbeat(engine: Here, desk: Served, asked: Worker, body: At) -> Response:
    """A sign of life of a worker at a URL; one that is not known, or was silent for half a minute, begins anew."""
    check_url(body.url)
    return await _live(engine, desk.crew, asked.actor, body)


async def _live(engine: Engine, crew: Crew, actor: Actor, said: Reachable) -> Response:
    place = (credential(actor), said.url)
    session = await _alive(engine, crew.listed.get(place))
    if session is None:
        async with crew.opening:
            # It may have begun anew at another node, or by another of its processes.
            session = await _alive(engine, await _at(engine, *place)) or await _begun(engine, crew, actor, said)
    if len(crew.listed) > MOST_REMEMBERED:
        crew.listed.clear()
    crew.listed[place] = session
    placed = sorted({*map(queue_of, session.lanes)} & {*await engine.placed()})
    detail = f"runs of {', '.join(placed)} are posted to it" if placed else NOT_PLACED
    detail = detail if session.takes_runs else "it needs a key of `rota tokens add`, which signs what is posted"
    shown = {"session": session.id, "worker": session.worker, "queues": session.queues, "ttl_ms": session.ttl_ms}
    return Json(shown | {"takes_runs": session.takes_runs, "detail": detail})


async def _begun(engine: Engine, crew: Crew, actor: Actor, said: Reachable) -> Session:
    (key,) = await engine.store.get(Token, [actor.token])
    # Letters can be signed by a key alone.
    session = _listed(engine, actor, said, bool(key and key.record.kind is Kind.KEY))
    await crew.open(session)
    await engine.store.beat([session.id])
    return session


async def _alive(engine: Engine, session: Session | None) -> Session | None:
    """The session, if it is open; a sign of life of it."""
    return session if session and (await engine.store.beat([session.id]))[0].open else None


async def _at(engine: Engine, opened_by: str, url: str) -> Session | None:
    found = [one for one in await open_sessions(engine) if not one.asks]
    return next((one for one in found if one.address == url and one.opened_by == opened_by), None)


def _listed(engine: Engine, actor: Actor, said: Reachable, signs: bool) -> Session:
    """A session of the queues that the credential is for. Without executors nothing is placed there."""
    grants = [one for one in actor.grants if one.role == "worker" and not one.task]
    places = {("main" if one.namespace == "*" else one.namespace, one.queue or "default") for one in grants}
    if not places:
        raise Forbidden(f"{actor.name} has no grant for a queue")
    now, host, kinds = engine.clock.now(), urlsplit(said.url).netloc, tuple(said.executors if signs else ())
    queues = tuple({queue for _, queue in places})
    taken = tuple(one for space, queue in places for one in lanes([space], [queue], kinds or [""], said.labels))
    if len(taken) > MOST_LANES:
        raise TooLarge(
            "labels", f"and executors of {number_of(len(places), 'queue')} make {len(taken)} lanes, over {MOST_LANES}"
        )
    name = f"worker@{host}".replace("[", "").replace("]", "")
    session = Session(engine.new_id(now), name, host, 0, taken, queues, kinds, tuple(said.labels), said.slots)
    return replace(session, ttl_ms=ALIVE_MS, opened_at=now, opened_by=credential(actor), address=said.url)
