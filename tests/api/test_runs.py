import pytest

from rota.api.schemas.views import AttemptView
from rota.domain.run import End, Outcome, Reason, Run
from rota.engine.settle import settle
from rota.ports.desk import Settlement
from rota.ports.store import Line
from rota.testing.clock import MovableClock
from rota.testing.faults import Fault, FaultyStore
from tests.api.conftest import hold


@pytest.fixture
async def task(api):
    await api("POST", "/api/tasks", 201, {"name": "a", "executor": "own"})
    return "a"


async def finish(engine, end=End.SUCCESS, **fields):
    """End whatever is ready."""
    held = await hold(engine, kind="own", number=len((await engine.store.find(Run)).items))
    await settle(engine, [Settlement(one.record.fence, Outcome(end, **fields), one) for one in held])


async def listed(api, path):
    found, cursor = [], ""
    while cursor is not None:
        page = await api("GET", path, params={"cursor": cursor})
        found += page["items"]
        cursor = page["next"]
    return found


async def test_a_trigger_warns_of_what_is_seen_to_hinder_it(api, engine, task):
    """In the words of explain; of what is over or under way there is nothing to warn of."""
    engine.clock = clock = MovableClock()
    first = (await api("POST", "/api/tasks/a/trigger", 201, {"unique": "u"}))["id"]
    (held,) = await hold(engine, kind="own")
    assert (await api("POST", "/api/tasks/a/trigger", 200, {"unique": "u"}))["warning"] == ""
    assert (await api("POST", "/api/tasks/a/trigger", 201))["warning"] == ""
    lacking = Outcome(End.RETURNED, reason=Reason.NO_HANDLER, error="no handler 'a' in its app; it has b")
    await settle(engine, [Settlement(held.record.fence, lacking, held)])
    clock.advance(1_000)
    for path, body in (("/api/tasks/a/trigger", None), ("/api/runs", {"task": "a"})):
        made = await api("POST", path, 201, body)
        assert made["warning"] == (
            "no live worker of queue default (worker-1) can run task a: no handler 'a' in its app; it has b"
        )
        story = (await api("GET", f"/api/runs/{made['id']}/explain"))["story"]
        assert story[-1] == f"it waits: {made['warning']}"
    assert (await api("POST", "/api/tasks/a/trigger", 200, {"unique": "u"}))["id"] == first
    assert (await api("POST", "/api/tasks/a/trigger", 201, {"queue": "q"}))["warning"].startswith(
        "no live worker takes"
    )
    await api("POST", "/api/queues/default/pause", 200, {"why": "stock-taking"})
    assert (await api("POST", "/api/tasks/a/trigger", 201))["warning"].endswith("stock-taking")


@pytest.mark.parametrize(("path", "body"), [("/api/tasks/a/trigger", None), ("/api/runs", {"task": "a"})])
async def test_a_run_that_is_made_is_told_though_the_store_is_away_then(api, engine, task, path, body):
    """Told to come back later, who asked would make another one."""
    store = engine.store

    def fail() -> None:
        engine.store.down = True

    engine.store = FaultyStore(store, lambda _: Fault("away from now on", after=fail))
    made = await api("POST", path, 201, body)
    engine.store = store
    assert (await api("GET", f"/api/runs/{made['id']}"))["state"] == "pending"


async def test_the_shortest_timeout_is_not_taken_for_none(api, task):
    for seconds, ms in (0.000_1, 1), (0.4, 400), (0, None):
        made = await api("POST", "/api/runs", 201, {"task": task, "timeout_seconds": seconds})
        assert (await api("GET", f"/api/runs/{made['id']}"))["timeout_ms"] == ms


async def test_a_run_is_submitted_shown_and_explained(api, engine, task):
    order = {"task": task, "payload": {"x": [1, None, "中"]}, "priority": "urgent", "timeout_seconds": 0, "unique": "u"}
    made = await api("POST", "/api/runs", 201, order)
    assert made["created"]
    assert "no live worker" in made["warning"]
    assert (await api("POST", "/api/runs", 200, order))["id"] == made["id"]
    run = await api("GET", f"/api/runs/{made['id']}")
    assert (run["payload"], run["priority"], run["timeout_ms"], run["state"]) == (
        order["payload"], "urgent", None, "pending",
    )  # fmt: skip
    story = (await api("GET", f"/api/runs/{made['id']}/explain"))["story"]
    assert "submitted by user:anna" in story[0] or "triggered by user:anna" in story[0]
    (row,) = (await api("GET", "/api/runs"))["items"]
    assert row == {key: one for key, one in run.items() if key not in ("payload", "result", "history")}
    await finish(engine, result=b'{"y": 2}')
    run = await api("GET", f"/api/runs/{made['id']}")
    assert (run["state"], run["result"]) == ("success", {"y": 2})
    (attempt,) = (await api("GET", f"/api/runs/{made['id']}/attempts"))["items"]
    assert (attempt["number"], attempt["worker"], attempt["reason"]) == (1, run["worker"], "done")
    assert set(attempt) == set(AttemptView.model_fields)
    for name in ("claimed_at", "claimed_at_ms", "started_at", "started_at_ms", "ended_at", "ended_at_ms"):
        assert attempt[name] == run[name], name


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"task": "gone"}, 404, None),
        ({"due_at": "soon"}, 422, "due_at"),
        ({"due_at": "0000-01-01T00:00"}, 422, "due_at"),
        ({"due_at": 10**18}, 422, "due_at"),
        ({"due_at": "2030-01-01", "delay_seconds": 1}, 422, "delay_seconds"),
        ({"delay_seconds": float(10**12)}, 422, "delay_seconds"),
        ({"queue": ""}, 422, "queue"),
        ({"unique": ""}, 422, "unique"),
        ({"unique": "\0"}, 422, "unique"),
        ({"payload": "x" * 300_000}, 413, "payload"),
        ({"attempt": 3}, 422, "attempt"),
        ({"fence": "x"}, 422, "fence"),
        ({"actor": "user:root"}, 422, "actor"),
    ],
)
async def test_an_order_that_cannot_be_names_its_field(api, engine, task, change, status, field):
    problem = await api("POST", "/api/runs", status, {"task": task, **change})
    assert [one["field"] for one in problem["errors"]] == ([field] if field else [])
    assert (await engine.store.find(Run)).items == ()


async def test_many_runs_are_submitted_all_or_none(api, engine, task):
    key = {"Idempotency-Key": "bulk"}
    body = {"runs": [{"task": task, "payload": number} for number in range(50)]}
    first = await api("POST", "/api/runs/bulk", 201, body, headers=key)
    assert await api("POST", "/api/runs/bulk", 201, body, headers=key) != first
    again = await api("POST", "/api/runs/bulk", 201, body, headers=key)
    assert [one["id"] for one in again["items"]] == [one["id"] for one in first["items"]]
    assert not any(one["created"] for one in again["items"])
    bad = {"runs": [{"task": task}, {"task": task, "queue": "a b"}]}
    assert (await api("POST", "/api/runs/bulk", 422, bad))["errors"][0]["field"] == "runs.1.queue"
    await api("POST", "/api/runs/bulk", 422, {"runs": [{"task": task}] * 1_001})
    assert len(await listed(api, "/api/runs?limit=20")) == 50


async def test_runs_are_filtered_and_paged(api, engine, task):
    await api("POST", "/api/tasks", 201, {"name": "b", "executor": "own", "queue": "other", "retry_count": 0})
    for name in ("a", "b", "a"):
        await api("POST", "/api/runs", 201, {"task": name})
    ids = [run["id"] for run in await listed(api, "/api/runs?limit=1")]
    assert ids == sorted(ids, reverse=True)
    assert {run["task"] for run in await listed(api, "/api/runs?queue=other")} == {"b"}
    await finish(engine, End.FAILURE, reason="error", error="100% boom", final=True)
    assert len(await listed(api, "/api/runs?state=failed&state=cancelled")) == 2
    assert len(await listed(api, "/api/runs?search=100%25%20BOOM&limit=1")) == 2
    assert await listed(api, "/api/runs?search=boom%25") == []
    worker = (await listed(api, "/api/runs?state=failed"))[0]["worker"]
    assert len(await listed(api, f"/api/runs?worker={worker}")) == 2
    assert len(await listed(api, f"/api/runs?prefix={ids[0]}")) == 1
    born = (await listed(api, "/api/runs?limit=1"))[-1]["created_at"]
    assert len(await listed(api, f"/api/runs?since={born}")) == 3
    assert await listed(api, f"/api/runs?until={born}") == []


async def test_an_instant_that_cannot_be_read_names_a_form_that_can(api):
    (error,) = (await api("GET", "/api/runs?since=1h", 422))["errors"]
    assert error["field"] == "since"
    form = error["message"].partition('write it as in "')[2].rstrip('"')
    assert await listed(api, f"/api/runs?since={form}") == []


@pytest.mark.parametrize(
    ("method", "path", "body", "field", "said"),
    [
        ("GET", "/api/runs/123", None, "run", "an id has 32 hex digits"),
        ("GET", "/api/runs?prefix=x", None, "prefix", "a part of an id has up to 32 hex digits"),
        ("POST", "/api/runs", [], "", "the body should be an object"),
        ("POST", "/api/runs/bulk", {"runs": [1]}, "runs.0", "should be an object"),
        ("POST", "/api/runs", None, "", "the body is missing"),
        ("POST", "/api/runs", {}, "task", "is missing"),
    ],
)
async def test_what_is_wrong_is_said_in_words_of_the_api(api, method, path, body, field, said):
    problem = await api(method, path, 422, body)
    assert problem["errors"] == [{"field": field, "message": said}]
    assert problem["detail"] == (f"{field}: {said}" if field else said)


@pytest.mark.parametrize("sql", ["'; DROP TABLE runs; --", "' OR 1=1 --", "%", "_", "\\", '"', "\x00"])
async def test_filters_hold_no_sql(api, engine, task, sql):
    await api("POST", "/api/runs", 201, {"task": task})
    for name in ("task", "queue", "prefix", "cursor", "since", "namespace", "state"):
        known = sql == "_" and name in ("task", "queue", "namespace")
        await api("GET", "/api/runs", 200 if known else 422, params={name: sql})
    want = 422 if sql == "\x00" else 200
    for name in ("search", "worker", "session"):
        found = await api("GET", "/api/runs", want, params={name: sql})
        assert want == 422 or found["items"] == []
    assert len((await engine.store.find(Run)).items) == 1


async def test_a_cursor_is_good_for_its_own_listing_only(api, task):
    for _ in range(4):
        await api("POST", "/api/runs", 201, {"task": task})
    cursor = (await api("GET", "/api/runs?limit=1"))["next"]
    assert len((await api("GET", f"/api/runs?limit=3&cursor={cursor}"))["items"]) == 3
    flipped = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")
    for other in (flipped, cursor[1:], "W10", "x", "€", "=", "A" * 1_000):
        assert (await api("GET", "/api/runs", 422, params={"cursor": other}))["errors"][0]["field"] == "cursor"
    for path in ("/api/runs?state=failed", "/api/runs?namespace=other", "/api/tasks", "/api/system/logs"):
        await api("GET", path, 422, params={"cursor": cursor})


async def test_runs_are_cancelled_and_retried(api, engine, task):
    runs = [(await api("POST", "/api/runs", 201, {"task": task}))["id"] for _ in range(3)]
    assert await api("POST", f"/api/runs/{runs[0]}/cancel") == {"id": runs[0], "state": "cancelled"}
    await api("POST", f"/api/runs/{runs[1]}/retry", 409)
    again = await api("POST", f"/api/runs/{runs[0]}/retry", 201)
    assert (await api("GET", f"/api/runs/{again['id']}"))["origin"] == runs[0]
    gone = "0" * 32
    done = await api("POST", "/api/runs/cancel", 200, {"ids": [runs[1], gone]})
    assert [(one["status"], one["state"]) for one in done["items"]] == [(200, "cancelled"), (404, None)]
    done = await api("POST", "/api/runs/cancel", 200, {"where": {"task": task, "limit": 1}})
    assert len(done["items"]) == 1
    where = {"task": task, "limit": 1, "cursor": done["next"]}
    assert len((await api("POST", "/api/runs/cancel", 200, {"where": where}))["items"]) == 1
    assert {run["state"] for run in await listed(api, "/api/runs")} == {"cancelled"}
    retried = await api("POST", "/api/runs/retry", 200, {"where": {"state": ["cancelled"]}})
    assert [one["status"] for one in retried["items"]] == [201] * 4
    for body in ({}, {"ids": [gone], "where": {}}, {"ids": ["../x"]}, {"where": {"evil": 1}}):
        await api("POST", "/api/runs/cancel", 422, body)


async def test_a_key_gives_one_retry_and_one_trigger_of_each_of_many(api, task):
    await api("POST", "/api/tasks", 201, {"name": "b", "executor": "own"})
    runs = [(await api("POST", "/api/runs", 201, {"task": name}))["id"] for name in ("a", "a", "b")]
    await api("POST", "/api/runs/cancel", 200, {"ids": runs})
    key = {"Idempotency-Key": "once"}

    async def ids(path, body):
        return [one["state"] for one in (await api("POST", path, 200, body, headers=key))["items"]]

    again = [(await api("POST", f"/api/runs/{runs[0]}/retry", 201, headers=key))["id"] for _ in range(2)]
    many = [await ids("/api/runs/retry", {"ids": runs}) for _ in range(2)]
    triggered = [await ids("/api/tasks/trigger", {"ids": ["a", "b"]}) for _ in range(2)]
    assert again[0] == again[1] == many[0][0]
    assert (many[0], triggered[0]) == (many[1], triggered[1])
    assert len({*many[0], *triggered[0]}) == 5 == len(await listed(api, "/api/runs")) - len(runs)
    assert (await api("POST", f"/api/runs/{runs[0]}/retry", 201))["id"] not in many[0]


@pytest.mark.parametrize("text", ["grösse", "привет", "λόγος", "100%"])
async def test_lines_are_found_in_small_and_capital_letters_of_all_alphabets(api, engine, task, text):
    run = (await api("POST", "/api/runs", 201, {"task": task}))["id"]
    await engine.logs.append([Line(run, 1, 1, "stdout", "info", one) for one in (text, text.upper(), "nothing")])
    for search in (text, text.upper()):
        for path in ("/api/system/logs", f"/api/runs/{run}/logs"):
            found = (await api("GET", path, params={"search": search}))["items"]
            assert {line["text"] for line in found} == {text, text.upper()}


async def test_lines_are_read_on_and_searched(api, engine, task):
    made = await api("POST", "/api/runs", 201, {"task": task})
    (held,) = await hold(engine, kind="own")
    lines = [
        Line(made["id"], 1, held.record.claimed_at + place, "stdout", "info", f"Line {place}") for place in range(5)
    ]
    await engine.logs.append([*lines, Line(made["id"], 1, 1, "log", "error", "{{7*7}} <b>%s")])
    path = f"/api/runs/{made['id']}/logs"
    page = await api("GET", f"{path}?limit=4")
    assert [line["text"] for line in page["items"]] == [line.text for line in lines[:4]]
    assert not page["over"]
    rest = await api("GET", path, params={"cursor": page["next"]})
    assert [line["text"] for line in rest["items"]] == ["Line 4", "{{7*7}} <b>%s"]
    await api("GET", path, 422, params={"cursor": "1"})
    found = await api("GET", "/api/system/logs?search=lINE&limit=2")
    assert [line["text"] for line in found["items"]] == ["Line 4", "Line 3"]
    further = await api("GET", "/api/system/logs?search=lINE&limit=2", params={"cursor": found["next"]})
    assert [line["text"] for line in further["items"]] == ["Line 2", "Line 1"]
    (boom,) = (await api("GET", f"/api/system/logs?level=error&task={task}&worker={held.record.worker}"))["items"]
    assert (boom["run"], boom["task"], boom["worker"]) == (made["id"], task, held.record.worker)
    assert (await api("GET", "/api/system/logs?task=other"))["items"] == []
    assert (await api("GET", "/api/system/logs?namespace=other"))["items"] == []


@pytest.mark.parametrize("name", ["..", "%2e%2e%2fx", "a", "A" * 32, "0" * 33, "0" * 31 + "%00", "%ff"])
async def test_ids_that_are_none_lead_nowhere(api, name):
    for path in ("", "/logs", "/explain", "/attempts"):
        answer = await api.http.get(f"http://rota/api/runs/{name}{path}")
        assert answer.status_code in (404, 422)
