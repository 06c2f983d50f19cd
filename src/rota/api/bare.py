"""The API without its guard: what all routes find, and the API as an actor of this very process uses it."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from importlib import import_module
from importlib.metadata import version
from secrets import token_bytes
from typing import Any, get_args

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from rota.api.feed import Feed
from rota.api.paging import Cursors
from rota.api.problems import FAULTS, UNROUTED, problem, refusal
from rota.api.schemas.texts import said_of
from rota.api.stats import Stats
from rota.domain.access import ANY, Actor, Grant
from rota.domain.errors import Invalid, RotaError, StoreError, Unclear
from rota.domain.names import nearest
from rota.engine.engine import Engine

SAID = {
    "missing": "is missing",
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "should be an object"),
}
"""Of the library's own messages those that would not say what to do."""


def bare(engine: Engine, secret: bytes, feed: Feed | None = None) -> FastAPI:
    """An app without routes, and what they find in its state; every error is answered. The secret seals cursors."""
    # Its own spans would tell of queries, and of every beat of a worker; `submission` makes ours.
    silent = TelemetryConfig(tracing=False, metrics=False, logs=False, auto_configure=False)
    app = FastAPI(title="Rota", version=version("rota"), openapi_url=None, redirect_slashes=False, telemetry=silent)
    app.state.engine = engine
    app.state.cursors = Cursors(secret)
    app.state.feed = feed or Feed(engine.store.watch, engine.emit)
    app.state.stats = Stats(engine)
    for kind in (RotaError, Exception):
        app.add_exception_handler(kind, _told)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    return app


def inner(engine: Engine, name: str, door: Callable[[], Any]) -> ASGIApp:
    """The API for whoever may open the store: they may do everything in it, and need neither socket nor credential. Of
    its routes only what is asked is loaded.

    `name`: for the audit. `door`: makes what keeps passwords and mints tokens. The server's own failures are raised.
    """
    actor = Actor(name, (Grant("admin", ANY),))
    app, loaded = bare(engine, token_bytes(32)), set[str]()
    for kind in (StoreError, Unclear, Exception):
        app.add_exception_handler(kind, _raised)

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


async def _raised(_: Request, error: Exception) -> Response:
    raise error


async def _told(_: Request, error: Exception) -> Response:
    return refusal(error)


async def _invalid(request: Request, error: Any) -> Response:
    body = getattr(request.scope.get("route"), "body_field", None)
    errors = [_fault(one, body and body.field_info.annotation) for one in error.errors()[:FAULTS]]
    said = "; ".join(f"{field}: {text}" if field else text for field, text in errors[:3])
    return problem(422, said, errors)


def _fault(one: Mapping[str, Any], body: Any) -> tuple[str, str]:
    """Field and message; the domain says both better than the library around it. `body`: the type of that."""
    path, context, said = [str(part) for part in one["loc"][1:]], one.get("ctx", {}), SAID.get(one["type"])
    if one["type"] == "extra_forbidden":
        said = f"is unknown here{nearest(path[-1], _members(body, path[:-1]))}"
    raised, pattern = context.get("error"), context.get("pattern", "")
    if form := said_of(pattern, one.get("input")):
        raised = Invalid("", form)
    if not isinstance(raised, Invalid):
        text = re.sub(r"^(Input|String|List|Dictionary) should", "it should", str(one["msg"]))
        return ".".join(path), (said if path else f"the body {said}") if said else text
    # An object as a whole names the member that is wrong with it; a member is there in the path already.
    path += [raised.field] if raised.field not in ("", *path[-1:]) else []
    return ".".join(path), raised.message


def _members(kind: Any, path: Sequence[str]) -> list[str]:
    """The members of the objects that a type has at a path."""
    for step in path:  # places in a list, and names of types, lead no further
        kind = next((one.model_fields[step].annotation for one in _models(kind) if step in one.model_fields), kind)
    return [name for one in _models(kind) for name in one.model_fields]


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for part in get_args(kind):
        yield from _models(part)


async def _http(request: Request, error: Any) -> Response:
    headers = error.headers
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # The router names the methods of the first route at this path only.
        there = [one for one in request.app.router.routes if one.matches(request.scope)[0] is not Match.NONE]
        headers = {"Allow": ", ".join(sorted({method for one in there for method in getattr(one, "methods", ())}))}
    return problem(error.status_code, UNROUTED.get(str(error.detail), str(error.detail)), (), headers)
