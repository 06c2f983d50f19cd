"""The factory of the HTTP API: routes, errors and events, behind one guard that denies by default."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from secrets import token_bytes
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from rota.api.denials import Denials
from rota.api.desk import Desk
from rota.api.door import Door
from rota.api.feed import Feed
from rota.api.guard import Guard
from rota.api.places import GuardOptions
from rota.api.threads import in_thread
from rota.engine.engine import Engine

if TYPE_CHECKING:
    from fastapi import FastAPI

    from rota.observe.metrics import Metrics

PARTS = (
    *("tasks", "schedules", "runs", "workers", "queues", "system"),
    *("auth", "users", "tokens", "audit", "desk", "pages"),
)
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


def make_app(engine: Engine, door: Door, options: Options) -> Guard:
    """The API over an engine. Who asks is told by the door."""
    denials = Denials(engine)
    routes = Later(partial(make_routes, engine, options, door), denials.close, door.close)
    return Guard(routes, door, options.guard, denials)


def make_routes(engine: Engine, options: Options, door: Door | None = None) -> "FastAPI":
    """All routes, without their guard."""
    from rota.api.bare import bare

    app = bare(engine, options.secret, options.feed)
    app.state.door = door
    app.state.metrics = options.metrics
    if options.metrics:
        options.metrics.numbers = app.state.stats.gauges
    app.state.desk = Desk(engine, app.state.feed.closed)
    for part in PARTS:
        # As they are: FastAPI's own way would build each route anew, at the first request that looks along it.
        app.router.routes += import_module(f"rota.api.routes.{part}").routes.routes
    return app


class Later:
    """An app that is made when it is first asked: a fifth of a node's memory, and of its start, are the routes.

    `ends` are awaited when the server stops.
    """

    def __init__(self, make: Callable[[], ASGIApp], *ends: Callable[[], Awaitable[None]]) -> None:
        self._make = make
        self._ends = ends
        self._made: asyncio.Future[ASGIApp] | None = None

    async def made(self) -> ASGIApp:
        """The app. It is made in a thread, so that the roles beside it go on; what failed is tried again."""
        if self._made is None or (self._made.done() and self._made.exception()):
            self._made = asyncio.ensure_future(in_thread(self._make))
        return await asyncio.shield(self._made)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await (await self.made())(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for end in self._ends:
            await end()
        await send({"type": "lifespan.shutdown.complete"})
