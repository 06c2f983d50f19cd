"""What all tests with generated requests share: the spec, the checks, how many there are and from which seed."""

import os
from typing import Any

import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation.case import Case
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    missing_required_header,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from rota.api.app import Options, make_routes
from rota.api.spec import spec
from rota.domain.access import ROLES as MAY
from tests.attacks.support import ROLES
from tests.identity.test_matrix import rules
from tests.unit.engine.support import House

ROUTES = make_routes(House().engine, Options())
DOCUMENT: dict[str, Any] = {key: value for key, value in spec(ROUTES).items() if key != "security"}
"""Credentials are ours to show, not to be made up."""
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = {one.ok().label: one.ok() for one in SCHEMA.get_all_operations() if isinstance(one, Ok)}
NEEDS = {f"{rule.method} {rule.path}": rule.actions for rule in rules(ROUTES)}
WANTED = int(os.environ.get("ROTA_FUZZ", "0"))
"""About so many requests in all; 0: as many as a run of the suite has time for."""
SEED = int(os.environ.get("ROTA_FUZZ_SEED", "3"))
EXAMPLES = max(4, WANTED // len(OPERATIONS) // len(ROLES) // 2)
"""Requests of each operation and mode, of which everybody sends each."""
STREAMS = {"GET /api/system/events", "GET /api/runs/{run}/logs/stream"}
"""Their schema is that of the whole text; the check would hold each event to it."""
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    missing_required_header, allow_header_conformance,
]  # fmt: skip
UNREAD = {400, 413, 415, 422}
"""What a route may say before it knows what the asker may do."""
KNOWN = {"name": "report", "task": "report", "namespace": "main", "queue": "default"}


def checks(label: str) -> list[Any]:
    """What every answer of an operation is held to."""
    return [*CHECKS, *([] if label in STREAMS else [response_schema_conformance])]


def may(label: str, role: str) -> bool:
    """Whether a role passes a route at all; what it may do there is about things."""
    needed = NEEDS[label]
    return not needed or (role != "nobody" and needed[0] in MAY[role])


def aim(case: Case[Any], known: dict[str, Any]) -> None:
    """Let a request be about what there is."""
    for part in (case.path_parameters, case.query, case.body):
        if isinstance(part, dict):
            part |= {name: value for name, value in known.items() if name in part}
