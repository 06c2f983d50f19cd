"""The spec: OpenAPI 3.1 of all routes, made of them, for programs to read and for tests to hold the routes to it."""

from typing import Any

from fastapi import FastAPI

from rota.api.guard import PUBLIC
from rota.api.problems import Problem

ABOUT = (
    "The HTTP API of Rota. Bodies are JSON and strict: unknown members, doubled keys and wrong types are refused. "
    "Every refusal is a problem document (RFC 9457) that names the field. Instants are ISO 8601 in UTC and, under "
    "`…_ms`, milliseconds since the epoch. Listings are paged by cursor: ask again with `next` as `cursor`."
)


def spec(app: FastAPI) -> dict[str, Any]:
    """The whole document; made once."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    app.description = ABOUT
    made = app.openapi()
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    made["components"]["schemas"] |= {**problem.pop("$defs"), "Problem": problem}
    made["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    made["security"] = [{"bearer": []}]
    for path in PUBLIC & made["paths"].keys():
        for operation in made["paths"][path].values():
            operation["security"] = []
    return made
