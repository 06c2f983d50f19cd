"""The factory of the HTTP API: routes, errors and events, behind one guard that denies by default."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from secrets import token_bytes
from typing import TYPE_CHECKING

from fastapi import FastAPI

from rota.api.bare import bare
from rota.api.crew import Crew
from rota.api.denials import Denials
from rota.api.door import Door
from rota.api.feed import Feed
from rota.api.guard import Authenticate, Guard, GuardOptions
from rota.api.routes import (
    audit,
    auth,
    desk,
    events,
    pages,
    queues,
    runs,
    schedules,
    system,
    tasks,
    tokens,
    users,
    workers,
)
from rota.api.waiting import Waiting
from rota.engine.engine import Engine

if TYPE_CHECKING:
    from rota.observe.metrics import Metrics

PARTS = (tasks, schedules, runs, workers, queues, events, system, auth, users, tokens, audit, desk, pages)
"""All routes, by the kind of thing that they are about."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the API is made with."""

    secret: bytes = field(default_factory=lambda: token_bytes(32))
    """Seals cursors. The same on all nodes, so that a listing may go on at another one."""
    guard: GuardOptions = field(default_factory=GuardOptions)
    feed: Feed | None = None
    """Where streams come from: whoever serves closes it at the end, so that they do not hold that up."""
    metrics: "Metrics | None" = None
    """What `/metrics` tells; None: nothing."""


def make_app(
    engine: Engine, door: Door, options: Options | None = None, authenticate: Authenticate | None = None
) -> Guard:
    """The API over an engine. Who asks is told by the door, or by `authenticate` in its place."""
    given = options or Options()
    app, denials = make_routes(engine, given), Denials(engine)
    app.state.door = door

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        await denials.close()
        await door.close()

    app.router.lifespan_context = life
    return Guard(app, authenticate or door.authenticate, given.guard, denials)


def make_routes(engine: Engine, options: Options) -> FastAPI:
    """All routes, without their guard."""
    app = bare(engine, options.secret, options.feed)
    app.state.metrics = options.metrics
    if options.metrics:
        options.metrics.numbers = app.state.stats.gauges
    app.state.crew = Crew(engine)
    app.state.waiting = Waiting(engine, app.state.feed.closed)
    for part in PARTS:
        # As they are: FastAPI's own way would build each route anew, at the first request that looks along it.
        app.router.routes += part.routes.routes
    return app
