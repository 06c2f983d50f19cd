"""59: odd values for every text and every number that the spec names, in bodies, queries, paths and headers."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import jsonschema_rs
import pytest

from tests.attacks.fuzzing import DOCUMENT, OPERATIONS
from tests.attacks.support import HOST, Platform
from tests.attacks.test_rights import SAMPLES, path_of, things

NUMBERS: list[Any] = [
    -1, 0, 10**9, 2**31, 2**53, 2**53 + 1, 253_402_300_800_000, 7_289_654_400_000, 2**63, 2**64, 10**30, -(2**63),
    0.5, -0.0, 1e308, 5e-324, True, "1", "0x10", "１",
]  # fmt: skip
TEXTS: list[Any] = [
    "", " ", "\0", "a\0b", "\r\n", "\u202e", "ａdmin", "аdmin", "e\u0301", "\ufffe", "\U0010ffff", "𝟙", "x" * 40_000,
    "0000-01-01T00:00", "1000000-01-01T00:00", "9999-12-31T23:59:59", "1969-12-31T23:59", "2026-02-30", "99:99",
    "Mars/Olympus", "../../etc/passwd", "null", "NaN", "-", ".", "..", "*", "%00", 5, 1e9, True, None, [], {}, [[]],
]  # fmt: skip
ODD = [*TEXTS, *NUMBERS]


def fields(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], set[str]]]:
    """The path of each member that is a text or a number, and which of them it may be; nested ones too."""
    found = resolved(schema)
    kinds = {one["type"] for one in found if isinstance(one.get("type"), str)}
    kinds |= {"string"} if any("enum" in one or "const" in one for one in found) else set()
    if kinds & {"string", "number", "integer"}:
        yield path, kinds
    for one in found:
        for name, inner in one.get("properties", {}).items():
            yield from fields(inner, (*path, name))
        if "items" in one and len(path) < 4:
            yield from fields(one["items"], (*path, "0"))


def members(schema: dict[str, Any]) -> set[str]:
    """The names of all members, of nested objects too."""
    own = {name: one for part in resolved(schema) for name, one in part.get("properties", {}).items()}
    return {*own, *(name for one in own.values() for name in members(one.get("items", one)))}


def resolved(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The alternatives of a schema, without references."""
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    parts = [*schema.get("anyOf", []), *schema.get("oneOf", []), *schema.get("allOf", [])]
    return [schema, *(inner for one in parts for inner in resolved(one))] if parts else [schema]


def put(body: Any, path: tuple[str, ...], value: Any) -> Any:
    """A copy of a body with the value at a path."""
    if not path:
        return value
    if path[0] == "0":
        return [put(body[0] if isinstance(body, list) and body else None, path[1:], value)]
    return {**(body if isinstance(body, dict) else {}), path[0]: put((body or {}).get(path[0]), path[1:], value)}


def body_schema(label: str) -> dict[str, Any] | None:
    asked = operation(label).get("requestBody")
    found: dict[str, Any] | None = asked and asked["content"]["application/json"]["schema"]
    return found


def told(label: str, status: int) -> bool:
    """Whether the spec names this status for the route."""
    return str(status) in operation(label)["responses"]


def operation(label: str) -> dict[str, Any]:
    method, path = label.split(" ")
    found: dict[str, Any] = DOCUMENT["paths"][path][method.lower()]
    return found


def asker(label: str) -> str:
    return "worker" if "/worker/" in label else "admin"


@pytest.mark.parametrize("label", [label for label in OPERATIONS if body_schema(label)])
def test_odd_values_in_bodies(platform: Platform, label: str) -> None:
    """What the spec forbids is refused, and nothing is ever the server's fault."""
    schema = body_schema(label) or {}
    checked = jsonschema_rs.validator_for({**schema, "components": DOCUMENT["components"]})
    known = {"", *(step for path, _ in fields(schema) for step in path), *members(schema)}
    for path, kinds in fields(schema):
        for value in [*(NUMBERS if kinds & {"number", "integer"} else []), *(TEXTS if "string" in kinds else [])]:
            body = put(SAMPLES.get(label, {}), path, value)
            answer = platform.say(asker(label), *place_of(platform, label), body)
            assert told(label, answer.status), (label, path, value, answer)
            assert set(".".join(answer.fields).split(".")) <= known, (label, path, value, answer)
            assert answer.status in (400, 422) or checked.is_valid(body), (label, path, value, answer)
    assert platform.say("admin", "GET", "/api/tasks").status == 200


@pytest.mark.parametrize("label", [label for label in OPERATIONS if operation(label).get("parameters")])
def test_odd_values_in_queries_paths_and_headers(platform: Platform, label: str) -> None:
    """The same, as text: it is quoted where it has to be."""
    method, place = place_of(platform, label)
    place = place.partition("?")[0]
    body = b"" if body_schema(label) is None else json.dumps(SAMPLES.get(label, {})).encode()
    for one in operation(label)["parameters"]:
        for value in ODD:
            text, headers = str(value)[:3_000], {"content-type": "application/json"}
            where = place
            if one["in"] == "header":
                headers[one["name"]] = text
            elif one["in"] == "query":
                where = f"{place}?{one['name']}={quote(text, safe='')}"
            else:
                where = label.partition(" ")[2].replace(f"{{{one['name']}}}", quote(text, safe=""))
            answer = platform.ask(method, f"{HOST}{where}", body, headers, asker(label))
            assert answer.status < 500, (label, one["name"], value, answer)
            assert {field.partition(".")[0] for field in answer.fields} <= {one["name"]}, (label, value, answer)
            other_route = one["in"] == "path" and answer.status in (404, 405)
            assert told(label, answer.status) or other_route, (label, one["name"], value, answer)


def place_of(platform: Platform, label: str) -> tuple[str, str]:
    method, path = label.split(" ")
    return path_of(label, things(platform, "main"), "main") if "{" in label else (method, path)
