"""Runs: what was wanted, what became of it, and why."""

from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request, Response

from rota.api.asked import Asked, scope
from rota.api.deps import Counted, Here, Id, Json, Key, Namespace, News, Operator, Reader, Seals, answers, router
from rota.api.feed import STILL_HERE, Feed, event
from rota.api.named import Act, Kind, each
from rota.api.paging import Cursors, listing, readable
from rota.api.routes.tasks import TASKS, ordered, triggered
from rota.api.schemas import views as shown
from rota.api.schemas.bodies import RunNew, RunsNew
from rota.api.schemas.filters import RunFilter, RunsChosen
from rota.api.schemas.texts import Searched
from rota.api.views import HEAVY, instant, plain
from rota.domain.access import ANY
from rota.domain.errors import NotFound
from rota.domain.names import number_of
from rota.domain.run import LIVE, TERMINAL, Run, State
from rota.engine import control, query
from rota.engine.engine import Engine
from rota.engine.explain import explain_run
from rota.engine.submit import submit
from rota.observe.traces import submission
from rota.ports.store import Store, Where

routes = router("/api/runs", "runs")
LINES = 500
LOOK_S = 0.5
QUIET = 30
"""After so many looks without a line a comment is sent: what lies between cuts streams that are silent for a minute."""


RUNS = Kind(Run)


async def _named(request: Request, engine: Here, run: Id) -> Any:
    return await RUNS.known(engine, request.state.asked, run)


Named = Annotated[Run, Depends(_named)]
"""The run of the path, which the asker may do this to; named behind the asker."""


async def _found(
    store: Store, cursors: Cursors, asked: Asked, chosen: RunFilter, states: Sequence[State] = ()
) -> tuple[list[Run], str | None]:
    """Runs of a filter, and the cursor behind them."""
    space = "" if chosen.namespace == ANY else chosen.namespace
    where, fits = readable(asked, Where(
        space, tuple(chosen.state or states), chosen.task, chosen.queue, chosen.schedule, chosen.session,
        chosen.prefix, chosen.since, chosen.until,
    ))  # fmt: skip
    text, worker, end = chosen.search.lower(), chosen.worker, chosen.suffix

    def wanted(run: Run) -> bool:
        right = worker in ("", run.worker) and run.id.endswith(end)
        return right and fits(run) and text in f"{run.error}\n{run.progress}".lower()

    return await listing(store, cursors, Run, where, chosen, wanted)


@routes.get("", response_model=shown.page(shown.RunRow))
async def listed(engine: Here, asked: Reader, cursors: Seals, query: Annotated[RunFilter, Query()]) -> Response:
    """List runs, newest first, without payload, result and earlier attempts."""
    # Who knows a part of an id wants one run, to do something to it.
    store = engine.store if query.prefix or query.suffix else engine.store.late
    found, after = await _found(store, cursors, asked, query)
    return Json({"items": [plain(run, HEAVY) for run in found], "next": after})


@routes.post("", status_code=201, response_model=shown.Receipt, responses=answers(404, 409) | shown.KNOWN)
async def create(
    engine: Here, counted: Counted, asked: Operator, body: RunNew, namespace: Namespace = "main", key: Key = None
) -> Response:
    """Run a task. 200 where a key led to an earlier run."""
    return await triggered(engine, counted, asked, await TASKS.known(engine, asked, body.task, namespace), body, key)


@routes.post("/bulk", status_code=201, response_model=shown.Receipts, responses=answers(404, 409))
async def create_many(
    engine: Here, asked: Operator, body: RunsNew, namespace: Namespace = "main", key: Key = None
) -> Response:
    """Submit many runs; where one is not valid, none is made. The Idempotency-Key is good for each at its place."""
    tasks = {name: await TASKS.known(engine, asked, name, namespace) for name in {one.task for one in body.runs}}
    with submission(number_of(len(body.runs), "run")):
        orders = [
            ordered(engine, asked, tasks[one.task], one, key and f"{key}/{place}")
            for place, one in enumerate(body.runs)
        ]
        receipts = await submit(engine, orders)
    return Json({"items": [{"id": one.id, "created": one.created, "warning": ""} for one in receipts]}, 201)


@routes.post("/cancel", response_model=shown.Bulk)
async def cancel_many(engine: Here, asked: Operator, cursors: Seals, body: RunsChosen) -> Response:
    """Cancel runs, by id or by filter (those that are not over, where it names no state)."""

    async def one(name: str) -> str:
        return await control.cancel(engine, name, asked.name)

    return await _each(engine, cursors, asked, body, one, tuple(sorted(LIVE)))


@routes.post("/retry", response_model=shown.Bulk)
async def retry_many(engine: Here, asked: Operator, cursors: Seals, body: RunsChosen, key: Key = None) -> Response:
    """Run ended runs again, by id or by filter (those that failed, where it names no state); `state` is the new id."""

    async def one(name: str) -> str:
        return (await control.retry(engine, name, asked.name, key)).id

    return await _each(engine, cursors, asked, body, one, (State.FAILED,), 201)


async def _each(
    engine: Engine, cursors: Cursors, asked: Asked, body: RunsChosen, act: Act, states: Sequence[State], done: int = 200
) -> Response:
    """Act on each run that a body chooses; by a filter that names no state on those in these `states`."""
    if body.where:
        found, after = await _found(engine.store, cursors, asked, body.where, states)
    else:
        found, after = [one.record for one in await engine.store.get(Run, body.ids or []) if one], None
    runs: dict[str, Run] = {run.id: run for run in found}

    async def checked(name: str) -> str | None:
        if name not in runs:
            raise NotFound("run", name)
        asked.check("run", name, *scope(runs[name]))
        return await act(name)

    return await each(body.ids or list(runs), checked, done, after)


@routes.get("/{run}", response_model=shown.RunView, responses=answers(404))
async def show(engine: Here, asked: Reader, run: Named) -> Response:
    """Show a run with its payload, its result and its earlier attempts."""
    return Json(plain(await query.run_detail(engine, run.id)))


@routes.get("/{run}/explain", response_model=shown.Story, responses=answers(404))
async def explain(engine: Here, asked: Reader, run: Named) -> Response:
    """Tell the story of a run: why it ran, waits or failed."""
    return Json({"id": run.id, "story": await explain_run(engine, run.id)})


@routes.get("/{run}/attempts", response_model=shown.Attempts, responses=answers(404))
async def attempts(asked: Reader, run: Named) -> Response:
    """Tell the attempts of a run, oldest first; the newest one may be under way."""
    items = [plain(one) for one in run.history]
    if run.attempt and not (run.history and run.history[-1].number == run.attempt):
        ended_at, reason = (None, "") if run.state is State.RUNNING else (run.ended_at, run.reason)
        about = {"number": run.attempt, "worker": run.worker, "session": run.session, "reason": reason}
        began = {**instant("claimed_at", run.claimed_at), **instant("started_at", run.started_at)}
        items.append({**about, "error": run.error, **began, **instant("ended_at", ended_at)})
    return Json({"items": items, "next": None})


@routes.post("/{run}/cancel", response_model=shown.Cancelled, responses=answers(404, 409))
async def cancel(engine: Here, asked: Operator, run: Named) -> Response:
    """Cancel a run. One that runs is told to stop, and ends cancelled."""
    return Json({"id": run.id, "state": await control.cancel(engine, run.id, asked.name)})


@routes.post("/{run}/retry", status_code=201, response_model=shown.Retried, responses=answers(404, 409))
async def retry(engine: Here, asked: Operator, run: Named, key: Key = None) -> Response:
    """Run an ended run again, as a new run that points back at it."""
    receipt = await control.retry(engine, run.id, asked.name, key)
    return Json({"id": receipt.id, "origin": run.id}, 201, {"Location": f"/api/runs/{receipt.id}"})


@routes.get("/{run}/logs", response_model=shown.RunLines, responses=answers(404))
async def logs(
    engine: Here,
    asked: Reader,
    cursors: Seals,
    run: Named,
    cursor: Annotated[str, Query(max_length=1_000)] = "",
    limit: Annotated[int, Query(ge=1, le=LINES)] = 100,
    search: Annotated[Searched, Query()] = "",
) -> Response:
    """Lines of a run, oldest first. `next` reads on from there, later too; `over`: the run has ended, none follow."""
    # The run was read before, so that no line which it wrote just before its end is missed.
    over = run.state in TERMINAL
    after = int(cursors.opened(("lines", run.id), cursor) or 0)
    lines, position = await engine.logs.read(run.id, after, limit, search)
    sealed = cursors.sealed(("lines", run.id), str(position))
    return Json({"items": [plain(line) for line in lines], "next": sealed, "over": over and len(lines) < limit})


@routes.get("/{run}/logs/stream", response_class=Response, responses={**answers(404), **shown.STREAM})
async def follow(
    engine: Here,
    asked: Reader,
    cursors: Seals,
    feed: News,
    run: Named,
    last: Annotated[str, Header(alias="Last-Event-ID", max_length=1_000)] = "",
) -> Response:
    """Lines of a run as they come, as server-sent events `lines`, until `end` says that it has ended."""
    position = int(cursors.opened(("lines", run.id), last, "Last-Event-ID") or 0)
    return feed.stream(_lines(engine, cursors, feed, run.id, position))


async def _lines(engine: Engine, cursors: Cursors, feed: Feed, run: str, position: int) -> AsyncGenerator[bytes, None]:
    looks = 0
    while not feed.closed.is_set():
        now = (await engine.store.get(Run, [run]))[0]
        lines, position = await engine.logs.read(run, position, LINES)
        number = cursors.sealed(("lines", run), str(position)) or ""
        if lines:
            yield event("lines", [plain(line) for line in lines], number)
        elif now is None or now.record.state in TERMINAL:
            yield event("end", {"state": now.record.state if now else None}, number)
            return
        else:
            looks += 1
            if looks % QUIET == 0:
                yield STILL_HERE
            await feed.rest(LOOK_S)
