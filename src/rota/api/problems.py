"""Errors as answers: RFC 9457 problem documents that say what was wrong, where, and what to do. Never a stack trace."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from rota.domain import errors

log = logging.getLogger("rota.api")
MEDIA = "application/problem+json"
RETRY_S = "1"
FAULTS = 100
"""So many of what is wrong with a request are told; an answer is not larger than its request."""
STATUS: dict[type[Exception], HTTPStatus] = {
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.Changed: HTTPStatus.PRECONDITION_FAILED,
    errors.Refused: HTTPStatus.CONFLICT,
    errors.Stale: HTTPStatus.CONFLICT,
    errors.Barred: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.Unclear: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StoreError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.RotaError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""The one table from errors to statuses; an error that is not in it has that of its nearest base."""
UNROUTED = {
    HTTPStatus.NOT_FOUND.phrase: "there is nothing at this path; GET /api/openapi.json tells what there is",
    HTTPStatus.METHOD_NOT_ALLOWED.phrase: "this path has no such method; GET /api/openapi.json tells which it has",
}
"""What is said in place of the router's own words."""
MEMBERS = {"at": "due_at"}
"""How bodies call what is called otherwise within."""
STRANGER = "no credential, or none that is valid"
NOT_JSON = "send JSON, with Content-Type: application/json"
JSON_TYPE = re.compile(r"application/(?:[\w.+-]+\+)?json\s*(?:;|$)", re.IGNORECASE)


class Fault(BaseModel):
    """One thing that was wrong with a request."""

    field: str
    """Where: the member's path in the body, or the name of the parameter or header."""
    message: str


class Problem(BaseModel):
    """Why a request was refused; nothing was changed."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[Fault] = []


def problem(
    status: int, detail: str, faults: Sequence[tuple[str, str]] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """The answer that says what was wrong; `faults`: pairs of field and message."""
    body: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    body |= {"detail": detail, "errors": [{"field": field, "message": text} for field, text in faults]}
    return Response(json.dumps(body).encode(), status, headers, MEDIA)


def refusal(error: Exception) -> Response:
    """The answer that tells of an error. What was not foreseen is for the log."""
    if not isinstance(error, errors.RotaError):
        if not isinstance(error, ClientDisconnect):  # the guard ends streams so, too
            log.error("a request failed", exc_info=error)
        return problem(500, "an error of the server; its log tells more")
    status = status_of(error)
    faults = [(MEMBERS.get(error.field, error.field), error.message)] if isinstance(error, errors.Invalid) else []
    again = {"Retry-After": RETRY_S} if status is HTTPStatus.SERVICE_UNAVAILABLE else None
    return problem(status, detail_of(error), faults, again)


def is_other_than_json(headers: Mapping[str, str]) -> bool:
    """Whether a request with these headers has a body that is not said to be JSON."""
    sent = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    return sent and not JSON_TYPE.match(headers.get("content-type", ""))


def status_of(error: Exception) -> HTTPStatus:
    """The status that tells of an error."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), HTTPStatus.INTERNAL_SERVER_ERROR)


def detail_of(error: Exception) -> str:
    """What the asker is told of an error."""
    if status_of(error) is not HTTPStatus.SERVICE_UNAVAILABLE:
        return str(error)
    # What a store says of itself names files and hosts: that is for the log.
    log.warning("%s: %s", type(error).__name__, error)
    if isinstance(error, errors.Unclear):
        return "it may or may not have happened: look, or repeat it with the same Idempotency-Key"
    return "the store cannot serve now; try again"
