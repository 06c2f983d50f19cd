"""The whole: health, numbers, events, and a search over what all runs wrote."""

from typing import Annotated, Any

from fastapi import Query, Request, Response
from fastapi.responses import PlainTextResponse

from rota.api.asked import Asked
from rota.api.deps import Admin, Counted, Here, Json, News, Reader, Seals, answers, router
from rota.api.examine import examined
from rota.api.schemas import views as shown
from rota.api.schemas.bodies import Instant
from rota.api.schemas.filters import LogFilter
from rota.api.schemas.texts import Space
from rota.api.spec import spec
from rota.api.views import plain
from rota.domain.access import ANY
from rota.domain.errors import Forbidden, Invalid, NotFound
from rota.domain.run import Run
from rota.domain.schedule import DAY_MS
from rota.engine.engine import Engine
from rota.ports.store import Line, Sought

routes = router("", "system")
HOUR_MS = 3_600_000
WEEK_MS = 7 * DAY_MS
STEPS, FEW_STEPS = 10, 4
"""Looks of one search through the lines; then it answers what it has and a cursor. Few where the store filters."""


@routes.get("/health", response_model=shown.Health)
@routes.get("/health/live", response_model=shown.Health)
async def health() -> Response:
    """Answers while the process serves. Needs no credential."""
    return Json({"status": "ok"})


@routes.get("/health/ready", response_model=shown.Health)
async def ready(counted: Counted) -> Response:
    """Answers while the store takes writes, tried every 5 s at most. Needs no credential."""
    await counted.check_writes()
    return Json({"status": "ok"})


@routes.get("/metrics", response_class=PlainTextResponse, responses=answers(404))
async def metrics(request: Request, asked: Reader) -> Response:
    """Tell the numbers of this process and of the store in Prometheus's text format; for who may read everything."""
    if not asked.sees(ANY):
        raise Forbidden(f"{asked.name} may not read everything, and metrics are about all; it takes viewer@*")
    if (told := request.app.state.metrics) is None:
        raise NotFound("metrics", "of this process", "see observability.metrics_enabled")
    return Response(await told.text(), media_type=told.media_type)


@routes.get("/api/openapi.json", response_model=dict[str, Any])
async def openapi(request: Request, asked: Reader) -> Response:
    """The spec of this API, OpenAPI 3.1."""
    return Json(spec(request.app))


@routes.get("/api/system/stats", response_model=shown.Stats)
async def stats(
    counted: Counted,
    engine: Here,
    asked: Reader,
    namespace: Annotated[Space, Query()] = "main",
    since: Annotated[Instant | None, Query(description="What ended since: at most 7 days ago, else an hour.")] = None,
) -> Response:
    """Count what there is, what is not over, and what has ended since; `*` is all namespaces. At most a second old."""
    if not asked.sees(namespace):
        raise Forbidden(f"{asked.name} may not read all of namespace {namespace!r}; ask for a role that may")
    now = engine.clock.now()
    if since is not None and since < now - WEEK_MS:
        raise Invalid("since", "is more than 7 days ago; ask for less")
    return Json(await counted.of(namespace, now - HOUR_MS if since is None else since))


@routes.get("/api/system/events", response_class=Response, responses=shown.STREAM)
async def events(asked: Reader, feed: News) -> Response:
    """Server-sent events `versions`: a number for each kind of thing, which rises as things of it change.

    At most four a second. A new `epoch` means that the numbers count anew: fetch everything again.
    """
    # Who missed some refetches; there is nothing to replay.
    return feed.events()


@routes.get("/api/system/doctor", response_model=shown.Findings)
async def doctor(engine: Here, asked: Admin) -> Response:
    """Look at store, clock, scheduler, workers and the chain over the audit: is all well, and if not, what helps."""
    return Json({"items": [found._asdict() for found in await examined(engine)], "next": None})


@routes.get("/api/system/logs", response_model=shown.page(shown.LineView))
async def logs(engine: Here, asked: Reader, cursors: Seals, query: Annotated[LogFilter, Query()]) -> Response:
    """Search what all runs wrote, newest first. A page may be short, even empty, and have a `next`."""
    key = ("log", sorted(query.model_dump(exclude={"cursor", "limit"}).items()))
    position = int(cursors.opened(key, query.cursor) or 0)
    # How far the store's own filter came would tell others what the lines hold that they may not read.
    whole = asked.sees(ANY)
    filters = (query.search, query.level, query.stream) if whole else ()
    sought = Sought(query.run, *filters)._replace(since=query.since, until=query.until)
    found: list[dict[str, Any]] = []
    for _ in range(FEW_STEPS if whole else STEPS):
        lines, position = await engine.store.late.logs.search(sought, position, query.limit - len(found))
        found += await _told(engine, asked, query, lines)
        if not position or len(found) >= query.limit:
            break
    return Json({"items": found, "next": cursors.sealed(key, str(position or ""))})


async def _told(engine: Engine, asked: Asked, query: LogFilter, lines: list[Line]) -> list[dict[str, Any]]:
    """Those lines that the asker may read and has asked for, with the task of their run and who wrote them."""
    held = await engine.store.get(Run, list({line.run for line in lines}))
    runs: dict[str, Run] = {one.record.id: one.record for one in held if one}
    found = []
    for line in lines:
        run = runs.get(line.run)
        alike = query.level in ("", line.level) and query.stream in ("", line.stream)
        if not alike or query.search.lower() not in line.text.lower():
            continue
        if run is None or query.namespace not in (ANY, run.namespace):
            continue
        if not asked.sees(run.namespace, run.task, run.queue):
            continue
        earlier = {old.number: old.worker for old in run.history}
        worker = run.worker if line.attempt == run.attempt else earlier.get(line.attempt, "")
        if query.task in ("", run.task) and query.worker in ("", worker):
            found.append({**plain(line), "task": run.task, "worker": worker})
    return found
