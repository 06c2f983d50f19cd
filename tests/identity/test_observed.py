"""What the API tells of itself, and to whom; and what it takes over from a request for the lines and traces to come."""

import logging
from typing import Any

import httpx
import pytest

from rota.api.app import Options, make_app
from rota.api.places import GuardOptions
from rota.domain.facts import RunsSubmitted
from rota.domain.run import Run
from rota.observe.metrics import Metrics
from rota.testing.factories import make_run
from tests.identity.support import NO_RATES, Served

ABOVE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def metrics(served: Served):
    """Given to another guard over the same house; its routes are asked without a socket."""
    found = Metrics()
    found(RunsSubmitted([make_run(1)]))
    served.client._transport = httpx.ASGITransport(
        make_app(served.engine, served.door, Options(guard=GuardOptions(rates=NO_RATES), metrics=found))
    )
    return found


async def test_metrics_are_for_those_who_may_read_everything(served, metrics):
    """3, 25"""
    assert (await served.ask("GET", "/metrics")).status_code == 401
    assert (await served.ask("GET", "/metrics", "viewer")).status_code == 403
    told = await served.ask("GET", "/metrics", "admin")
    assert told.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "rota_runs_submitted_total{" in told.text
    assert "rota_store_up 1.0" in told.text
    assert "rota_tasks 0.0" in told.text


async def test_without_metrics_there_are_none(served):
    assert (await served.ask("GET", "/metrics", "admin")).status_code == 404


async def test_a_key_in_a_path_is_in_no_line_and_no_audit(served, caplog):
    """18"""
    key = served.keys["admin"]
    with caplog.at_level(logging.INFO, "rota.api"):
        assert (await served.ask("GET", f"/api/{key}")).status_code == 401
        assert (await served.ask("GET", f"/{'x' * 290}{key}")).status_code == 401
    assert key.split("_", 3)[3][:9] not in caplog.text
    while not (denied := await served.entries("denied")):
        await served.ask("GET", "/health")
    assert key.split("_", 3)[3][:9] not in repr(denied)


@pytest.mark.parametrize(("given", "taken"), [("my-request-1", True), ("short", False), ("no good, this", False)])
async def test_a_sane_request_id_goes_along(served, given, taken):
    said = (await served.ask("GET", "/health", headers={"X-Request-ID": given})).headers["x-request-id"]
    assert (said == given) is taken
    assert len(said) >= 8


@pytest.mark.parametrize(("given", "kept"), [(ABOVE, ABOVE), ("00-no-good-01", "")])
async def test_a_run_keeps_the_trace_of_its_request(served, given, kept):
    await served.house.task()
    task = "/api/tasks/task-1/trigger"
    for path, body in (
        (task, {}),
        ("/api/runs", {"task": "task-1"}),
        ("/api/runs/bulk", {"runs": [{"task": "task-1"}]}),
    ):
        answer = await served.ask("POST", path, "admin", json=body, headers={"traceparent": given})
        assert answer.status_code == 201, answer.text
    assert [run.trace for run in await served.house.all(Run)] == [kept] * 3


async def test_lists_of_people_and_tokens_are_pages(served):
    """One entry a page, none twice, none left out; whoever else's they are, a page looks at so many at most."""
    for path in ("/api/tokens", "/api/users"):
        whole = (await served.ask("GET", path, "admin")).json()["items"]
        found: list[Any] = []
        after = ""
        while after is not None:
            query = {"limit": 1, **({"cursor": after} if after else {})}
            page = (await served.ask("GET", path, "admin", params=query)).json()
            found, after = found + page["items"], page["next"]
        assert [one["id"] for one in found] == [one["id"] for one in whole]
