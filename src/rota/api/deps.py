"""What routes ask for: the engine, the asker's rights, JSON in and out. Every route names one `may(Action…)`."""

import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel
from starlette.exceptions import HTTPException

from rota.api.asked import Asked
from rota.api.feed import Feed
from rota.api.paging import Cursors
from rota.api.problems import MEDIA, NOT_JSON, STRANGER, Problem, is_other_than_json
from rota.api.schemas.texts import ID, PATTERN
from rota.api.stats import Stats
from rota.api.threads import in_thread
from rota.domain.access import Action, Actor, allowed
from rota.domain.errors import Forbidden
from rota.domain.names import check_key
from rota.domain.payload import decoded
from rota.domain.people import administers
from rota.engine.engine import Engine

LARGEST = 1 << 20
"""Bytes of a body about one thing; the guard bounds that of many."""
LARGE = 1 << 16
"""A body over that is read in a thread, so that others are served meanwhile."""

Name = Annotated[str, Path(pattern=PATTERN, description="Its name.")]
Id = Annotated[str, Path(pattern=ID, description="Its id: 32 hexadecimal digits.")]
Namespace = Annotated[str, Query(pattern=PATTERN, description="The namespace of what is named.")]
Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", max_length=200, description="The same key and body within a day: the same run."),
    AfterValidator(lambda key: None if key is None else check_key("", key)),
]


class Json(Response):
    """JSON of plain values, as `views.plain` makes them."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        try:
            return msgspec.json.encode(content)
        except (OverflowError, ValueError, TypeError):
            return json.dumps(content).encode()  # an integer beyond 64 bits


@dataclass(frozen=True)
class May:
    """Refuses whoever has no grant at all for an action; what is asked of one thing, the route checks with `Asked`. To
    administer is about all namespaces.
    """

    action: Action

    async def __call__(self, request: Request) -> Asked:
        actor = getattr(request.state, "actor", None)
        if not isinstance(actor, Actor):
            raise HTTPException(401, STRANGER, {"WWW-Authenticate": "Bearer"})
        asked = Asked(actor, self.action)
        if not any(allowed([grant], self.action, grant.namespace, grant.task, grant.queue) for grant in actor.grants):
            raise Forbidden(f"{actor.name} may not do this: it takes a role that allows `{self.action}`; ask for one")
        if self.action is Action.ADMIN and not administers(actor.grants):
            raise Forbidden(f"{actor.name} may not do this; it takes an admin of all namespaces")
        request.state.asked = asked
        return asked


def may(action: Action) -> Any:
    """The route's dependency that says what it needs."""
    return Depends(May(action))


Reader = Annotated[Asked, may(Action.READ)]
Operator = Annotated[Asked, may(Action.OPERATE)]
Definer = Annotated[Asked, may(Action.DEFINE)]
Admin = Annotated[Asked, may(Action.ADMIN)]


def part(name: str) -> Any:
    """The route's dependency that is this part of the app's state."""

    async def found(request: Request) -> Any:
        return getattr(request.app.state, name)

    return Depends(found)


Here = Annotated[Engine, part("engine")]
Seals = Annotated[Cursors, part("cursors")]
News = Annotated[Feed, part("feed")]
Counted = Annotated[Stats, part("stats")]


class _Strict(Request):
    """A request whose JSON all readers read alike."""

    async def json(self) -> Any:
        body = await self.body()
        if len(body) > LARGEST and not self.url.path.endswith("/bulk"):
            raise HTTPException(413, f"the body is over {LARGEST} bytes; POST /api/runs/bulk takes more")
        try:
            return decoded(body) if len(body) <= LARGE else await in_thread(partial(decoded, body))
        except UnicodeEncodeError:
            raise HTTPException(422, "text in the body holds a lone surrogate; send valid Unicode") from None
        except (ValueError, RecursionError) as error:
            raise HTTPException(400, f"the body is not JSON: {str(error).partition(';')[0]:.200}") from None


class Route(APIRoute):
    """A route that refuses what it does not know: parameters, parameters given twice, bodies that are not JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()
        known = _parameters(self.dependant)
        has_body = self.body_field is not None

        async def checked(request: Request) -> Response:
            for name in request.query_params:
                if name not in known:
                    raise _refused(name, f"is unknown here; choose from {', '.join(sorted(known)) or 'none'}")
                if known[name] and len(request.query_params.getlist(name)) > 1:
                    raise _refused(name, "is given twice")
            if has_body and is_other_than_json(request.headers):
                raise HTTPException(415, NOT_JSON)
            return await inner(_Strict(request.scope, request.receive))

        return checked


def _parameters(dependant: Dependant) -> dict[str, bool]:
    """The names of query parameters, and whether each may be given but once."""
    found: dict[str, bool] = {}
    for one in dependant.query_params:
        kind = one.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= {name: "list[" not in str(member.annotation) for name, member in kind.model_fields.items()}
        else:
            found[one.alias] = True
    for inner in dependant.dependencies:
        found |= _parameters(inner)
    return found


def _refused(name: str, text: str) -> RequestValidationError:
    return RequestValidationError([{"type": "value_error", "loc": ("query", name), "msg": text}])


ALWAYS = (400, 401, 403, 413, 415, 422, 429, 503)
"""Any route may answer so."""
SAID = {
    400: "The body is not JSON",
    401: "No credential, or none that is valid",
    403: "The role does not allow it",
    404: "No such thing, or none that the asker may see",
    409: "The state of things forbids it",
    412: "It was changed since it was read",
    413: "Too large",
    415: "Not JSON",
    422: "Something in the request is not valid; `errors` names the field",
    429: "Too many requests; Retry-After says when to come back",
    503: "The store cannot serve now; Retry-After says when to come back",
}


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How a route documents the problems that it may answer with, beside those of all routes."""
    content = {MEDIA: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
    return {status: {"description": SAID[status], "content": content} for status in statuses}


def router(prefix: str, tag: str) -> APIRouter:
    """A group of routes."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=Route, responses=answers(*ALWAYS))
