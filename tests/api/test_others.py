from typing import Any

import pytest

from rota.api.stats import PROBE, Stats
from rota.domain.records import Blob
from rota.domain.run import End, Outcome
from rota.engine.sessions import enter, leave
from rota.engine.settle import settle
from rota.observe.metrics import Metrics
from rota.ports.desk import Settlement
from rota.ports.store import Change, Group
from rota.testing.clock import MovableClock
from rota.testing.factories import make_session
from tests.api.conftest import hold


async def test_health_needs_nobody(client):
    for path in ("/health", "/health/live", "/health/ready"):
        assert await client()("GET", path) == {"status": "ok"}


async def test_a_store_that_can_only_be_read_is_not_ready(client, engine):
    """As on a full disk."""
    writer, clock = engine.store.base.writer, MovableClock()
    engine.clock = clock
    assert await client()("GET", "/health/ready") == {"status": "ok"}
    # Room that the first look has left is room, too.
    await engine.commit_one(Group((Change(None, Blob("more", bytes(100_000))),)))
    pages = await writer.run(lambda: writer.first("PRAGMA max_page_count = 1"))
    clock.advance(6_000)
    await client()("GET", "/health/ready", 503)
    found = {one["text"] for one in (await client()("GET", "/api/system/doctor"))["items"] if one["level"] == "fail"}
    assert any("cannot grow, its disk is full" in text for text in found)
    metrics = Metrics()
    metrics.numbers = Stats(engine).gauges
    assert b"rota_store_up 0.0" in await metrics.text()
    await writer.run(lambda: writer.first(f"PRAGMA max_page_count = {pages + 100}"))
    clock.advance(6_000)
    assert await client()("GET", "/health/ready") == {"status": "ok"}
    assert (await engine.store.get(Blob, [PROBE])) == [None]


async def test_workers_are_listed_resized_and_drained(api, engine):
    await enter(engine, make_session(1, labels=("gpu",)))
    await enter(engine, make_session(2, worker="old"))
    await leave(engine, "session-2", "bye")
    (live,) = (await api("GET", "/api/workers"))["items"]
    assert (live["session"], live["state"], live["running"], live["labels"]) == ("session-1", "open", 0, ["gpu"])
    (old,) = (await api("GET", "/api/workers?state=closed"))["items"]
    assert (old["worker"], old["state"], old["reason"]) == ("old", "closed", "bye")
    assert len((await api("GET", "/api/workers?state=all&limit=1"))["items"]) == 1
    assert len((await api("GET", "/api/workers?label=gpu&queue=default&worker=worker-1"))["items"]) == 1
    assert (await api("GET", "/api/workers?label=tpu"))["items"] == []
    assert (await api("PATCH", "/api/workers/worker-1", 200, {"slots": 3}))["slots"] == 3
    assert (await api("GET", "/api/workers/session-1"))["slots"] == 3
    assert (await api("PATCH", "/api/workers/worker-1", 200, {"labels": ["tpu", "ssd"]}))["labels"] == ["ssd", "tpu"]
    assert len((await api("GET", "/api/workers?label=tpu"))["items"]) == 1
    for labels in ("gpu", ["a b"], [1], [f"l{number}" for number in range(7)]):
        await api("PATCH", "/api/workers/worker-1", 422, {"labels": labels})
    await api("POST", "/api/tasks", 201, {"name": "needy", "requires": ["tpu"]})
    assert "no live worker" in (await api("POST", "/api/tasks/needy/trigger", 201))["warning"], "long silent"
    await engine.store.beat(["session-1"])
    assert (await api("POST", "/api/tasks/needy/trigger", 201))["warning"] == ""
    assert (await api("PATCH", "/api/workers/worker-1", 200, {"labels": []}))["labels"] == []
    assert "with labels tpu" in (await api("POST", "/api/tasks/needy/trigger", 201))["warning"]
    for slots in (0, -1, 10**9, "3", 1.5, True):
        await api("PATCH", "/api/workers/worker-1", 422, {"slots": slots})
    await api("PATCH", "/api/workers/worker-1", 422, {"lanes": ["x"]})
    assert (await api("DELETE", "/api/workers/worker-1", 202))["state"] == "draining"
    assert (await api("POST", "/api/workers/worker-1/drain", 202))["draining"]
    await api("POST", "/api/workers/session-2/drain", 409)
    await api("GET", "/api/workers/gone", 404)
    await enter(engine, make_session(3, worker="worker-1"))
    assert "session-3" in (await api("GET", "/api/workers/worker-1", 422))["detail"]


async def test_queues_are_paused_resumed_and_ordered(api):
    await api("POST", "/api/tasks", 201, {"name": "a", "queue": "q"})
    await api("POST", "/api/runs", 201, {"task": "a"})
    assert [(one["id"], one["pending"]) for one in (await api("GET", "/api/queues"))["items"]] == [
        ("default", 0),
        ("q", 1),
    ]
    for unchanged in ((await api("GET", "/api/queues"))["items"][0], await api("GET", "/api/queues/new")):
        assert (unchanged["updated_at"], unchanged["updated_at_ms"]) == (None, None)
    assert (await api("POST", "/api/queues/q/pause", 200, {"why": "deploy"}))["paused"] == "deploy"
    paused = await api("GET", "/api/queues/q")
    assert (paused["paused"], paused["updated_at"] is None) == ("deploy", False)
    assert (await api("POST", "/api/queues/q/resume"))["paused"] == ""
    assert (await api("PATCH", "/api/queues/q", 200, {"strict": True}))["strict"]
    assert (await api("GET", "/api/queues/new"))["dispatch"] == "pull"
    assert (await api("PATCH", "/api/queues/q", 200, {"dispatch": "least_load"}))["dispatch"] == "least_load"
    both = await api("PATCH", "/api/queues/q", 200, {"dispatch": "weighted", "strict": False})
    assert (both["dispatch"], both["strict"]) == ("weighted", False)
    for body in ({}, {"strict": 1}, {"strict": "yes"}, {"paused": ""}, {"dispatch": "best"}, {"dispatch": ""}):
        await api("PATCH", "/api/queues/q", 422, body)


async def test_stats_leave_out_workers_that_no_leader_has_found_dead_yet(api, engine):
    for number in (1, 2):
        await enter(engine, make_session(number))
    await engine.store.beat(["session-2"])
    told = await api("GET", "/api/system/stats")
    assert (told["workers"], told["slots"], [one["session"] for one in told["by_worker"]]) == (1, 10, ["session-2"])


async def test_stats_count_what_there_is_and_what_ended(api, engine):
    await api("POST", "/api/tasks", 201, {"name": "a", "executor": "own", "schedule": "@daily"})
    for _ in range(3):
        await api("POST", "/api/runs", 201, {"task": "a"})
    for one in await hold(engine, kind="own"):
        await settle(engine, [Settlement(one.record.fence, Outcome(End.SUCCESS), one)])
    await api("POST", "/api/runs", 201, {"task": "a"})
    await engine.store.beat(["session-1"])
    told: dict[str, Any] = {}
    for namespace in ("main", "*"):
        told = await api("GET", "/api/system/stats", params={"namespace": namespace})
        assert (told["tasks"], told["schedules"], told["workers"], told["slots"]) == (1, 1, 1, 10)
        assert (told["completed"], told["failed"], told["running"], told["runs"]) == (3, 0, 0, {"pending": 1})
    assert told["queues"] == {"main/default": 1}
    assert (await api("GET", "/api/system/stats?namespace=other"))["completed"] == 0
    for since in ("2020-01-01", "-1", "x", str(10**30)):
        await api("GET", "/api/system/stats", 422, params={"since": since})


@pytest.mark.parametrize("method", ["TRACE", "HEAD", "OPTIONS", "DELETE", "PATCH", "CONNECT", "FOO"])
async def test_methods_that_a_path_lacks_are_refused(api, method):
    answer = await api.http.request(method, "/api/tasks", headers={"X-HTTP-Method-Override": "GET"})
    assert answer.status_code == 405
    assert (await api.http.get("/api/tasks", headers={"X-HTTP-Method-Override": "DELETE"})).status_code == 200


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/api/tasks", "GET, POST"),
        ("/api/tasks/a", "DELETE, GET, PATCH, PUT"),
        ("/api/tasks/a/trigger", "POST"),
        ("/api/workers/w", "DELETE, GET, PATCH, PUT"),
        ("/api/system/stats", "GET"),
    ],
)
async def test_a_refused_method_is_told_all_that_there_are(api, path, methods):
    assert (await api.http.request("OPTIONS", path)).headers["allow"] == methods


async def test_paths_match_whole(api):
    for path in (
        "/api/tasks/",
        "/API/tasks",
        "/api//tasks",
        "/api/tasks;x",
        "/health/",
        "/docs",
        "/redoc",
        "/openapi.json",
    ):
        told = await api("GET", path, 404)
        assert "openapi.json" in told["detail"]
