"""Requests made of the spec, right and wrong ones, sent to the whole guarded app as everybody.

`ROTA_FUZZ=100000` makes and sends about so many; a run of the suite makes a few of each operation.
"""

import os
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response
from schemathesis.generation.case import Case
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    missing_required_header,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from rota.api.app import Options, make_routes
from rota.api.guard import PUBLIC
from rota.api.spec import spec
from rota.domain.access import ROLES as MAY
from rota.domain.access import Action
from rota.identity import passwords
from tests.attacks.support import ROLES, Platform, built
from tests.identity.test_matrix import rules
from tests.unit.engine.support import House

ROUTES = make_routes(House().engine, Options())
DOCUMENT = {key: value for key, value in spec(ROUTES).items() if key != "security"}
"""Credentials are ours to show, not to be made up."""
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = {one.ok().label: one.ok() for one in SCHEMA.get_all_operations() if isinstance(one, Ok)}
NEEDS = {f"{rule.method} {rule.path}": rule.actions for rule in rules(ROUTES)}
WANTED = int(os.environ.get("ROTA_FUZZ", "0"))
EXAMPLES = max(4, WANTED // len(OPERATIONS) // len(ROLES) // 2)
"""Requests of each operation and kind, of which everybody sends each."""
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
    response_headers_conformance, missing_required_header, allow_header_conformance,
]  # fmt: skip
SEED = int(os.environ.get("ROTA_FUZZ_SEED", "3"))
UNREAD = {400, 413, 415, 422}
"""What a route may say before it knows what the asker may do."""
KNOWN = {"name": "report", "task": "report", "namespace": "main", "queue": "default"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords that cost nothing: their price is proved elsewhere."""
    monkeypatch.setattr(passwords, "MEMORY_KIB", 64)


@pytest.mark.parametrize("label", OPERATIONS)
def test_requests_made_of_the_spec_find_no_fault(label: str) -> None:
    with built() as platform:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            for case in cases(label, mode):
                for role in ROLES:
                    _send(platform, case, role, mode)


def _send(platform: Platform, case: Case, role: str, mode: GenerationMode) -> None:
    """One request: what comes back is of the spec, and without the right to it nothing comes or changes."""
    before = platform.kept() if not _may(case.operation.label, role) else {}
    answer = platform.call(case, role)
    checks = [*CHECKS, negative_data_rejection] if _may(case.operation.label, role) else CHECKS
    case.validate_response(answer, checks=checks)
    if before:
        assert answer.status_code == 401 if role == "nobody" else answer.status_code in UNREAD | {403}
        assert platform.kept() == before


def _may(label: str, role: str) -> bool:
    needed = NEEDS[label]
    return not needed or (role != "nobody" and needed[0] in MAY[role])


def cases(label: str, mode: GenerationMode) -> list[Case]:
    """The same ones for the same seed; half of the right ones are about what there is."""
    found: list[Case] = []

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    def collect(case: Case) -> None:
        found.append(case)

    given(case=OPERATIONS[label].as_strategy(generation_mode=mode))(collect)()
    if mode is GenerationMode.POSITIVE:
        for case in found[::2]:
            _aim(case)
    return found


def _aim(case: Case) -> None:
    for part in (case.path_parameters, case.query, case.body):
        if isinstance(part, dict):
            part |= {name: value for name, value in KNOWN.items() if name in part}
