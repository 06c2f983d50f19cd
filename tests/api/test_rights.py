import pytest

from rota.domain.access import Grant
from rota.engine.sessions import enter
from rota.ports.store import Line
from rota.testing.factories import make_session


@pytest.fixture
async def things(api, engine):
    """Tasks, schedules and runs of two queues and two namespaces."""
    for name, queue in (("mine", "q1"), ("other", "q2"), ("mine2", "q2")):
        await api("POST", "/api/tasks", 201, {"name": name, "queue": queue, "schedule": "@daily"})
    await api("POST", "/api/tasks?namespace=far", 201, {"name": "mine"})
    runs = {}
    for name in ("mine", "other", "mine2"):
        runs[name] = (await api("POST", "/api/runs", 201, {"task": name}))["id"]
    runs["far"] = (await api("POST", "/api/runs?namespace=far", 201, {"task": "mine"}))["id"]
    await enter(engine, make_session(1, queues=("q1",), lanes=("main/q1/python/",)))
    await enter(engine, make_session(2, queues=("q1", "q2"), lanes=("main/q1/python/", "main/q2/python/")))
    return runs


async def names(api, path, key="name"):
    return {one[key] for one in (await api("GET", path))["items"]}


async def test_a_grant_for_one_task_shows_and_opens_that_task_alone(client, things):
    mine = client(Grant("operator", "main", task="mine"))
    assert await names(mine, "/api/tasks") == {"mine"}
    assert await names(mine, "/api/schedules") == {"mine"}
    assert await names(mine, "/api/runs", "task") == {"mine"}
    assert await names(mine, "/api/queues") == set()
    assert await names(mine, "/api/workers", "session") == set()
    for path in ("tasks/other", "tasks/mine2", "schedules/other", f"runs/{things['other']}", f"runs/{things['far']}"):
        hidden = await mine("GET", f"/api/{path}", 404)
        assert hidden["detail"].startswith("no ")
    assert (await mine("GET", "/api/tasks?namespace=far"))["items"] == []
    await mine("POST", "/api/tasks/mine/trigger", 201)
    await mine("POST", "/api/tasks/other/trigger", 404)
    await mine("POST", f"/api/runs/{things['mine']}/cancel")
    for act in ("cancel", "retry"):
        await mine("POST", f"/api/runs/{things['other']}/{act}", 404)
        done = await mine("POST", f"/api/runs/{act}", 200, {"ids": [things["other"], things["far"]]})
        assert [one["status"] for one in done["items"]] == [404, 404]
        found = await mine("POST", f"/api/runs/{act}", 200, {"where": {"namespace": "far"}})
        assert found["items"] == []
    for path in ("logs", "explain", "attempts", "logs/stream"):
        await mine("GET", f"/api/runs/{things['other']}/{path}", 404)
    await mine("GET", "/api/system/stats", 403)
    await mine("PATCH", "/api/tasks/mine", 403, {"queue": "q2"})


async def test_what_is_hidden_reads_exactly_as_what_is_not_there(client, things):
    mine = client(Grant("developer", "main", task="mine"))
    for method, path in (("GET", "/api/tasks/{}"), ("DELETE", "/api/tasks/{}"), ("POST", "/api/tasks/{}/trigger")):
        hidden = await mine(method, path.format("other"), 404)
        absent = await mine(method, path.format("absent"), 404)
        assert hidden["detail"].replace("other", "absent") == absent["detail"]


async def test_a_grant_for_one_queue(client, things):
    mine = client(Grant("operator", "main", queue="q1"))
    assert await names(mine, "/api/tasks") == {"mine"}
    assert await names(mine, "/api/runs", "task") == {"mine"}
    assert await names(mine, "/api/queues") == {"q1"}
    assert await names(mine, "/api/workers", "session") == {"session-1", "session-2"}
    await mine("POST", "/api/queues/q1/pause")
    await mine("POST", "/api/queues/q2/pause", 404)
    await mine("POST", "/api/tasks/mine/trigger", 403, {"queue": "q2"})
    await mine("POST", "/api/workers/session-1/drain", 202)
    await mine("POST", "/api/workers/session-2/drain", 403)


async def test_a_developer_of_one_task_cannot_make_or_move_others(client, things):
    mine = client(Grant("developer", "main", task="mine"))
    await mine("POST", "/api/tasks", 403, {"name": "new"})
    await mine("POST", "/api/tasks?namespace=far", 403, {"name": "mine3"})
    await mine("PATCH", "/api/tasks/mine", 200, {"queue": "q2"})
    await mine("PATCH", "/api/schedules/mine", 403, {"task": "other"})
    await mine("POST", "/api/schedules", 403, {"task": "other", "name": "x", "schedule": "@daily"})
    await mine("PATCH", "/api/queues/q1", 404, {"strict": True})


@pytest.mark.parametrize(
    ("role", "read", "operate", "define"),
    [("viewer", 200, 403, 403), ("operator", 200, 201, 403), ("developer", 200, 201, 201), ("worker", 403, 403, 403)],
)
async def test_roles_open_what_they_say(client, things, role, read, operate, define):
    asked = client(Grant(role, "main"))
    await asked("GET", "/api/tasks", read)
    await asked("POST", "/api/tasks/mine/trigger", operate)
    await asked("POST", "/api/tasks", define, {"name": "new"})


async def test_lines_of_hidden_runs_are_not_found(client, things, engine):
    await engine.logs.append([Line(run, 1, 1, "stdout", "info", "secret") for run in things.values()])
    mine = client(Grant("viewer", "main", task="mine"))
    assert await names(mine, "/api/system/logs?search=secret", "run") == {things["mine"]}


async def test_all_namespaces_show_what_may_be_read_in_each(client, things):
    mine, far = Grant("viewer", "main", task="mine"), Grant("viewer", "far")
    assert await names(client(mine, far), "/api/runs?namespace=*", "id") == {things["mine"], things["far"]}
    assert await names(client(mine), "/api/runs?namespace=*", "id") == {things["mine"]}
    assert await names(client(), "/api/runs?namespace=*", "id") == set(things.values())
    end = things["far"][-10:]
    assert await names(client(far), f"/api/runs?namespace=*&suffix={end}", "id") == {things["far"]}
    assert await names(client(mine), f"/api/runs?namespace=*&suffix={end}", "id") == set()
    assert len(await names(client(Grant("viewer", "*")), "/api/workers?namespace=*", "session")) == 2


async def test_the_doctor_is_for_admins_of_all(client):
    found = (await client()("GET", "/api/system/doctor"))["items"]
    assert {"scheduler", "workers", "audit"} <= {one["check"] for one in found}
    await client(Grant("admin", "main"))("GET", "/api/system/doctor", 403)


async def test_a_search_tells_nothing_of_lines_that_may_not_be_read(client, things, engine):
    """Not even by how far it came: else they could be guessed letter by letter."""
    await engine.logs.append([Line(things["other"], 1, 1, "log", "error", "the code is 4711") for _ in range(20)])
    for grant in (Grant("viewer", "main", task="mine"), Grant("viewer", "far")):
        mine = client(grant)
        for one, other in (
            ("search=4711", "search=4712"),
            ("level=error", "level=info"),
            ("stream=log", "stream=stderr"),
        ):
            right, wrong = [await mine("GET", f"/api/system/logs?limit=1&{text}") for text in (one, other)]
            assert (right["items"], wrong["items"]) == ([], [])
            assert (right["next"] is None) == (wrong["next"] is None)
    everybody = client(Grant("viewer", "*"))
    assert len((await everybody("GET", "/api/system/logs?search=CODE&limit=9"))["items"]) == 9


async def test_who_may_see_one_queue_of_a_worker_may_look_at_it(client, things):
    mine = client(Grant("operator", "main", queue="q1"))
    assert (await mine("GET", "/api/workers/session-2"))["session"] == "session-2"
    await mine("PATCH", "/api/workers/session-2", 403, {"slots": 1})


async def test_credentials_in_a_task_are_in_no_audit(api):
    params = {"env": {"API_KEY": "swordfish"}}
    await api("POST", "/api/tasks", 201, {"name": "a", "executor": "shell", "command": "true", "params": params})
    params["env"]["API_KEY"] = "flounder"
    await api("PATCH", "/api/tasks/a", 200, {"params": params})
    await api("DELETE", "/api/tasks/a", 204)
    entries = await api("GET", "/api/audit")
    assert {one["action"] for one in entries["items"]} == {"create", "update", "delete"}
    assert "swordfish" not in repr(entries)
    assert "flounder" not in repr(entries)
    assert next(one["changed"] for one in entries["items"] if one["action"] == "update") == [
        "params", "revision", "updated_at",
    ]  # fmt: skip
