"""The desk of remote workers: the calls of `rota.ports.desk` over HTTP, in the words of `rota.worker.wire`; and the
heartbeats of workers in any language that are reached at a URL alone, to which `api/push.py` posts.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from fastapi import Body as JsonBody
from fastapi import Request, Response
from pydantic import AliasChoices, BeforeValidator, Field

from rota.api.asked import Asked
from rota.api.crew import MOST_REMEMBERED, Crew, credential, is_current, may_take
from rota.api.deps import Here, Json, may, part, router
from rota.api.schemas.bodies import Body
from rota.api.schemas.texts import NameText
from rota.api.schemas.views import answer
from rota.api.waiting import Waiting
from rota.domain.access import Action, Actor
from rota.domain.errors import Forbidden, Invalid, TooLarge
from rota.domain.ids import RunId
from rota.domain.lane import LABEL_LIMIT, lanes, queue_of
from rota.domain.payload import check_payload
from rota.domain.people import Kind, Token
from rota.domain.records import VALUE_LIMIT, Load, Session
from rota.domain.run import End, Fence, Run
from rota.domain.states import Verdict
from rota.engine.claim import given
from rota.engine.engine import Engine, every
from rota.engine.recover import open_sessions
from rota.engine.report import report as keep_report
from rota.engine.sessions import beat as keep_beat
from rota.engine.sessions import leave as close_session
from rota.engine.settle import settle as settle_all
from rota.ports.desk import Progress, Settlement
from rota.ports.store import Line, Want, Where
from rota.worker import wire

T = TypeVar("T")
M = TypeVar("M", bound=wire.Message)

ALIVE_MS = 30_000
"""A worker at a URL is listed so long after its last heartbeat."""
MOST_LANES = 1_000
NOT_PLACED = "no queue of its has a strategy, so nothing is posted to it: `rota queues dispatch QUEUE round_robin`"
JSON = "application/json"

routes = router("/api/worker", "desk")
Worker = Annotated[Asked, may(Action.WORK)]
Sessions = Annotated[Crew, part("crew")]


async def _read(request: Request, kind: type[M]) -> M:
    """The message in the body. Raises `Invalid`."""
    return wire.decode(kind, await request.body())


def _told(message: object) -> Response:
    return Response(wire.encode(message), 200, None, JSON)


async def _unless_gone(request: Request, work: Awaitable[T]) -> T | None:
    """What `work` brings; None, and it is cancelled, where the asker goes away meanwhile."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, leaving = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        leaving.cancel()


@routes.post("/enter", include_in_schema=False)
async def enter(engine: Here, crew: Sessions, asked: Worker, request: Request) -> Response:
    """Open a session, on queues that the credential is for."""
    if len(await request.body()) > VALUE_LIMIT:
        raise TooLarge("lanes", f"are too many: a session has {VALUE_LIMIT} bytes; name fewer queues or labels")
    said = await _read(request, wire.Enter)
    if not may_take(asked.actor, said.lanes):
        queues = ", ".join(sorted({queue_of(lane) for lane in said.lanes})[:5])
        raise Forbidden(f"{asked.name} may not work on all of {queues}; its grants name namespaces and queues")
    if said.address:
        _checked(said.address)
    now = engine.clock.now()
    fields = {name: getattr(said, name) for name in wire.Enter.__struct_fields__}
    behind = getattr(request.state, "carrier", "")
    fields["address"] = behind or said.address
    await crew.open(Session(**fields, opened_at=now, opened_by=credential(asked.actor)))
    return _told(wire.Entered(now))


@routes.post("/leave", include_in_schema=False)
async def leave(engine: Here, crew: Sessions, asked: Worker, request: Request) -> Response:
    """Close a session."""
    said = await _read(request, wire.Leave)
    if await crew.own(asked.actor, said.session):
        await close_session(engine, said.session, said.reason)
    return _told(wire.Entered(engine.clock.now()))


@routes.post("/claim", include_in_schema=False)
async def claim(engine: Here, crew: Sessions, asked: Worker, request: Request) -> Response:
    """Ready runs, or none for a while: who waits here is asked for together with all others."""
    said = await _read(request, wire.Ask)
    session = await crew.own(asked.actor, said.session, anew=True)
    if session is None:
        return _told(wire.Work(engine.clock.now(), False, False, 0))
    lanes, limit = session.lanes, min(said.limit, wire.GIVEN)
    if not may_take(asked.actor, lanes):
        raise Forbidden(f"{asked.name} may not work on these queues any more")

    async def still() -> bool:
        actor: Actor | None = await request.state.still()
        return actor is not None and may_take(actor, lanes)

    want = Want(session.id, session.worker, said.token, limit, lanes, said.exclude)
    waiting: Waiting = request.app.state.waiting
    taken = await _unless_gone(request, waiting.claim(want, still, said.wait_ms / 1_000))
    return _told(wire.work(taken, engine.clock.now())) if taken else Response(status_code=204)


@routes.post("/beat", include_in_schema=False)
async def beat(engine: Here, crew: Sessions, asked: Worker, request: Request) -> Response:
    """A sign of life. It may wait for its answer, so that a cancel is told at once; it counts as of the answer."""
    said = await _read(request, wire.Beat)
    session, hinted = await crew.own(asked.actor, said.session), False
    if session and said.wait_ms:
        waiting: Waiting = request.app.state.waiting
        rest = waiting.rest(session.id, said.wait_ms / 1_000)
        if (heard := await _unless_gone(request, rest)) is None:
            return Response(status_code=204)
        hinted = heard
    load = Load(*[getattr(said.load, name) for name in Load._fields]) if session and said.load else None
    reply = (await keep_beat(engine, said.session, load))._replace(hinted=hinted)
    return _told(wire.Beaten(engine.clock.now(), wire.Reply(*reply)))


@routes.post("/held", include_in_schema=False)
async def held(engine: Here, crew: Sessions, asked: Worker, request: Request) -> Response:
    """The running runs of a session, or some of them as if it had just claimed them."""
    said = await _read(request, wire.Held)
    found = await crew.own(asked.actor, said.session, anew=bool(said.runs))
    if said.runs:
        if found and not may_take(asked.actor, found.lanes):
            raise Forbidden(f"{asked.name} may not work on these queues any more")
        taken = await given(engine, found.id if found else "", said.runs)
        return _told(wire.work(taken, engine.clock.now()))
    runs = await every(engine, Run, Where(session=found.id)) if found else []
    return _told([wire.sent(one.record) for one in runs])


@routes.post("/report", include_in_schema=False)
async def report(engine: Here, crew: Sessions, asked: Worker, request: Request) -> Response:
    """News and output of running attempts; lines of attempts that nobody holds any more are dropped."""
    said = await _read(request, wire.Report)
    named = [(one.run, one.attempt) for one in said.progress] + [(one.run, one.attempt) for one in said.lines]
    runs = await crew.check_held(asked.actor, named)
    now = engine.clock.now()
    current = {run: one.record for run, one in runs.items()}
    lines = [
        Line(one.run, one.attempt, _between(one.at, current[one.run], now), one.stream, one.level, one.text)
        for one in said.lines
        if one.run in current and is_current(current[one.run], one.attempt)
    ]
    news = [_news(one, current.get(one.run), now) for one in said.progress]
    return _told(await keep_report(engine, news, lines))


def _news(said: wire.Said, run: Run | None, now: int) -> Progress:
    fence = Fence(RunId(said.run), said.attempt, said.token)
    return Progress(fence, said.started_at and _between(said.started_at, run, now), said.progress)


def _between(moment: int, run: Run | None, now: int) -> int:
    """The moment, if it can be: a worker's clock may say anything."""
    return min(max(moment, run.claimed_at or 0 if run else 0), now)


@routes.post("/settle", include_in_schema=False)
async def settle(engine: Here, crew: Sessions, asked: Worker, request: Request) -> Response:
    """Ends of attempts. A repeated one is told so, one under another fence changes nothing."""
    said = await _read(request, wire.Settle)
    runs = await crew.check_held(asked.actor, [(one.run, one.attempt) for one in said.settlements])
    now, verdicts = engine.clock.now(), [Verdict.STALE] * len(said.settlements)
    known = [at for at, one in enumerate(said.settlements) if one.run in runs]
    ends = []
    for at in known:
        one = wire.settlement(said.settlements[at])
        held = runs[one.fence.run]
        _check(at, one, held.record)
        started_at = one.outcome.started_at and _between(one.outcome.started_at, held.record, now)
        ends.append(one._replace(outcome=one.outcome._replace(started_at=started_at), held=held))
    for at, verdict in zip(known, await settle_all(engine, ends), strict=True):
        verdicts[at] = verdict
    return _told(verdicts)


def _check(at: int, one: Settlement, run: Run) -> None:
    """Raises `Invalid` for what no honest worker says: what is no JSON, or a loss, which only the scheduler sees, save
    that of the child process of a last try.
    """
    if one.outcome.end is End.LOST and not run.isolated:
        raise Invalid(f"settlements[{at}].end", "a worker cannot say of itself that it is lost")
    result = one.outcome.result
    if result is None or result == b"null" or len(result) > VALUE_LIMIT:
        return  # the last one ends as a failure that says so
    check_payload(result, f"settlements[{at}].result")


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
async def register(engine: Here, crew: Sessions, asked: Worker, body: At) -> Response:
    """Begin the life of a worker at a URL, for half a minute from now. What one before it had there goes elsewhere."""
    _checked(body.url)
    crew.listed.pop((credential(asked.actor), body.url), None)
    if former := await _at(engine, credential(asked.actor), body.url):
        await close_session(engine, former.id, "it began anew")
    return await _live(engine, crew, asked.actor, body)


@routes.post("/heartbeat", response_model=Listed)
async def heartbeat(engine: Here, crew: Sessions, asked: Worker, body: At) -> Response:
    """A sign of life of a worker at a URL; one that is not known, or was silent for half a minute, begins anew."""
    _checked(body.url)
    return await _live(engine, crew, asked.actor, body)


async def _live(engine: Engine, crew: Crew, actor: Actor, said: Reachable) -> Response:
    place = (credential(actor), said.url)
    session = crew.listed.get(place) or await _at(engine, *place)
    if session is None or not (await engine.store.beat([session.id]))[0].open:
        (key,) = await engine.store.get(Token, [actor.token])
        # Letters can be signed by a key alone.
        session = _listed(engine, actor, said, bool(key and key.record.kind is Kind.KEY))
        await crew.open(session)
        await engine.store.beat([session.id])
    if len(crew.listed) > MOST_REMEMBERED:
        crew.listed.clear()
    crew.listed[place] = session
    placed = sorted({*map(queue_of, session.lanes)} & {*await engine.placed()})
    detail = f"runs of {', '.join(placed)} are posted to it" if placed else NOT_PLACED
    detail = detail if session.takes_runs else "it needs a key of `rota tokens add`, which signs what is posted"
    shown = {"session": session.id, "worker": session.worker, "queues": session.queues, "ttl_ms": session.ttl_ms}
    return Json(shown | {"takes_runs": session.takes_runs, "detail": detail})


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
        raise TooLarge("labels", f"and executors of {len(places)} queues make {len(taken)} lanes, over {MOST_LANES}")
    name = f"worker@{host}".replace("[", "").replace("]", "")
    session = Session(engine.new_id(now), name, host, 0, taken, queues, kinds, tuple(said.labels), said.slots)
    return replace(session, ttl_ms=ALIVE_MS, opened_at=now, opened_by=credential(actor), address=said.url)


def _checked(url: str) -> None:
    """Raises `Invalid` for what is no URL of HTTP, or holds a secret."""
    try:
        parts = urlsplit(url)
        named = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        named = False
    if not named or not url.isprintable() or " " in url:
        raise Invalid("url", f"{url!r:.60} is no worker's URL; write one such as http://10.0.0.7:9000")
    if len(url) > 500:
        raise TooLarge("url", "is over 500 characters")
