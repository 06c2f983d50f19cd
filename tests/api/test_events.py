import asyncio
import json
from typing import Any

import aiohttp
import pytest

from rota.api.app import Options, make_routes
from rota.api.feed import KINDS, Feed
from rota.api.routes import runs
from rota.api.serve import Address, served
from rota.domain.run import End, Outcome
from rota.engine.settle import settle
from rota.ports.desk import Settlement
from rota.ports.loops import end
from rota.ports.store import Line
from rota.stores.hub import ANYTHING
from tests.api.conftest import ADMIN, hold, known_as

LISTENERS = 200


@pytest.fixture
async def server(engine):
    """An address where the routes are served, and what ends their streams."""
    app = make_routes(engine, Options())
    feed = app.state.feed
    async with served(known_as(app, ADMIN), Address(port=0), feed.close) as serving, aiohttp.ClientSession() as http:
        yield serving, feed, http


async def next_event(answer):
    """Name, id and data of the next event that is no comment."""
    found: dict[str, str] = {}
    while True:
        line = (await answer.content.readline()).decode()
        assert line, "the stream ended"
        if line == "\n" and "data" in found:
            return found["event"], found["id"], json.loads(found["data"])
        name, _, value = line.rstrip("\n").partition(": ")
        found[name] = value


async def test_a_listener_is_told_what_kinds_changed(server, engine):
    url, _, http = server
    async with http.get(f"{url}/api/system/events") as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        name, _, first = await next_event(answer)
        assert name == "versions"
        assert {"epoch", "runs", "tasks", "schedules", "queues", "workers"} == set(first)
        async with http.post(f"{url}/api/tasks", json={"name": "a", "schedule": "@daily"}) as made:
            assert made.status == 201
        _, _, second = await next_event(answer)
        assert (second["epoch"], second["tasks"], second["runs"]) == (first["epoch"], first["tasks"] + 1, first["runs"])
        for path in ("tasks/a/trigger", "queues/default/pause"):
            async with http.post(f"{url}/api/{path}", json={}) as done:
                assert done.status < 300
        while second["queues"] == first["queues"] or second["runs"] == first["runs"]:
            _, _, second = await next_event(answer)


async def test_what_only_may_have_changed_is_told_of_now_and_then(engine, monkeypatch):
    """A worker's beats change the file, and nothing that a listener would fetch again."""
    feed = Feed(engine.store.watch, None)
    told: Any = feed.events().body_iterator
    await anext(told)

    async def after(hints: dict[str, int]) -> set[str]:
        before = dict(feed._versions)
        engine.store.base.hub.tell(hints)
        await feed._hear(ear)
        return {kind for kind, number in feed._versions.items() if number > before[kind]}

    await end(feed._task)
    ear = engine.store.watch(list(KINDS))
    everything = set(feed._versions)
    assert await after({ANYTHING: 1}) == everything, "the first time at once: nothing was told for long"
    for _ in range(3):
        assert await after({ANYTHING: 1}) == set()
    engine.store.base.hub.tell({ANYTHING: 1})
    assert await after({"tasks": 1, "session:x": 1}) == {"tasks", "workers"}
    assert await after({"lane:main/default/python/": 1}) == {"runs"}
    monkeypatch.setattr("rota.api.feed.ECHO_S", 0.0)
    assert await after({"done": 1}) == {"runs"}
    assert await after({ANYTHING: 1}) == {"runs"}, "what became ready may have been taken"
    feed._net_at = 1.0
    assert await after({}) == everything
    await feed.close()


async def test_many_listeners_cost_little_and_end_at_once_with_the_server(engine):
    feed = Feed(engine.store.watch, None)
    streams: list[Any] = [feed.events().body_iterator for _ in range(LISTENERS)]
    for stream in streams:
        await anext(stream)
    for _ in range(50):
        feed._versions["runs"] += 1
        feed._spread()
    # Each is told once of all fifty changes: nothing is kept for the slow.
    told = await asyncio.gather(*map(anext, streams))
    assert len(set(told)) == 1
    assert b'"runs": 50' in told[0]
    await feed.close()
    for stream in streams:
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    assert feed._listeners == 0


async def test_too_many_listeners_are_refused(engine, monkeypatch):
    monkeypatch.setattr("rota.api.feed.LISTENERS", 1)
    app = make_routes(engine, Options())
    feed = app.state.feed
    async with served(known_as(app, ADMIN), Address(port=0), feed.close) as serving, aiohttp.ClientSession() as http:
        first = await http.get(f"{serving}/api/system/events")
        await next_event(first)
        second = await http.get(f"{serving}/api/system/events")
        assert second.status == 429
        assert (await second.json())["status"] == 429
        async with http.post(f"{serving}/api/tasks", json={"name": "a"}):
            pass
        async with http.post(f"{serving}/api/tasks/a/trigger") as made:
            run = (await made.json())["id"]
        third = await http.get(f"{serving}/api/runs/{run}/logs/stream")
        assert third.status == 429, "streams of lines count as well"
        third.close()
        first.close()


async def test_an_open_stream_does_not_hold_up_the_end(engine):
    app = make_routes(engine, Options())
    feed = app.state.feed
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as http:
        async with served(known_as(app, ADMIN), Address(port=0), feed.close) as serving:
            answers = [await http.get(f"{serving}/api/system/events") for _ in range(20)]
            for answer in answers:
                await next_event(answer)
            began = loop.time()
        assert loop.time() - began < 2
        for answer in answers:
            assert await answer.content.read() == b""


async def test_a_stream_of_a_run_that_says_nothing_is_not_silent(server, monkeypatch):
    monkeypatch.setattr(runs, "LOOK_S", 0)
    url, _, http = server
    async with http.post(f"{url}/api/tasks", json={"name": "a", "executor": "own"}):
        pass
    async with http.post(f"{url}/api/tasks/a/trigger") as made:
        run = (await made.json())["id"]
    async with asyncio.timeout(20), http.get(f"{url}/api/runs/{run}/logs/stream") as answer:
        assert await answer.content.readline() == b": still here\n"


async def test_lines_of_a_run_are_followed_to_its_end(server, engine):
    url, _, http = server
    async with http.post(f"{url}/api/tasks", json={"name": "a", "executor": "own"}):
        pass
    async with http.post(f"{url}/api/tasks/a/trigger") as made:
        run = (await made.json())["id"]
    (held,) = await hold(engine, kind="own")
    await engine.logs.append([Line(run, 1, 1, "stdout", "info", "one\n\nevent: evil")])
    async with http.get(f"{url}/api/runs/{run}/logs/stream") as answer:
        name, number, lines = await next_event(answer)
        assert (name, [line["text"] for line in lines]) == ("lines", ["one\n\nevent: evil"])
        await engine.logs.append([Line(run, 1, 2, "stdout", "info", "two")])
        await settle(engine, [Settlement(held.record.fence, Outcome(End.SUCCESS), held)])
        assert [line["text"] for line in (await next_event(answer))[2]] == ["two"]
        assert (await next_event(answer))[::2] == ("end", {"state": "success"})
    async with http.get(f"{url}/api/runs/{run}/logs/stream", headers={"Last-Event-ID": number}) as answer:
        assert [line["text"] for line in (await next_event(answer))[2]] == ["two"]
    for forged in ("1", "x" * 2_000):
        async with http.get(f"{url}/api/runs/{run}/logs/stream", headers={"Last-Event-ID": forged}) as answer:
            assert answer.status == 422
