"""Workers at a URL: they say that they live, and are listed."""

from typing import Any

import pytest

from rota.domain.records import Session
from rota.domain.run import State
from tests.remote.support import Site, states
from tests.unit.engine.support import House


async def test_a_worker_at_a_url_is_listed_while_its_heart_beats(at: Site, house: House):
    await at.node.everybody()
    key = await at.key()
    first = await at.node.ask("POST", "/api/worker/register", key, json="http://10.0.0.7:9000")
    assert first.status_code == 200, first.text
    assert (first.json()["takes_runs"], first.json()["ttl_ms"]) == (False, 30_000)
    for body in ("http://10.0.0.7:9000", {"url": "http://10.0.0.7:9000"}, {"worker": "http://10.0.0.7:9000"}):
        again = await at.node.ask("POST", "/api/worker/heartbeat", key, json=body)
        assert again.json() == first.json()
    listed = (await at.node.ask("GET", "/api/workers", "viewer")).json()["items"]
    assert [(one["address"], one["state"], one["ttl_ms"]) for one in listed] == [
        ("http://10.0.0.7:9000", "open", 30_000)
    ]
    stats = (await at.node.ask("GET", "/api/system/stats", "viewer")).json()
    assert (stats["workers"], stats["slots"]) == (0, 0), "who takes no runs does not hide that nobody does"
    found = (await at.node.ask("GET", "/api/system/doctor", "admin")).json()["items"]
    told = [(one["level"], one["text"][:13]) for one in found if one["check"] == "workers"]
    assert told == [("fail", "none is alive"), ("warn", "worker@10.0.0")]
    await control_closed(house, first.json()["session"])
    anew = await at.node.ask("POST", "/api/worker/heartbeat", key, json="http://10.0.0.7:9000")
    assert anew.json()["session"] != first.json()["session"]
    await house.submit()
    assert await states(house) == {State.PENDING}


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
