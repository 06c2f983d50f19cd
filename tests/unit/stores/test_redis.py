"""What only Redis does: scripts that are forgotten, connections that break, options of its URL."""

import asyncio
import json
import signal
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from redis import Redis

import rota.stores.redis
from rota.domain.errors import Incompatible, Unavailable, Unclear
from rota.domain.lane import lane
from rota.domain.records import Blob, Session
from rota.domain.run import Run, State
from rota.ports.store import ALREADY, APPLIED, Change, Group, Hint, Line, Sought, Term, Want, Where
from rota.stores import connect, migrate
from rota.stores.redis import hints, link
from rota.stores.redis.places import places
from rota.testing.clock import START_AT
from rota.testing.contracts.store.samples import AWKWARD_RECORDS
from rota.testing.factories import make_run, make_session
from tests.services.fixtures import needed
from tests.services.proxy import between
from tests.services.redis import DURABLE, RedisServer
from tests.unit.stores.files import closed_on_a_call_from_elsewhere, put, reached

LANE = lane("main", "default", "python")
SCRIPTS = Path(rota.stores.redis.__file__).parent / "scripts"


def client(url):
    return Redis.from_url(url.partition("?")[0])


def prefix(url):
    return f"{{{url.rpartition('=')[2]}}}:"


@pytest.fixture
def server():
    """One that a test may kill."""
    made = needed(lambda: RedisServer(DURABLE))
    made.start()
    yield made
    made.remove()


async def test_what_was_acknowledged_survives_a_kill_and_scripts_are_learnt_anew(server):
    async with reached(server.url) as store:
        term = await store.lead("scheduler", "a", 60_000)
        for number in range(3):
            assert await put(store, make_run(number)) == [APPLIED]
            server.stop(signal.SIGKILL)
            with pytest.raises(Unavailable, match="does not answer"):
                await store.find(Run)
            with pytest.raises(Unavailable):
                await put(store, make_run(9))
            server.start()
        assert len((await store.find(Run)).items) == 3
        assert await store.lead("scheduler", "a", 60_000) == term
        with client(server.url) as other:
            other.script_flush()
        assert await put(store, make_run(4)) == [APPLIED]


async def test_a_call_from_elsewhere_that_comes_with_the_close_is_told_so(space, monkeypatch):
    await closed_on_a_call_from_elsewhere(space, monkeypatch)


async def test_a_term_is_newer_than_one_that_was_lost_with_its_server(space):
    async with reached(space) as store:
        first = await store.lead("scheduler", "a", 60_000)
        with client(space) as other:
            other.delete(*[f"{prefix(space)}schedule:{name}" for name in ("term", "leader")])
        second = await store.lead("scheduler", "b", 60_000)
        assert second.mine
        assert second.number > first.number


async def test_a_leader_is_to_be_seen_and_a_lease_without_an_end_is_over(space):
    async with reached(space) as store:
        first = await store.lead("scheduler", "a", 60_000)
        with client(space) as other:
            assert other.get(f"{prefix(space)}schedule:leader") == b"a"
            assert 0 < other.pttl(f"{prefix(space)}schedule:leader") <= 60_000
            other.persist(f"{prefix(space)}schedule:leader")
            second = await store.lead("scheduler", "b", 60_000)
            assert second.number > first.number
            # As after the clock was set back: so far ahead no lease reaches.
            other.pexpire(f"{prefix(space)}schedule:leader", 10_000_000)
        assert (await store.lead("scheduler", "a", 60_000)).mine


async def test_connections_that_were_lost_are_replaced(space):
    async with reached(space) as store:
        for number in range(3):
            assert await put(store, make_run(number)) == [APPLIED]
            with client(space) as other:
                other.client_kill_filter(_type="normal", skipme=True)
        assert len((await store.find(Run)).items) == 3


async def test_a_closed_store_leaves_nothing_open(space):
    counts = []
    for _ in range(3):
        async with reached(space) as store:
            assert await store.watch(["ready:a"]).wait(30)
            await asyncio.gather(*(put(store, make_run(number)) for number in range(9)))
        counts.append(psutil.Process().num_fds())
    assert counts == counts[:1] * 3


async def test_hints_are_heard_again_after_the_connection_broke(space):
    async with reached(space) as one, reached(space) as other:
        ear = one.watch(["ready:a"])
        assert await ear.wait(30) == {"ready:a": 1}  # it listens now; anything may have happened before
        with client(space) as killer:
            killer.client_kill_filter(_type="pubsub")
        assert await ear.wait(30) == {"ready:a": 1}  # and so it may meanwhile
        await put(other, make_run(1), hints=[Hint("ready:a", 3)])
        assert await ear.wait(30) == {"ready:a": 3}


async def test_a_listener_outlasts_silence_and_nonsense(space, monkeypatch):
    monkeypatch.setattr(hints, "CHECK_S", 0.05)
    async with reached(space) as one, reached(space) as other:
        ear = one.watch(["ready:a"])
        assert await ear.wait(30) == {"ready:a": 1}
        assert await ear.wait(0.3) == {}
        with client(space) as somebody:
            for nonsense in (b"\xff", b"name", b"name [1]"):
                somebody.publish(f"{prefix(space)}hints", nonsense)
        await put(other, make_run(1), hints=[Hint("ready:a", 3)])
        assert await ear.wait(30) == {"ready:a": 3}


async def test_a_lost_answer_to_a_look_means_that_the_store_is_unavailable(space):
    async with between(space) as (proxy, url), reached(url) as store:
        await put(store, make_run(1))
        proxy.cut = b"EVALSHA"
        with pytest.raises(Unavailable):
            await store.get(Run, [make_run(1).id])
        assert len((await store.find(Run)).items) == 1


async def test_a_server_that_is_frozen_is_given_up(space, monkeypatch):
    monkeypatch.setattr(link, "ANSWER_S", 0.2)
    async with reached(space) as store:
        await put(store, make_run(1))
        with client(space) as other:
            other.client_pause(600)
            with pytest.raises(Unavailable):
                await store.find(Run)
            with pytest.raises(Unclear):
                await put(store, make_run(2))
        monkeypatch.setattr(link, "ANSWER_S", 20)
        assert (await put(store, make_run(2)))[0] in (APPLIED, ALREADY)


async def test_a_call_that_is_cancelled_leaves_no_connection_out_of_step(space):
    async with reached(f"{space}&pool=1") as store:
        await put(store, make_run(1))
        with client(space) as other:
            other.client_pause(200)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(store.get(Run, [make_run(2).id]), 0.05)
        assert [item.record for item in (await store.find(Run)).items] == [make_run(1)]


async def test_a_key_of_somebody_else_stops_a_commit_before_it_writes(space):
    async with reached(space) as store:
        with client(space) as other:
            other.set(f"{prefix(space)}task:due", "mine")
        with pytest.raises(Incompatible, match="somebody else"):
            await put(store, make_run(1), make_run(2, due_at=5, state=State.SCHEDULED))
        assert (await store.find(Run)).items == ()


async def test_what_is_deleted_leaves_nothing_behind(space):
    async with reached(space) as store:
        for record in (
            *AWKWARD_RECORDS,
            make_run(1, due_at=7),
            make_run(2, state=State.RUNNING, session="s", cancel="a"),
        ):
            (result,) = await put(store, record)
            assert result == APPLIED or type(record) in {type(one) for one in AWKWARD_RECORDS}
        await store.logs.append([Line(make_run(number).id, 1, 1, "log", "", "x") for number in (1, 2)])
        kinds = {type(record) for record in AWKWARD_RECORDS}
        for kind in kinds:
            page = await store.find(kind)
            assert {*await store.commit([Group((Change(held, None),)) for held in page.items])} == {APPLIED}
        with client(space) as other:
            left = {key.decode().removeprefix(prefix(space)) for key in other.scan_iter(f"{prefix(space)}*")}
        assert left == {"format", "task:lanes", "log:last"}


async def test_a_run_takes_its_large_values_along(space):
    async with reached(space) as store:
        run = make_run(1)
        await put(store, run, *(Blob(f"{run.id}/{name}", b"[1]") for name in ("payload", "result")))
        with client(space) as other:
            assert b'"data":[1]' in other.get(f"{prefix(space)}task:result:{run.id}")
            (was,) = await store.get(Run, [run.id])
            assert await store.commit([Group((Change(was, None),))]) == [APPLIED]
            left = {key.decode().removeprefix(prefix(space)) for key in other.scan_iter(f"{prefix(space)}*")}
        assert left == {"format", "task:lanes"}


@pytest.mark.parametrize("place", [0, 199, 200, 201, 401])
async def test_what_a_session_can_do_is_found_among_much_that_it_cannot(space, place):
    async with reached(space) as store:
        runs = [make_run(number, task="rare" if number == place else "report") for number in range(402)]
        await put(store, make_session(1), *runs)
        wants = [
            Want("session-1", "w", 7, 0, (LANE,), ("main/report",)),
            Want("session-1", "w", 7, 5, (), ("main/report", "main/rare"), (runs[place].id,)),
            Want("session-1", "w", 7, 5, (LANE,), ("main/report",)),
        ]
        answers = await store.claim(wants, START_AT)
        assert [[was.record.id for was in one.runs] for one in answers] == [[], [], [runs[place].id]]


async def test_lines_follow_each_other_however_many_come_at_once(space):
    async with reached(space) as store:
        lines = [Line(make_run(number % 2).id, 1, 1, "log", "", str(number)) for number in range(30)]
        for start, end in ((0, 20), (20, 21), (21, 23), (23, 30)):
            await store.logs.append(lines[start:end])
        assert (await store.logs.search(Sought()))[0] == lines[::-1]


async def test_several_programs_share_a_server_by_prefixes(space, redis):
    there = redis.make()
    try:
        async with reached(space) as one, reached(there) as other:
            await put(one, make_run(1))
            assert (await other.find(Run)).items == ()
            assert await put(other, make_run(1)) == [APPLIED]
    finally:
        redis.take_back(there)


async def test_an_operator_can_read_what_there_is(space):
    async with reached(space) as store:
        run = make_run(1, payload=b'{"to": "Zo\xc3\xab"}')
        await put(store, make_session(1), run)
        await store.claim([Want("session-1", "w", 7, 5, (LANE,))], START_AT)
        with client(space) as other:
            text = other.get(f"{prefix(space)}task:detail:{run.id}").decode()
            assert '"state":"running"' in text
            assert '"payload":{"to": "Zoë"}' in text
            assert other.zrange(f"{prefix(space)}task:queue:session-1", 0, -1) == [run.id.encode()]
            assert other.ttl(f"{prefix(space)}task:detail:{run.id}") == -1
            assert b'"worker":"worker-1"' in other.get(f"{prefix(space)}worker:detail:session-1")


def read_json(other, key):
    return json.loads(other.get(key))


async def test_the_pool_shows_who_beats_and_for_how_long(space):
    """Fields, status and expiry of `worker:pool:{id}`; nothing is decided by it."""
    key = f"{prefix(space)}worker:pool:session-1"
    async with reached(space) as store:
        await put(store, make_session(1, slots=7, ttl_ms=30_000), make_run(1))
        with client(space) as other:
            assert not other.exists(key)
            await store.beat(["session-1"])
            idle = read_json(other, key)
            at = idle.pop("last_heartbeat")
            assert abs(at - time.time() * 1_000) < 60_000
            shown = {"id": "session-1", "address": "host", "status": "idle", "capacity": 7, "running_tasks": 0}
            assert idle == shown
            assert 29_000 < other.pttl(key) <= 30_000
            await store.claim([Want("session-1", "w", 7, 5, (LANE,))], START_AT)
            await store.beat(["session-1"])
            busy = read_json(other, key)
            assert (busy["status"], busy["running_tasks"]) == ("busy", 1)
            assert busy["last_heartbeat"] >= at
            (was,) = await store.get(Session, ["session-1"])
            await store.commit([Group((Change(was, replace(was.record, closed_at=START_AT)),))])
            assert not other.exists(key)
            await store.beat(["session-1"])
            assert not other.exists(key)


@pytest.mark.parametrize(
    ("end", "shown"),
    [
        (
            {"state": State.SUCCESS, "result": b'{"rows":[],"big":9007199254740993}'},
            {"code": 0, "message": "success", "data": {"rows": [], "big": 9007199254740993}},
        ),
        ({"state": State.FAILED, "error": "ValueError: no"}, {"code": 1, "message": "ValueError: no", "data": None}),
        ({"state": State.CANCELLED, "reason": "cancelled"}, {"code": 1, "message": "cancelled", "data": None}),
    ],
)
async def test_the_end_of_a_run_has_a_key_that_goes_with_it(space, end, shown):
    """`task:result:{id}` is there from the end on, never before, and for as long as `task:detail:{id}`."""
    run = make_run(1)
    keys = [f"{prefix(space)}task:{name}:{run.id}" for name in ("result", "detail")]
    async with reached(space) as store:
        await put(store, run)
        with client(space) as other:
            assert [other.exists(key) for key in keys] == [0, 1]
            (was,) = await store.get(Run, [run.id])
            await store.commit([Group((Change(was, run._replace(ended_at=START_AT, **end)),))])
            assert read_json(other, keys[0]) == shown
            assert [other.ttl(key) for key in keys] == [-1, -1]
            (was,) = await store.get(Run, [run.id])
            await store.commit([Group((Change(was, None),))])
            assert [other.exists(key) for key in keys] == [0, 0]


async def test_what_is_ready_in_a_queue_is_counted_without_a_look_at_any_run(space):
    """Who places the runs of a queue counts them each time, however many wait."""
    async with reached(space) as store:
        await put(store, *(make_run(number, queue=queue) for number, queue in enumerate(("b", "bc", "b", "a"))))
        with client(space) as other:
            other.config_resetstat()
            where = Where("main", (State.PENDING,), queue="b")
            assert await store.count(Run, "lane", where) == {lane("main", "b", "python"): 2}
            assert "cmdstat_get" not in other.info("commandstats")


async def test_without_a_prefix_keys_are_called_as_they_are(server):
    async with reached(f"{server.url}?prefix=") as store, reached(server.url) as another:
        await store.lead("scheduler", "a", 10_000)
        await put(store, make_run(1))
        assert (await another.find(Run)).items == ()
        with client(server.url) as other:
            assert other.get("schedule:leader") == b"a"
            assert 9_000 < other.pttl("schedule:leader") <= 10_000
            assert other.exists(f"task:detail:{make_run(1).id}")


async def test_data_of_a_newer_version_or_of_somebody_else_is_refused(space):
    for said, word in (("2", "newer"), ("mine", "somebody else")):
        with client(space) as other:
            other.set(f"{prefix(space)}format", said)
        with pytest.raises(Incompatible, match=word):
            await connect(space).open()
        with client(space) as other:
            other.delete(f"{prefix(space)}format")
    assert await migrate(space) == []


def test_each_script_says_what_it_is_for():
    found = sorted(SCRIPTS.glob("*.lua"))
    assert len(found) >= 8
    assert [one.name for one in found if not one.read_text().startswith("-- ")] == []


@pytest.mark.parametrize("state", State)
def test_a_run_lies_in_one_list_and_where_its_state_puts_it(state):
    lies = {*places(make_run(1, state=state, session="s"))}
    assert [index for index in lies if index.startswith("task:list:")] == [f"task:list:main/{state}"]
    assert (f"task:ready:{LANE}" in lies) == (state is State.PENDING)
    assert ("task:queue:s" in lies) == (state is State.RUNNING)


async def test_a_page_may_begin_amid_many_of_one_instant(space):
    async with reached(space) as store:
        runs = [make_run(number, created_at=START_AT) for number in range(700)]
        await put(store, *runs)
        for oldest in (True, False):
            found, cursor = [], ""
            while True:
                page = await store.find(Run, Where(), cursor, 90, oldest)
                found += [item.record for item in page.items]
                if not (cursor := page.cursor):
                    break
            assert found == sorted(runs, key=lambda run: run.id, reverse=not oldest)


async def test_a_guard_of_another_term_is_stale_under_any_name(space):
    async with reached(space) as store:
        term = await store.lead("janitor", "a", 60_000)
        guard = Term("janitor", term.number)
        assert await store.commit([Group((Change(None, make_run(1)),))], guard) == [APPLIED]
