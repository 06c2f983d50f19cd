"""Workers at a URL: they say that they live, and are listed."""

import asyncio
from typing import Any

import pytest

from rota.domain.access import Grant
from rota.domain.records import Session
from rota.domain.run import State
from rota.engine.control import place_queue
from rota.engine.engine import Engine
from rota.engine.recover import open_sessions
from tests.identity.support import PASSWORD
from tests.remote.support import Node, Site, node, states
from tests.services.turns import breathe
from tests.unit.engine.support import House


async def test_a_worker_at_a_url_is_listed_while_its_heart_beats(at: Site, house: House):
    await at.node.everybody()
    key = await at.key()
    first = await at.node.ask("POST", "/api/worker/register", key, json="http://10.0.0.7:9000")
    assert first.status_code == 200, first.text
    assert (first.json()["takes_runs"], first.json()["ttl_ms"]) == (True, 30_000)
    assert "no queue of its has a strategy" in first.json()["detail"]
    for body in ("http://10.0.0.7:9000", {"url": "http://10.0.0.7:9000"}, {"worker": "http://10.0.0.7:9000"}):
        again = await at.node.ask("POST", "/api/worker/heartbeat", key, json=body)
        assert again.json() == first.json()
    listed = (await at.node.ask("GET", "/api/workers", "viewer")).json()["items"]
    assert [(one["address"], one["state"], one["ttl_ms"]) for one in listed] == [
        ("http://10.0.0.7:9000", "open", 30_000)
    ]
    stats = (await at.node.ask("GET", "/api/system/stats", "viewer")).json()
    assert (stats["workers"], stats["slots"]) == (1, 10)
    await control_closed(house, first.json()["session"])
    anew = await at.node.ask("POST", "/api/worker/heartbeat", key, json="http://10.0.0.7:9000")
    assert anew.json()["session"] != first.json()["session"]
    await house.submit()
    assert await states(house) == {State.PENDING}, "nobody takes what is not placed"


async def test_a_worker_at_a_url_says_what_it_takes_and_its_key_where_from(at: Site, house: House):
    await place_queue(house.engine, "main", "mail", "random", "ann")
    key = await at.key("mail", "other")
    told = {"url": "http://w:1", "slots": 3, "executors": ["python", "shell"], "labels": ["gpu"]}
    answer = (await at.node.ask("POST", "/api/worker/register", key, json=told)).json()
    assert answer["detail"] == "runs of main/mail are posted to it"
    (session,) = await open_sessions(house.engine)
    assert (session.slots, session.executors, session.labels) == (3, ("python", "shell"), ("gpu",))
    assert {lane.split("/")[1] for lane in session.lanes} == {"mail", "other"}
    assert {lane.rpartition("/")[2] for lane in session.lanes} == {"", "gpu"}
    wrongs: list[dict[str, Any]] = [
        {"slots": 0},
        {"executors": []},
        {"executors": ["a b"]},
        {"labels": ["x"] * 7},
        {"size": 1},
    ]
    for wrong in wrongs:
        assert (await at.node.ask("POST", "/api/worker/register", key, json=told | wrong)).status_code == 422
    kinds = [f"k{number}" for number in range(20)]
    crowd = await at.key(*(f"q{number}" for number in range(20)))
    many = {"executors": kinds, "labels": list("abcdef")}
    assert (await at.node.ask("POST", "/api/worker/register", crowd, json=told | many)).status_code == 413
    assert await open_sessions(house.engine) == [session]


async def test_who_registers_again_begins_a_new_life_and_a_heartbeat_goes_on(at: Site, house: House):
    key, other, url = await at.key(), await at.key(), "http://w:1"
    first = (await at.node.ask("POST", "/api/worker/register", key, json=url)).json()["session"]
    theirs = (await at.node.ask("POST", "/api/worker/register", other, json=url)).json()["session"]
    assert (await at.node.ask("POST", "/api/worker/heartbeat", key, json=url)).json()["session"] == first
    again = (await at.node.ask("POST", "/api/worker/register", key, json=url)).json()["session"]
    assert {one.id for one in await open_sessions(house.engine)} == {theirs, again}
    assert again not in (first, theirs)


async def test_whoever_begins_a_life_all_nodes_go_on_with_it(at: Site, house: House):
    key, url = await at.key(), "http://w:1"

    async def life(where: Node, call: str = "heartbeat") -> str:
        said: str = (await where.ask("POST", f"/api/worker/{call}", key, json=url)).json()["session"]
        return said

    async with node(house) as other:
        first = await life(at.node, "register")
        again = await life(other, "register")
        assert {await life(at.node), await life(other)} == {again} != {first}
        await control_closed(house, again)
        third = await life(at.node)
        assert {await life(other), await life(at.node)} == {third}
        assert [one.id for one in await open_sessions(house.engine)] == [third]


async def test_processes_that_serve_one_url_are_one_worker(at: Site, house: House, monkeypatch: pytest.MonkeyPatch):
    async def slowly(engine: Engine) -> list[Session]:
        found = await open_sessions(engine)
        await breathe()
        return found

    monkeypatch.setattr("rota.api.routes.desk.open_sessions", slowly)
    key = await at.key()
    said = [at.node.ask("POST", "/api/worker/heartbeat", key, json="http://w:1") for _ in range(4)]
    lives = {answer.json()["session"] for answer in await asyncio.gather(*said)}
    assert [one.id for one in await open_sessions(house.engine)] == list(lives)


async def test_a_login_cannot_sign_and_so_nothing_is_posted_to_it(at: Site, house: House):
    await at.node.user("anna", Grant("admin"), Grant("worker"), password=PASSWORD)
    access = (await at.node.logged_in()).json()["access_token"]
    said = await at.node.ask("POST", "/api/worker/register", access, json="http://w:1")
    assert (said.status_code, said.json()["takes_runs"]) == (200, False)
    assert "needs a key" in said.json()["detail"]
    await at.node.everybody()
    stats = (await at.node.ask("GET", "/api/system/stats", "viewer")).json()
    assert (stats["workers"], stats["slots"]) == (0, 0), "who takes no runs does not hide that nobody does"
    found = (await at.node.ask("GET", "/api/system/doctor", "admin")).json()["items"]
    assert [one["level"] for one in found if one["check"] == "workers"] == ["fail", "warn"]


async def control_closed(house: House, name: str) -> None:
    from rota.engine.sessions import leave

    assert await leave(house.engine, name, "lapsed")


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://h", "http://", "http://a:b@h", "http://h x", "javascript:1", "http://[", 5, {}]
)
async def test_what_is_no_url_of_a_worker_is_refused(at: Site, house: House, url: Any):
    answer = await at.node.ask("POST", "/api/worker/register", await at.key(), json=url)
    assert answer.status_code == 422, answer.text
    assert await house.all(Session) == []
