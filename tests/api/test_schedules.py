import asyncio
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest

from rota.domain import zones
from rota.domain.schedule import Schedule


@pytest.fixture(autouse=True)
async def task(api):
    await api("POST", "/api/tasks", 201, {"name": "a"})


async def test_a_schedule_lives_its_life(api):
    body = {
        "task": "a",
        "name": "s",
        "schedule": "0 2 * * *",
        "timezone": "Europe/Berlin",
        "policy": {"overlap": "allow"},
    }
    made = await api("POST", "/api/schedules", 201, body)
    tag = api.headers["etag"]
    assert (made["id"], made["when"], made["policy"]["overlap"]) == ("s", "0 2 * * * (Europe/Berlin)", "allow")
    assert len(made["next_fires"]) == 3
    assert await api("GET", "/api/schedules/s") == made
    await api("POST", "/api/schedules", 409, body)
    changed = await api("PATCH", "/api/schedules/s", 200, {"schedule": "0 3 * * *"}, headers={"If-Match": tag})
    assert (changed["when"], changed["policy"]["overlap"]) == ("0 3 * * * (Europe/Berlin)", "allow")
    await api("PATCH", "/api/schedules/s", 412, {"schedule": "0 4 * * *"}, headers={"If-Match": tag})
    put = await api("PUT", "/api/schedules/s", 200, {"trigger": {"kind": "interval", "every_ms": 5_000}})
    assert (put["when"], put["policy"]["overlap"], put["task"]) == ("every 5s", "skip", "a")
    assert (await api("POST", "/api/schedules/s/pause", 200, {"why": "x"}))["state"] == "paused"
    assert [one["name"] for one in (await api("GET", "/api/schedules?state=paused"))["items"]] == ["s"]
    assert (await api("GET", "/api/schedules/s/explain"))["story"][0].endswith(": x")
    assert (await api("POST", "/api/schedules/s/resume", 200, {"catch_up": True}))["state"] == "on"
    assert len(await api("GET", "/api/schedules/s/next?count=5")) == 5
    await api("DELETE", "/api/schedules/s", 412, headers={"If-Match": tag})
    await api("DELETE", "/api/schedules/s", 204)
    await api("GET", "/api/schedules/s", 404)


async def test_one_whose_zone_this_machine_does_not_know_is_shown_and_can_be_given_another(api, monkeypatch):
    await api("POST", "/api/schedules", 201, {"task": "a", "schedule": "0 2 * * *", "timezone": "Europe/Berlin"})

    def nowhere(name: str) -> ZoneInfo:
        raise ZoneInfoNotFoundError(name)

    monkeypatch.setattr(zones, "ZoneInfo", nowhere)
    zones.zone.cache_clear()
    shown = await api("GET", "/api/schedules/a")
    assert (shown["when"], shown["next_fires"]) == ("0 2 * * * (Europe/Berlin)", [])
    assert len((await api("GET", "/api/schedules"))["items"]) == 1
    problem = await api("GET", "/api/schedules/a/next", 422)
    assert [one["field"] for one in problem["errors"]] == ["timezone"]
    changed = await api("PATCH", "/api/schedules/a", 200, {"timezone": "UTC"})
    assert (changed["when"], len(changed["next_fires"])) == ("0 2 * * *", 3)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"schedule": None}, "schedule"),
        ({"trigger": {"kind": "cron", "expression": "* * * * *"}}, "schedule"),
        ({"schedule": "at 2020-01-01T00:00"}, "schedule"),
        ({"schedule": "every 5s", "gap": "skip"}, "gap"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"gap": "fly"}, "gap"),
        ({"policy": {"max_runs": 0}}, "policy.max_runs"),
        ({"policy": {"window_ms": -1}}, "policy.window_ms"),
        ({"policy": {"overlap": "never"}}, "policy.overlap"),
        ({"next_at": 5}, "next_at"),
        ({"name": "a/b"}, "name"),
    ],
)
async def test_what_cannot_be_names_its_field(api, engine, change, field):
    problem = await api("POST", "/api/schedules", 422, {"task": "a", "schedule": "0 2 * * *", **change})
    assert [one["field"] for one in problem["errors"]] == [field]
    assert (await engine.store.find(Schedule)).items == ()


async def test_triggers_as_json_are_read_strictly(api):
    deep: dict[str, Any] = {"kind": "cron", "expression": "* * * * *"}
    for _ in range(50):
        deep = {"kind": "any_of", "triggers": [deep]}
    for trigger in (deep, {"kind": "os:system"}, {"kind": "__class__"}, {}, {"kind": "cron", "expression": 5}):
        problem = await api("POST", "/api/schedules", 422, {"task": "a", "trigger": trigger})
        assert problem["errors"][0]["field"] == "trigger"
    await api("POST", "/api/schedules", 404, {"task": "gone", "schedule": "@daily"})


async def test_a_preview_tells_fires_clock_changes_and_what_an_edit_changes(api, engine):
    body = {"schedule": "30 2 * * *", "timezone": "Europe/Berlin", "count": 3}
    told = await api("POST", "/api/schedules/preview", 200, body)
    assert [one["local"][11:16] for one in told["next"]] == ["02:30"] * 3
    notes = [one["note"] for one in told["clock_changes"]]
    assert len(notes) == 2
    assert any("forward" in note and "03:00:00+02:00 fires" in note for note in notes)
    assert any("back" in note and "does not fire" in note for note in notes)
    assert (told["added"], told["removed"], told["overlaps"]) == ([], [], "")
    assert (await api("POST", "/api/schedules/preview", 200, {"schedule": "0 12 * * *", "timezone": "Asia/Tokyo"}))[
        "clock_changes"
    ] == []
    await api("POST", "/api/schedules", 201, {"task": "a", "schedule": "0 * * * *"})
    told = await api("POST", "/api/schedules/preview", 200, {"name": "a", "schedule": "0 */2 * * *", "count": 4})
    assert told["added"] == []
    assert len(told["removed"]) in (1, 2)
    await api("POST", "/api/schedules/preview", 422, {"schedule": "at 2020-01-01"})
    await api("POST", "/api/schedules/preview", 404, {"name": "gone", "schedule": "@daily"})
    heavy = await api("POST", "/api/schedules/preview", 200, {"schedule": "* * * * * *", "timezone": "Europe/Berlin"})
    assert len(heavy["next"]) == 10
    (note,) = [one["note"] for one in heavy["clock_changes"]]
    assert note.endswith("02:00:02+01:00 fires and 3597 more")


async def test_a_preview_tells_of_what_fires_every_few_minutes(api):
    body = {"schedule": "*/5 * * * *", "timezone": "Europe/Berlin", "gap": "shift", "fold": "first"}
    notes = [one["note"] for one in (await api("POST", "/api/schedules/preview", 200, body))["clock_changes"]]
    assert len(notes) == 1  # after the gap it fires anyway
    assert "02:00:00+01:00 does not fire, " in notes[0]
    assert notes[0].endswith(" and 9 more")


async def test_many_are_paused_resumed_and_deleted(api):
    for name in ("x", "y"):
        await api("POST", "/api/schedules", 201, {"task": "a", "name": name, "schedule": "@daily"})
    ids = {"ids": ["x", "gone", "y"]}
    for act, status in (("pause", 200), ("resume", 200), ("delete", 204)):
        done = await api("POST", f"/api/schedules/{act}", 200, ids)
        assert [one["status"] for one in done["items"]] == [status, 404, status]
    assert (await api("GET", "/api/schedules"))["items"] == []


async def test_new_cron_text_keeps_the_rules_for_clock_changes(api):
    body = {"task": "a", "schedule": "0 2 * * *", "timezone": "Europe/Berlin", "gap": "skip", "fold": "both"}
    made = await api("POST", "/api/schedules", 201, body)
    changed = await api("PATCH", "/api/schedules/a", 200, {"schedule": "30 2 * * *"})
    assert changed["trigger"] == {**made["trigger"], "expression": "30 2 * * *"}
    changed = await api("PATCH", "/api/schedules/a", 200, {"schedule": "30 3 * * *", "gap": "shift"})
    assert (changed["trigger"]["gap"], changed["trigger"]["fold"]) == ("shift", "both")
    put = await api("PUT", "/api/schedules/a", 200, {"schedule": "30 2 * * *"})
    assert (put["trigger"]["timezone"], put["trigger"]["gap"], put["trigger"]["fold"]) == ("UTC", None, None)


async def test_a_paused_schedule_has_no_next_fires(api):
    await api("POST", "/api/schedules", 201, {"task": "a", "schedule": "@daily"})
    assert (await api("POST", "/api/schedules/a/pause"))["next_fires"] == []
    assert (await api("GET", "/api/schedules/a"))["next_fires"] == []
    assert await api("GET", "/api/schedules/a/next") == []
    assert len((await api("POST", "/api/schedules/preview", 200, {"name": "a"}))["next"]) == 10
    assert len((await api("POST", "/api/schedules/a/resume"))["next_fires"]) == 3


async def test_who_change_different_members_at_once_all_have_their_way(api):
    await api("POST", "/api/schedules", 201, {"task": "a", "schedule": "0 2 * * *"})
    await asyncio.gather(
        api("PATCH", "/api/schedules/a", 200, {"policy": {"overlap": "allow"}}),
        api("PATCH", "/api/schedules/a", 200, {"policy": {"catch_up": "all"}}),
        api("PATCH", "/api/schedules/a", 200, {"gap": "skip"}),
        api("PATCH", "/api/schedules/a", 200, {"timezone": "Asia/Tokyo"}),
        api("PATCH", "/api/tasks/a", 200, {"schedule": "0 3 * * *"}),
    )
    after = await api("GET", "/api/schedules/a")
    assert (after["policy"]["overlap"], after["policy"]["catch_up"]) == ("allow", "all")
    assert (after["trigger"]["gap"], after["when"]) == ("skip", "0 3 * * * (Asia/Tokyo)")
