"""Who may reach, change or find out what: attacks 22 to 29 of the list, over a namespace of others."""

from typing import Any

import pytest

from rota.domain.access import ANY, Action
from rota.domain.people import Token
from rota.domain.records import Session
from rota.domain.run import Run
from tests.attacks.fuzzing import DOCUMENT, NEEDS
from tests.attacks.support import Platform

SAMPLES: dict[str, Any] = {
    "POST /api/tasks": {"name": "mine"},
    "PATCH /api/tasks/{name}": {"description": "x"},
    "PUT /api/tasks/{name}": {"description": "x"},
    "POST /api/tasks/trigger": {"ids": ["report"]},
    "POST /api/tasks/delete": {"ids": ["report"]},
    "POST /api/schedules": {"task": "report", "name": "mine", "schedule": "@daily"},
    "POST /api/schedules/preview": {"task": "report", "schedule": "@daily"},
    "PATCH /api/schedules/{name}": {"schedule": "@daily"},
    "PUT /api/schedules/{name}": {"schedule": "@daily"},
    "POST /api/schedules/pause": {"ids": ["report"]},
    "POST /api/schedules/resume": {"ids": ["report"]},
    "POST /api/schedules/delete": {"ids": ["report"]},
    "POST /api/runs": {"task": "report"},
    "POST /api/runs/bulk": {"runs": [{"task": "report"}]},
    "POST /api/runs/cancel": {"where": {}},
    "POST /api/runs/retry": {"where": {}},
    "PATCH /api/workers/{name}": {"slots": 1},
    "PUT /api/workers/{name}": {"slots": 1},
    "PATCH /api/queues/{name}": {"strict": True},
    "PUT /api/queues/{name}": {"strict": True},
    "POST /api/users": {"name": "mine", "grants": [{"role": "viewer"}]},
    "PATCH /api/users/{name}": {"disabled": True},
    "POST /api/tokens": {"name": "mine", "grants": [{"role": "viewer"}]},
    "POST /api/auth/login": {"name": "anna", "password": "wrong"},
    "POST /api/auth/link": {"code": "wrong"},
    "POST /api/auth/refresh": {"refresh_token": "wrong"},
    "POST /api/auth/password": {"current": "wrong", "new": "another lamp over water"},
}
"""A right body for each route that wants one."""
OTHERS = {"0" * 32, "0" * 16, "absent"}


def things(platform: Platform, namespace: str) -> dict[str, str]:
    """What there is of a namespace, by the kind of path."""
    runs = [one for one in platform.run(platform.house.all(Run)) if one.namespace == namespace]
    (session,) = [one for one in platform.run(platform.house.all(Session)) if one.lanes[0].startswith(f"{namespace}/")]
    tokens = [one for one in platform.run(platform.house.all(Token)) if one.name == "admin"]
    return {"tasks": "report", "schedules": "report", "queues": "default", "runs": runs[0].id, "workers": session.id,
            "tokens": tokens[0].id, "users": "anna"}  # fmt: skip


ABSENT = {"tasks": "absent", "schedules": "absent", "queues": "absent", "runs": "0" * 32, "workers": "absent",
          "tokens": "0" * 16, "users": "absent"}  # fmt: skip
NAMED = [label for label in NEEDS if "{" in label and "/users/" not in label]


def path_of(label: str, things: dict[str, str], namespace: str) -> tuple[str, str]:
    """Method and path of a route, about one of these things."""
    method, path = label.split(" ")
    kind = path.split("/")[2]
    filled = "/".join(things[kind] if part.startswith("{") else part for part in path.split("/"))
    return method, filled + (f"?namespace={namespace}" if kind in ("tasks", "schedules", "queues") else "")


@pytest.mark.parametrize("role", ["viewer", "operator", "developer"])
def test_what_others_have_reads_as_what_is_not_there(platform: Platform, role: str) -> None:
    """22, 23: read, edit, delete, log, trigger, cancel, retry, download: 404 in the same words, and nothing changes."""
    theirs, before = things(platform, "far"), platform.kept()
    for label in NAMED:
        body = SAMPLES.get(label)
        there = platform.say(role, *path_of(label, theirs, "far"), body)
        absent = platform.say(role, *path_of(label, ABSENT, "far"), body)
        said = there.body.decode()
        for name, none in zip(theirs.values(), ABSENT.values(), strict=True):
            said = said.replace(repr(name), repr(none))
        assert (there.status, said) == (absent.status, absent.body.decode()), label
        assert there.status in (403, 404), label
        assert there.status == 404 or NEEDS[label][0] is not Action.READ, label
    assert platform.kept() == before


@pytest.mark.parametrize("role", ["viewer", "operator", "developer"])
def test_bodies_reach_no_further_than_paths(platform: Platform, role: str) -> None:
    """23: the same things, named in bodies and filters."""
    theirs = things(platform, "far")
    bulk = {"ids": [theirs["runs"], "0" * 32]}
    for act in ("cancel", "retry"):
        told = platform.say(role, "POST", f"/api/runs/{act}", bulk)
        if told.status == 200:
            assert [(one["status"], one["error"].partition("'")[0]) for one in told.json["items"]] == [
                (404, "no run ")
            ] * 2
        for space in ("far", ANY):
            told = platform.say(role, "POST", f"/api/runs/{act}", {"where": {"namespace": space, "task": "report"}})
            assert told.status == 403 or theirs["runs"] not in told.body.decode()
    for path in ("tasks/trigger", "tasks/delete", "schedules/pause", "schedules/resume", "schedules/delete"):
        told = platform.say(role, "POST", f"/api/{path}?namespace=far", {"ids": ["report"]})
        assert told.status == 403 or [one["status"] for one in told.json["items"]] == [404]
    for label in ("POST /api/tasks", "POST /api/schedules", "POST /api/runs", "POST /api/runs/bulk"):
        told = platform.say(role, "POST", f"{label.split(' ')[1]}?namespace=far", SAMPLES[label])
        assert told.status in (403, 404)
    far = {one.state for one in platform.run(platform.house.all(Run)) if one.namespace == "far"}
    assert far == {"pending"}


@pytest.mark.parametrize("role", ["viewer", "operator", "developer"])
def test_no_side_door_leads_to_what_others_have(platform: Platform, role: str) -> None:
    """25: search, listings, numbers, metrics, events and the cursors of others tell nothing of another namespace."""
    theirs = things(platform, "far")
    secrets = [theirs["runs"], theirs["workers"], "of far", "far rests", '{"far"']
    for space in ("far", ANY):
        for path in ("tasks", "schedules", "runs", "workers", "queues", "system/logs?search=of", "system/stats"):
            told = platform.say(role, "GET", f"/api/{path}{'&' if '?' in path else '?'}namespace={space}")
            said = told.body.decode()
            assert [one for one in secrets if one in said] == [], path
            assert told.status in (403, 422) or space == ANY or told.json["items"] == [], path
    assert platform.say(role, "GET", "/metrics").status == 403
    assert b"far" not in platform.say(role, "GET", "/api/system/events").body
    assert platform.say(role, "GET", "/api/audit").status == 403
    page = platform.say("admin", "GET", "/api/runs?namespace=far&limit=1").json
    assert platform.say(role, "GET", f"/api/runs?namespace=far&limit=1&cursor={page['next']}").fields == ["cursor"]


EXTRA = ("role", "tenant_id", "owner", "state", "attempt", "fence", "created_at", "id", "revision", "namespace",
         "app", "overrides", "paused", "tries", "token", "is_admin", "__proto__")  # fmt: skip


def test_bodies_set_nothing_that_they_do_not_name(platform: Platform) -> None:
    """24: a member that is not theirs to set is refused by its name, on every route that takes a body."""
    before = platform.kept()
    theirs = things(platform, "main")
    for label, body in SAMPLES.items():
        known = properties(label)
        for extra in set(EXTRA) - known:
            told = platform.say("admin", *path_of(label, theirs, "main"), {**body, extra: 1})
            assert (told.status, told.fields) == (422, [extra]), label
    assert platform.kept() == before


def properties(label: str) -> set[str]:
    method, path = label.split(" ")
    schema = DOCUMENT["paths"][path][method.lower()]["requestBody"]["content"]["application/json"]["schema"]
    return set(DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"])


def test_every_body_has_a_sample_and_is_closed() -> None:
    """24: a new route with a body is attacked as well, or fails here."""
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            if operation.get("requestBody", {}).get("required") and "$ref" in content.get("schema", {}):
                assert f"{method.upper()} {path}" in SAMPLES
    models = DOCUMENT["components"]["schemas"]
    taken = {name for name in models if name.endswith(("New", "Change", "Body")) or name in ("Names", "RunsChosen")}
    assert len(taken) > 15
    assert {name for name in taken if models[name].get("additionalProperties") is not False} == set()


CANARY = "canary-7f3a"


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_who_may_not_define_a_task_does_not_see_its_secrets(platform: Platform, role: str) -> None:
    """26: headers and variables of a task are where its credentials are."""
    for name, executor, command, params in (
        ("web", "http", "https://example.org/", {"headers": {"Authorization": f"Bearer {CANARY}"}}),
        ("line", "shell", "true", {"env": {"API_KEY": CANARY}}),
        ("rpc", "grpc", "h:1/a.B/C", {"metadata": {"x-key": CANARY}}),
        ("own", "mine", "x", {"headers": [CANARY], "metadata": CANARY, "env": {"A": {"b": CANARY}}}),
    ):
        body = {"name": name, "executor": executor, "command": command, "params": params, "schedule": "@daily"}
        assert platform.say("admin", "POST", "/api/tasks", body).status == 201
        run = platform.say("operator", "POST", f"/api/tasks/{name}/trigger").json["id"]
        for path in (f"tasks/{name}", "tasks", f"runs/{run}", f"schedules/{name}", f"runs/{run}/explain", "runs"):
            assert CANARY not in platform.say(role, "GET", f"/api/{path}").body.decode(), path
        for act in ("pause", "resume"):
            assert CANARY not in platform.say(role, "POST", f"/api/tasks/{name}/{act}").body.decode()
        assert CANARY in platform.say("developer", "GET", f"/api/tasks/{name}").body.decode()


@pytest.mark.parametrize(
    "extra",
    [
        {"command": "id"}, {"executor": "shell"}, {"params": {"env": {"A": "b"}}}, {"env": {"A": "b"}}, {"image": "x"},
        {"url": "http://evil"}, {"headers": {"A": "b"}}, {"user": "root"}, {"isolation": "thread"}, {"requires": ["x"]},
    ],
)  # fmt: skip
def test_a_trigger_overrides_nothing_of_what_is_run(platform: Platform, extra: dict[str, Any]) -> None:
    """29: nobody can, at a trigger; who may define a task changes the task."""
    before = platform.kept()
    for role in ("viewer", "operator", "developer", "admin"):
        for path, body in (("tasks/report/trigger", extra), ("runs", {"task": "report", **extra})):
            told = platform.say(role, "POST", f"/api/{path}", body)
            assert told.status == (403 if role == "viewer" else 422), told
    assert platform.kept() == before
