"""The spec says all that the routes do, and a few thousand requests made of it find no fault of the server."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core import NOT_SET
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from rota.api.app import Options, make_routes
from rota.api.spec import spec
from tests.api.conftest import SAMPLE

EXAMPLES = 4
OWN = ("tasks", "schedules", "runs", "workers", "queues", "system")
STREAMS = ("/events", "/stream")


@pytest.fixture
async def document(engine):
    return spec(make_routes(engine, Options()))


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if operation["tags"][0] in OWN:
                yield f"{method.upper()} {path}", operation


async def test_every_operation_says_what_it_does_and_how_it_may_end(document):
    assert document["openapi"].startswith("3.1")
    for name, operation in operations(document):
        assert operation["description"], name
        statuses = set(operation["responses"])
        assert {"400", "401", "403", "422", "429", "503"} <= statuses, name
        assert ("{" not in name) or "404" in statuses, name
        (good,) = [one for status, one in operation["responses"].items() if status[0] == "2"][:1]
        assert "204" in statuses or good["content"], name


async def test_bodies_that_make_things_have_examples(document):
    schemas = document["components"]["schemas"]
    for name in ("TaskNew", "TaskChange", "ScheduleNew", "ScheduleChange", "PreviewBody", "TriggerBody", "RunNew"):
        assert schemas[name]["examples"], name


async def test_requests_made_of_the_spec_find_no_fault(api, document):
    """Each answer is one that the spec names, of the shape that it says, and none is the server's fault."""
    await api("POST", "/api/tasks", 201, SAMPLE)
    loaded = schemathesis.openapi.from_dict(document)
    checks = [not_a_server_error, status_code_conformance, response_schema_conformance]
    for result in loaded.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        if operation.tags and operation.tags[0] in OWN and not operation.path.endswith(STREAMS):
            for case in cases(operation):
                path = case.formatted_path
                sent = {} if case.body is NOT_SET else {"json": case.body}
                answer = await api.http.request(case.method, path, params=case.query, headers=case.headers, **sent)
                case.validate_response(answer, checks=checks)


def cases(operation):
    """A few requests of an operation, the same ones every time."""
    found = []

    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def collect(case):
        found.append(case)

    given(case=operation.as_strategy())(collect)()
    return found
