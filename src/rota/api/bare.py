"""The API without its guard: what all routes find, and the API as an actor of this very process uses it."""

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from secrets import token_bytes
from typing import Any

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.types import ASGIApp, Receive, Scope, Send

from rota.api import problems
from rota.api.feed import Feed
from rota.api.paging import Cursors
from rota.api.stats import Stats
from rota.domain.access import Actor
from rota.engine.engine import Engine


def bare(engine: Engine, secret: bytes, feed: Feed | None = None) -> FastAPI:
    """An app without routes, and what they find in its state. The secret seals cursors."""
    # Its own spans would tell of queries, and of every beat of a worker; `submission` makes ours.
    silent = TelemetryConfig(tracing=False, metrics=False, logs=False, auto_configure=False)
    app = FastAPI(title="Rota", version=version("rota"), openapi_url=None, redirect_slashes=False, telemetry=silent)
    app.state.engine = engine
    app.state.cursors = Cursors(secret)
    app.state.feed = feed or Feed(engine.store.watch, engine.emit)
    app.state.stats = Stats(engine)
    app.state.metrics = None
    problems.add_to(app)
    return app


def inner(engine: Engine, actor: Actor, door: Callable[[], Any]) -> ASGIApp:
    """The API for one actor, who needs neither socket nor credential. Of its routes only what is asked is loaded.

    `door`: makes what keeps passwords and mints tokens. What the server itself fails at is raised.
    """
    app, loaded = bare(engine, token_bytes(32)), set[str]()
    problems.let_through(app)

    async def asked(scope: Scope, receive: Receive, send: Send) -> None:
        part = scope["path"].split("/")[2]
        if part not in loaded:
            loaded.add(part)
            app.router.routes += import_module(f"rota.api.routes.{part}").routes.routes
            if part in ("users", "tokens"):
                app.state.door = door()
        scope.setdefault("state", {})["actor"] = actor
        await app(scope, receive, send)

    return asked
