"""Stories made of the spec: what is made is there, what is changed is so, what is deleted is gone, for whoever may."""

from copy import deepcopy
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.core.transport import Response
from schemathesis.generation.case import Case
from schemathesis.specs.openapi.checks import ensure_resource_availability, use_after_free

from tests.attacks.fuzzing import DOCUMENT, UNREAD, WANTED, checks, may
from tests.attacks.support import ROLES, built

STEPS = 12
STORIES = max(10, WANTED // STEPS // len(ROLES) // 4)
MADE = {
    ("/api/tasks", "201"): ("tasks", {"name": "name", "query.namespace": "namespace"}),
    ("/api/schedules", "201"): ("schedules", {"name": "name", "query.namespace": "namespace"}),
    ("/api/runs", "201"): ("runs", {"run": "id"}),
    ("/api/tasks/{name}/trigger", "201"): ("runs", {"run": "id"}),
    ("/api/runs/{run}/retry", "201"): ("runs", {"run": "id"}),
    ("/api/users", "201"): ("users", {"name": "id"}),
    ("/api/tokens", "201"): ("tokens", {"token": "id"}),
}
"""What a path makes: under which path it is found, and by which members of the answer."""
ROOTS = {f"POST {path}" for path, _ in MADE if "{" not in path}
KEPT = {"name", "description", "task_type", "payload", "queue", "requires", "isolation", "on_lost", "priority"}
NEEDED: dict[str, dict[str, Any]] = {
    "POST /api/tasks": {"schedule": "@daily"},
    "POST /api/schedules": {"name": "made", "task": "report", "schedule": "every 5m"},
    "POST /api/runs": {"task": "report"},
    "POST /api/users": {"grants": [{"role": "viewer"}]},
    "POST /api/tokens": {"grants": [{"role": "viewer"}]},
}


def linked() -> dict[str, Any]:
    """The spec, and which answers lead to which requests."""
    found = deepcopy(DOCUMENT)
    for (path, status), (kind, members) in MADE.items():
        links = found["paths"][path]["post"]["responses"][status].setdefault("links", {})
        for target, methods in found["paths"].items():
            if target.startswith(f"/api/{kind}/{{"):
                for method, operation in methods.items():
                    given = {name: f"$response.body#/{member}" for name, member in members.items()}
                    links[f"{method} {target}"] = {"operationId": operation["operationId"], "parameters": given}
    return found


SCHEMA = schemathesis.openapi.from_dict(linked()).include(
    path_regex=r"^/api/(tasks|schedules|runs|users|tokens)(/\{|$)"
)


@pytest.mark.parametrize("role", ROLES)
def test_stories_made_of_the_spec_find_no_fault(role: str) -> None:
    """An admin makes things, and the role does something to them."""
    seen: dict[tuple[str, int], int] = {}

    class Story(SCHEMA.as_state_machine()):  # type: ignore[misc]  # made while running
        def setup(self) -> None:
            self.house = built()
            self.platform = self.house.__enter__()

        def teardown(self) -> None:
            self.house.__exit__(None, None, None)
            super().teardown()

        def before_call(self, case: Case[Any]) -> None:
            if case.operation.label in ROOTS:
                to_succeed(case)

        def call(self, case: Case[Any], **kwargs: Any) -> Response:
            label = case.operation.label
            self.asker = "admin" if label in ROOTS else role
            before = {} if may(label, self.asker) else self.platform.kept()
            answer = self.platform.call(case, self.asker)
            if before:
                assert answer.status_code in ({401} if role == "nobody" else UNREAD | {403})
                assert self.platform.kept() == before
            seen[label, answer.status_code] = seen.get((label, answer.status_code), 0) + 1
            return answer

        def validate_response(self, response: Response, case: Case[Any], *_: Any, **__: Any) -> None:
            own = [use_after_free, ensure_resource_availability] if role == "admin" else []
            case.validate_response(response, checks=[*checks(case.operation.label), *own], recorder=self.recorder)

    Story.run(
        settings=settings(
            max_examples=STORIES, stateful_step_count=STEPS, derandomize=True, database=None, deadline=None,
            phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        )
    )  # fmt: skip

    # Chance may leave one out: which stories are told changes with every change of the spec.
    assert len(ROOTS - {label for label, status in seen if status == 201}) <= 1


def to_succeed(case: Case[Any]) -> None:
    """Let a request that makes something do so more often than chance would."""
    if isinstance(case.body, dict):
        made = {name: value for name, value in case.body.items() if name in KEPT and value is not None}
        case.body.clear()
        case.body |= made | NEEDED[case.operation.label]
    case.query |= {"namespace": "main"} if "namespace" in case.query else {}
