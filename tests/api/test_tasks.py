import asyncio
from typing import Any

import pytest

from rota.domain.access import Grant
from rota.domain.errors import Unavailable
from rota.domain.run import Run
from rota.domain.schedule import Schedule
from rota.domain.task import Task
from rota.testing.faults import Fault, FaultyStore
from tests.api.conftest import ADMIN, SAMPLE


async def test_the_sample_of_the_user_works_as_it_is(api, engine):
    made = await api("POST", "/api/tasks", 201, SAMPLE)
    assert {name: made[name] for name in SAMPLE if name not in ("schedule", "executor")} == {
        name: SAMPLE[name] for name in SAMPLE if name not in ("schedule", "executor")
    }
    assert (made["id"], made["executor"], made["when"]) == ("nightly", "script", ["0 2 * * *"])
    assert "no live worker" in made["warning"]
    assert api.headers["location"] == "/api/tasks/nightly?namespace=main"
    shown = await api("GET", f"/api/tasks/{made['id']}")
    assert shown == made | {"warning": ""}
    assert shown["next_at"].endswith("T02:00:00.000Z")
    (held,) = await engine.store.get(Schedule, ["main/nightly"])
    assert held.record.task == "nightly"
    run = await api("POST", f"/api/tasks/{made['id']}/trigger", 201)
    assert (await api("GET", f"/api/runs/{run['id']}"))["cause"] == "trigger"
    changed = await api("PUT", f"/api/tasks/{made['id']}", 200, {**SAMPLE, "retry_count": 5, "schedule": "0 3 * * *"})
    assert (changed["retry_count"], changed["when"]) == (5, ["0 3 * * *"])
    assert (await api("PATCH", "/api/tasks/nightly", 200, {"timeout_seconds": 60}))["timeout_seconds"] == 60
    await api("DELETE", f"/api/tasks/{made['id']}", 204)
    assert "nightly" in (await api("GET", "/api/tasks/nightly", 404))["detail"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "a b"}, "name"),
        ({"name": "x" * 1_000_000}, "name"),
        ({"name": "\0"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "../../etc"}, "name"),
        ({"name": "nіghtly"}, "name"),
        ({"priority": "soon"}, "priority"),
        ({"priority": 4}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": 10**400}, "priority"),
        ({"retry_count": "3"}, "retry_count"),
        ({"retry_count": -1}, "retry_count"),
        ({"retry_count": 10**9}, "retry_count"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"timeout_seconds": -1}, "timeout_seconds"),
        ({"timeout_seconds": 1e300}, "timeout_seconds"),
        ({"schedule": "61 * * * *"}, "schedule"),
        ({"schedule": "0 0 30 2 *"}, "schedule"),
        ({"schedule": "* " * 50_000}, "schedule"),
        ({"schedule": "*/999999999 * * * *"}, "schedule"),
        ({"schedule": "*/0 * * * *"}, "schedule"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"executor": "shell", "command": ""}, "command"),
        ({"description": "\0"}, "description"),
        ({"requires": ["a b"]}, "requires.0"),
        ({"params": [1]}, "params"),
        ({"role": "admin"}, "role"),
        ({"owner": "code"}, "owner"),
        ({"state": "success"}, "state"),
        ({"created_at": 1}, "created_at"),
        ({"revision": 9}, "revision"),
        ({"retry": {"retries": 1}}, "retry_count"),
        ({"clocks": {"attempt_ms": 1}}, "timeout_seconds"),
        ({"on_lost": "explode"}, "on_lost"),
        ({"name": None}, "name"),
    ],
)
async def test_what_cannot_be_is_refused_with_its_field_and_changes_nothing(api, engine, change, field):
    problem = await api("POST", "/api/tasks", 422, {**SAMPLE, **change})
    assert [one["field"] for one in problem["errors"]] == [field]
    assert (await engine.store.find(Task)).items == ()
    assert (await engine.store.find(Schedule)).items == ()


async def test_what_is_unknown_or_missing_is_said_in_words_that_help(api):
    errors = (await api("POST", "/api/tasks", 422, {"nam": "nightly"}))["errors"]
    assert {one["field"]: one["message"] for one in errors} == {
        "name": "is missing",
        "nam": "is unknown here; did you mean 'name'?",
    }


@pytest.mark.parametrize(
    ("path", "body", "field", "message"),
    [
        ("/api/tasks", {"name": "a", "retry": {"retris": 1}}, "retry.retris", "did you mean 'retries'?"),
        ("/api/tasks", {"name": "a", "x" * 300_000: 1}, "x" * 300_000, "known are retry_count, "),
        ("/api/runs/bulk", {"runs": [{"task": "a", "paylod": 1}]}, "runs.0.paylod", "did you mean 'payload'?"),
        ("/api/runs/cancel", {"where": {"states": ["failed"]}}, "where.states", "did you mean 'state'?"),
        ("/api/worker/register", {"url": "http://a", "slot": 1}, "slot", "did you mean 'slots'?"),
    ],
)
async def test_what_is_unknown_is_told_what_was_probably_meant(client, path, body, field, message):
    problem = await client(*ADMIN, Grant("worker", "*"))("POST", path, 422, body)
    said = {one["field"]: one["message"] for one in problem["errors"]}[field]
    assert said.startswith(f"is unknown here; {message}")
    assert len(said) < 400


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/api/runs/bulk", {"runs": [{"task": "a"}, {"task": "a", "delay_seconds": 1, "due_at": 5}]}, "delay_seconds"),
        ("/api/runs/bulk", {"runs": [{"task": "a"}, {"task": "a", "unique": " "}]}, "unique"),
        (
            "/api/runs/bulk",
            {"runs": [{"task": "a"}, {"task": "a", "retry_count": 1, "retry": {"retries": 2}}]},
            "retry_count",
        ),
        ("/api/runs/bulk", {"runs": [{"task": "a"}, {f"x{number}": 1 for number in range(99)}]}, "x0"),
    ],
)
async def test_of_many_the_one_that_is_wrong_is_named(api, path, body, field):
    assert [one["field"] for one in (await api("POST", path, 422, body))["errors"]] == [f"runs.1.{field}"]


async def test_a_zone_without_a_schedule_is_refused_as_it_would_change_nothing(api):
    await api("POST", "/api/tasks", 201, SAMPLE)
    for method, path, body in (("POST", "/api/tasks", {"name": "a"}), ("PATCH", "/api/tasks/nightly", {})):
        problem = await api(method, path, 422, {**body, "timezone": "Europe/Berlin"})
        assert [one["field"] for one in problem["errors"]] == ["timezone"]
    changed = await api("PATCH", "/api/tasks/nightly", 200, {"schedule": "0 2 * * *", "timezone": "Europe/Berlin"})
    assert changed["when"] == ["0 2 * * * (Europe/Berlin)"]


async def test_a_change_that_cannot_be_whole_changes_nothing(api, engine, monkeypatch):
    monkeypatch.setattr("rota.engine.define.SCHEDULE_LIMIT", 1)
    await api("POST", "/api/tasks", 201, {"name": "a"})
    await api("POST", "/api/schedules", 201, {"task": "a", "name": "b", "schedule": "@daily"})
    problem = await api("PATCH", "/api/tasks/a", 409, {"description": "changed", "schedule": "@hourly"})
    assert "has 1 schedules, the most there can be" in problem["detail"]
    assert (await api("GET", "/api/tasks/a"))["description"] == ""


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"{", 400),
        (b"[" * 100_000, 400),
        (b'{"name": "a", "name": "b"}', 400),
        (b'{"name": "a", "payload": NaN}', 400),
        (b'{"name": "a", "payload": 1e400}', 400),
        (b'{"name": "a", "payload": ' + b"9" * 10_000 + b"}", 400),
        (b'{"name": "a", "payload": "\\ud800"}', 422),
        (b'{"name": "\xff"}', 400),
        (b'"nightly"', 422),
        (b"", 422),
        (b"null", 422),
    ],
)
async def test_json_that_readers_may_differ_about_is_refused(api, engine, text, status):
    await api("POST", "/api/tasks", status, text)
    assert (await engine.store.find(Task)).items == ()


async def test_only_json_is_read(api):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        await api("POST", "/api/tasks", 415, b'{"name": "a"}', headers={"content-type": kind})
    await api("POST", "/api/tasks", 201, b'{"name": "a"}', headers={"content-type": "application/json; charset=utf-8"})


async def test_numbers_beyond_all_machines_come_back_as_they_were(api):
    await api("POST", "/api/tasks", 201, {"name": "a", "payload": {"n": 10**400}})
    assert (await api("GET", "/api/tasks/a"))["payload"] == {"n": 10**400}


async def test_unknown_and_doubled_parameters_are_refused(api):
    assert (await api("GET", "/api/tasks?offset=1", 422))["errors"][0]["field"] == "offset"
    assert (await api("GET", "/api/tasks?limit=1&limit=2", 422))["errors"][0]["field"] == "limit"
    for limit in ("1000000000", "0", "-1", "x", "1e3", "9" * 100):
        assert (await api("GET", f"/api/tasks?limit={limit}", 422))["errors"][0]["field"] == "limit"
    await api("GET", "/api/tasks/a%2F..%2Fb", 404)
    await api("GET", "/api/tasks/..%5Cb", 422)


async def test_an_editor_who_read_an_older_task_is_stopped(api):
    await api("POST", "/api/tasks", 201, {"name": "a"})
    tag = api.headers["etag"]
    await api("PATCH", "/api/tasks/a", 200, {"queue": "b"}, headers={"If-Match": tag})
    newer = api.headers["etag"]
    assert newer != tag
    for method, body in (("PATCH", {"queue": "c"}), ("PUT", {}), ("DELETE", None)):
        await api(method, "/api/tasks/a", 412, body, headers={"If-Match": tag})
    await api("PATCH", "/api/tasks/a", 200, {"queue": "b"}, headers={"If-Match": f'"x", {newer}'})
    await api("PUT", "/api/tasks/a", 200, {}, headers={"If-Match": "*"})
    assert (await api("GET", "/api/tasks/a"))["queue"] == "default"


async def test_a_patch_leaves_what_it_does_not_name_and_a_put_does_not(api):
    await api("POST", "/api/tasks", 201, {**SAMPLE, "queue": "slow", "retry": {"delay_ms": 5}})
    patched = await api("PATCH", "/api/tasks/nightly", 200, {"clocks": {"total_ms": 9}, "payload": None})
    assert (patched["queue"], patched["retry"]["delay_ms"], patched["retry_count"]) == ("slow", 5, 3)
    assert (patched["clocks"]["total_ms"], patched["timeout_seconds"]) == (9, 3600)
    put = await api("PUT", "/api/tasks/nightly", 200, {"command": "other.py"})
    assert (put["queue"], put["retry_count"], put["clocks"]["total_ms"], put["when"]) == (
        "default", 0, None, ["0 2 * * *"],
    )  # fmt: skip
    assert (await api("PATCH", "/api/tasks/nightly", 200, {"schedule": None}))["schedules"] == []
    assert (await api("PATCH", "/api/tasks/nightly", 200, {"schedule": "every 5s"}))["when"] == ["every 5s"]
    assert (await api("PATCH", "/api/tasks/nightly", 422, {"name": "other"}))["errors"][0]["field"] == "name"


async def test_a_patched_schedule_keeps_its_clock(api):
    await api("POST", "/api/tasks", 201, {"name": "a", "schedule": "0 2 * * *", "timezone": "Asia/Tokyo"})
    assert (await api("PATCH", "/api/tasks/a", 200, {"schedule": "0 3 * * *"}))["when"] == ["0 3 * * * (Asia/Tokyo)"]
    patched = await api("PATCH", "/api/tasks/a", 200, {"schedule": "0 3 * * *", "timezone": "UTC"})
    assert patched["when"] == ["0 3 * * *"]
    problem = await api("PATCH", "/api/tasks/a", 422, {"timezone": "Asia/Tokyo"})
    assert problem["errors"][0]["field"] == "timezone"
    body = {"schedule": "0 4 * * *", "timezone": "Asia/Tokyo"}
    assert (await api("PUT", "/api/tasks/a", 200, body))["when"] == ["0 4 * * * (Asia/Tokyo)"]
    assert (await api("PUT", "/api/tasks/a", 200, {"schedule": "0 5 * * *"}))["when"] == ["0 5 * * *"]


async def test_a_task_that_is_made_is_not_said_to_be_none_though_the_store_is_away_then(api, engine):
    """Told to come back later, who asked would be told that the name is taken."""
    store = engine.store

    def fail() -> None:
        engine.store.down = True

    engine.store = FaultyStore(store, lambda _: Fault("away from now on", after=fail))
    problem = await api("POST", "/api/tasks", 503, {"name": "a", "schedule": "@daily"})
    assert problem["detail"].startswith("it may or may not have happened: look")
    engine.store = store
    assert (await api("GET", "/api/tasks/a"))["when"] == ["@daily"]


async def test_a_taken_name_is_refused(api):
    await api("POST", "/api/tasks", 201, {"name": "a"})
    await api("POST", "/api/tasks", 409, {"name": "a"})


async def test_a_key_gives_the_same_run_and_another_body_is_refused(api, engine):
    await api("POST", "/api/tasks", 201, {"name": "a"})
    key = {"Idempotency-Key": "k1"}
    first = await api("POST", "/api/tasks/a/trigger", 201, {"payload": 1}, headers=key)
    again = await api("POST", "/api/tasks/a/trigger", 200, {"payload": 1}, headers=key)
    assert (again["id"], again["created"]) == (first["id"], False)
    assert "another body" in (await api("POST", "/api/tasks/a/trigger", 409, {"payload": 2}, headers=key))["detail"]
    await api("POST", "/api/tasks/a/trigger", 422, headers={"Idempotency-Key": " "})
    assert len((await engine.store.find(Run)).items) == 1


async def test_many_at_once_each_have_their_answer(api, engine):
    for name in ("a", "b"):
        await api("POST", "/api/tasks", 201, {"name": name})
    done = await api("POST", "/api/tasks/trigger", 200, {"ids": ["a", "gone", "b", "a"]})
    assert [(one["id"], one["status"]) for one in done["items"]] == [("a", 201), ("gone", 404), ("b", 201)]
    assert len((await engine.store.find(Run)).items) == 2
    done = await api("POST", "/api/tasks/delete", 200, {"ids": ["b", "gone"]})
    assert [one["status"] for one in done["items"]] == [204, 404]
    await api("POST", "/api/tasks/delete", 422, {"ids": ["a"] * 1_001})
    await api("POST", "/api/tasks/delete", 422, {"ids": []})
    assert [one["name"] for one in (await api("GET", "/api/tasks"))["items"]] == ["a"]


async def test_tasks_are_listed_in_pages_and_searched(api):
    for number in range(7):
        await api("POST", "/api/tasks", 201, {"name": f"t{number}", "description": f"Report {number}"})
    seen, cursor = [], ""
    while cursor is not None:
        page = await api("GET", "/api/tasks", params={"limit": 3, "cursor": cursor})
        seen += [one["name"] for one in page["items"]]
        cursor = page["next"]
    assert sorted(seen) == [f"t{number}" for number in range(7)]
    found = await api("GET", "/api/tasks?search=rEPORT%205&schedules=true")
    assert [(one["name"], one["schedules"]) for one in found["items"]] == [("t5", [])]
    assert (await api("GET", "/api/tasks?search=%25"))["items"] == []
    await api("PATCH", "/api/tasks/t3", 200, {"task_type": "batch"})
    assert [one["name"] for one in (await api("GET", "/api/tasks?task_type=batch"))["items"]] == ["t3"]
    assert (await api("GET", "/api/tasks?namespace=other"))["items"] == []


async def test_tasks_are_paused_resumed_and_reset(api):
    await api("POST", "/api/tasks", 201, SAMPLE)
    assert (await api("POST", "/api/tasks/nightly/pause", 200, {"why": "holiday"}))["next_at"] is None
    assert (await api("GET", "/api/schedules/nightly"))["paused"] == "holiday"
    assert (await api("POST", "/api/tasks/nightly/resume"))["next_at"]
    await api("POST", "/api/tasks/nightly/reset")
    await api("POST", "/api/tasks", 201, {"name": "bare"})
    assert "no schedule" in (await api("POST", "/api/tasks/bare/pause", 409))["detail"]


async def test_many_at_once_tell_nothing_of_a_store_in_trouble(api, engine, monkeypatch):
    await api("POST", "/api/tasks", 201, {"name": "a"})

    async def away(*_: Any) -> None:
        raise Unavailable("host db-7 does not answer")

    monkeypatch.setattr(engine.store, "commit", away)
    (told,) = (await api("POST", "/api/tasks/delete", 200, {"ids": ["a"]}))["items"]
    assert (told["status"], told["error"]) == (503, "the store cannot serve now; try again")


async def test_a_zone_is_refused_beside_elapsed_time_and_its_default_is_none(api):
    await api("POST", "/api/tasks", 201, {"name": "a", "schedule": "every 1m"})
    await api("PUT", "/api/tasks/a", 200, {"schedule": "every 2m"})
    for method, path in (("POST", "/api/tasks"), ("PATCH", "/api/tasks/a"), ("PUT", "/api/tasks/a")):
        name = {"name": "b"} if method == "POST" else {}
        problem = await api(method, path, 422, {**name, "schedule": "every 3m", "timezone": "UTC"})
        assert [one["field"] for one in problem["errors"]] == ["timezone"]
    await api("POST", "/api/tasks", 201, {"name": "b", "schedule": ["every 1m", "@daily"], "timezone": "Asia/Tokyo"})


async def test_who_change_different_members_at_once_all_have_their_way(api):
    await api("POST", "/api/tasks", 201, {"name": "a"})
    await asyncio.gather(
        api("PATCH", "/api/tasks/a", 200, {"timeout_seconds": 5}),
        api("PATCH", "/api/tasks/a", 200, {"clocks": {"total_ms": 60_000}}),
        api("PATCH", "/api/tasks/a", 200, {"retry_count": 7}),
        api("PATCH", "/api/tasks/a", 200, {"retry": {"delay_ms": 20}}),
    )
    after = await api("GET", "/api/tasks/a")
    assert (after["clocks"]["attempt_ms"], after["clocks"]["total_ms"]) == (5_000, 60_000)
    assert (after["retry"]["retries"], after["retry"]["delay_ms"]) == (7, 20)
