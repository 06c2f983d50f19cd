"""Reads from a real streaming replica: by whom it is asked, and when the primary is asked instead."""

import asyncio

import httpx
import psutil
import pytest

from rota import Rota
from rota.api.bare import inner
from rota.domain.errors import Invalid
from rota.domain.run import Run
from rota.ports.store import Line, Sought
from rota.stores.postgres import replica
from rota.stores.sql.store import SqlStore
from rota.testing.factories import make_run, make_session
from rota.wiring import make_door
from tests.services.postgresql import Server, do
from tests.unit.stores.files import put, reached

WHO = "SELECT pg_is_in_recovery()"


@pytest.fixture
async def store(pair, monkeypatch):
    monkeypatch.setattr(replica, "REST_S", 0)
    async with reached(pair.url) as made:
        await made.base.write(lambda db: db.write("SELECT pg_current_xact_id()"))
        await pair.caught_up()
        yield made


async def told_by_replica(store: SqlStore) -> bool:
    return bool((await store.base.read(lambda db: db.rows(WHO), late=True))[0][0])


async def test_who_looks_asks_the_replica_and_nobody_else(store):
    assert await told_by_replica(store)
    assert (await store.base.read(lambda db: db.rows(WHO)))[0][0] is False
    assert ("ok", "the replica keeps up") in await store.diagnose()


async def test_what_the_replica_has_not_seen_yet_is_decided_upon(pair, store):
    await put(store, make_run(1))
    await pair.pause()
    try:
        await put(store, make_run(2))
        await store.logs.append([Line(make_run(1).id, 1, 7, "stdout", "", "hello")])
        assert len((await store.late.find(Run)).items) == 1
        assert await store.late.count(Run, "state") == {"pending": 1}
        assert (await store.late.logs.search(Sought(text="hello")))[0] == []
        assert len((await store.find(Run)).items) == 2
        assert await store.count(Run, "state") == {"pending": 2}
        assert len((await store.logs.search(Sought(text="hello")))[0]) == 1
    finally:
        await pair.resume()


async def test_the_api_lists_from_it_and_acts_on_the_primary(pair, store):
    app = Rota(pair.url, name="shop")
    ship = app.task(name="ship")(lambda: None)
    async with app:
        transport = httpx.ASGITransport(inner(app.engine, "ann", lambda: make_door(app.engine)))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:

            async def get(path):
                return (await http.get(f"/api/{path}")).raise_for_status().json()

            await ship.asubmit()
            await pair.pause()
            try:
                last = await ship.asubmit()
                await app.engine.logs.append([Line(last.id, 1, 7, "stdout", "", "goodbye")])
                assert last.id not in [one["id"] for one in (await get("runs?task=ship"))["items"]]
                before = (await get("system/stats"))["runs"]["pending"]
                assert [one["pending"] for one in (await get("queues"))["items"]] == [before]
                assert (await get("system/logs?search=goodbye"))["items"] == []
                assert (await get(f"runs/{last.id}"))["state"] == "pending"
                # By these the command line finds out what it is to cancel, drain or resize.
                for part in (f"suffix={last.id[-8:]}", f"prefix={last.id}"):
                    assert [one["id"] for one in (await get(f"runs?{part}"))["items"]] == [last.id]
                await put(store, make_session(1))
                assert [one["id"] for one in (await get("workers"))["items"]] == ["session-1"]
                ended = await http.post("/api/runs/cancel", json={"where": {"task": "ship"}})
                assert last.id in [one["id"] for one in ended.raise_for_status().json()["items"]]
            finally:
                await pair.resume()
            await pair.caught_up()
            assert last.id in [one["id"] for one in (await get("runs?task=ship"))["items"]]


async def test_one_that_is_late_is_not_asked(pair, store, monkeypatch):
    monkeypatch.setattr(replica, "LATE_S", 0)
    assert not await told_by_replica(store)
    assert any("primary is asked instead" in said for _, said in await store.diagnose())


async def test_one_that_is_gone_costs_nothing_but_a_look(pair, store):
    pair.replica.stop()
    assert not await told_by_replica(store)
    assert any("does not answer" in said for level, said in await store.diagnose() if level == "warn")
    pair.replica.start()
    await put(store, make_run(9))
    await pair.caught_up()
    assert await told_by_replica(store)


async def test_one_that_is_frozen_costs_a_moment(pair, store, monkeypatch):
    monkeypatch.setattr(replica, "REST_S", 60)
    assert await told_by_replica(store)
    server = psutil.Process(pair.replica.process.pid)
    frozen = [server, *server.children(recursive=True)]
    for process in frozen:
        process.suspend()
    try:
        async with asyncio.timeout(10):
            assert not await told_by_replica(store)
        async with asyncio.timeout(1):
            assert not await told_by_replica(store)
        store.base._replica._rests_until = 0  # many ask while nobody knows it yet: they wait beside each other
        async with asyncio.timeout(4):
            assert not any(await asyncio.gather(*(told_by_replica(store) for _ in range(20))))
    finally:
        for process in frozen:
            process.resume()


async def test_one_that_cannot_be_reached_is_not_asked(pair):
    for place in ("no.such.host.invalid", "127.0.0.1:99999"):
        async with reached(f"{pair.primary.url}?replica={place}") as store:
            assert not await told_by_replica(store)


@pytest.mark.parametrize("other", ["another database", "no replica"])
async def test_what_is_no_replica_of_this_database_is_not_asked(pair, database, monkeypatch, other):
    port = database.rpartition(":")[2].partition("/")[0] if other == "another database" else pair.primary.port
    async with reached(f"{pair.primary.url}?replica=127.0.0.1:{port}") as store:
        await put(store, make_run(5 + (other == "no replica")))
        assert not await told_by_replica(store)
        assert len((await store.late.find(Run)).items) == len((await store.find(Run)).items)
        assert any("none of this database" in said for _, said in await store.diagnose())


async def test_one_that_was_promoted_is_not_asked(pair, store):
    promoted = Server(primary=pair.primary)
    try:
        promoted.start()
        await do(promoted.url, "SELECT pg_promote()")
        async with reached(f"{pair.primary.url}?replica=127.0.0.1:{promoted.port}") as other:
            assert not await told_by_replica(other)
    finally:
        promoted.remove()


async def test_a_listing_that_is_refused_is_refused_by_the_replica_too(store):
    assert await told_by_replica(store)
    with pytest.raises(Invalid, match="cursor"):
        await store.late.find(Run, cursor="none of ours")
