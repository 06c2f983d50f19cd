"""What only the store on etcd does: full and frozen servers, old revisions, counters in parts, keys that are left."""

import asyncio
import signal
from contextlib import suppress
from itertools import count

import psutil
import pytest

from rota.domain.errors import Incompatible, Unavailable, Unclear
from rota.domain.records import Blob, Tally
from rota.domain.run import Run, State
from rota.ports.store import ALREADY, APPLIED, Change, Group, Hint, Line, Sought, Where
from rota.stores import codec, connect
from rota.stores.etcd import commit, logs, upkeep
from rota.stores.etcd.client import link as connection
from rota.stores.etcd.client.faults import Compacted
from rota.stores.etcd.client.words import Alarm, Delete, Put, Range, Txn
from rota.stores.etcd.commit import gathered
from rota.stores.etcd.keys import WAKE, behind
from rota.testing.clock import START_AT
from rota.testing.contracts.store.steps import NOW, TALLY, change, drain, eventually, everything, held, new, want
from rota.testing.factories import make_run, make_schedule, make_session, make_task
from tests.services.etcd import EtcdCluster, EtcdServer
from tests.services.fixtures import needed
from tests.unit.stores.files import put, reached

SMALL = 8 << 20


@pytest.fixture
def server():
    """One that a test may kill."""
    made = needed(EtcdServer)
    made.start()
    yield made
    made.remove()


async def keys(store, start=""):
    """All keys that there are, without the prefix."""
    (found,) = await store._link.ask([store._link.all_of(start, keys_only=True)])
    return [item.key.decode().removeprefix(store._link.prefix) for item in found.items]


async def write(store, name, value):
    """What somebody else does to a key."""
    await store._link.client.txn(Txn((), (Put(store._link.key(name), value),)))


async def test_what_was_acknowledged_survives_a_kill(server):
    async with reached(server.url) as store:
        term = await store.lead("scheduler", "a", 60_000)
        ear = store.watch(["ready:a"])
        assert await ear.wait(30) == {"ready:a": 1}
        for number in range(2):
            assert await put(store, make_run(number)) == [APPLIED]
            server.stop(signal.SIGKILL)
            with pytest.raises(Unavailable):
                await store.find(Run)
            await asyncio.to_thread(server.start)
            async with asyncio.timeout(30):
                while not await eventually(store, lambda: answers(store), bool):
                    pass
        assert len(await everything(store, Run)) == 2
        assert await store.lead("scheduler", "a", 60_000) == term
        async with reached(server.url) as other:
            assert await eventually(store, lambda: said(other, ear), lambda heard: heard.get("ready:a", 0) > 1, 30)


async def answers(store):
    try:
        return bool(await store.get(Run, ["x"]))
    except Unavailable:
        return False


numbers = count(1_000)


async def said(other, ear):
    await put(other, make_run(next(numbers)), hints=[Hint("ready:a", 3)])
    return await ear.wait(1)


async def test_a_frozen_server_leaves_a_commit_unclear_and_it_counts_once(server, monkeypatch):
    group = new(make_run(1), tally=TALLY)
    async with reached(server.url) as store:
        monkeypatch.setattr(connection, "ANSWER_S", 0.5)
        server.freeze()
        with pytest.raises(Unclear):
            await store.commit([group])
        server.thaw()
        monkeypatch.undo()
        assert await eventually(store, lambda: again(store, group), lambda told: told in ([APPLIED], [ALREADY]))
        assert await store.commit([group]) == [ALREADY]
        assert await everything(store, Tally) == [TALLY]


async def test_what_is_ready_in_a_queue_is_counted_without_a_look_at_any_run(prefix, monkeypatch):
    """Who places the runs of a queue counts them each time, however many wait."""
    async with reached(prefix) as store:
        await put(store, *(make_run(number, queue=queue) for number, queue in enumerate(("b", "bc", "b", "a"))))
        ask = store._link.ask
        asked: list[bytes] = []

        async def noted(ranges):
            asked.extend(one.key for one in ranges)
            return await ask(ranges)

        monkeypatch.setattr(store._link, "ask", noted)
        where = Where("main", (State.PENDING,), queue="b")
        assert await store.count(Run, "lane", where) == {make_run(queue="b").lane: 2}
        assert [key for key in asked if key.startswith(store._link.key("run/"))] == []


async def test_who_is_told_of_many_groups_finds_all_of_them(prefix, monkeypatch):
    async with reached(prefix) as store:
        await put(store, make_run(0))  # so that its lane is known
        send, steps, key = store._link.client.txn, [], store._link.key(WAKE)

        async def noted(txn):
            said = any(isinstance(one, Put) and one.key == key for one in txn.then)
            steps.append("say" if said else "ask")
            done = await send(txn)
            steps.append("done")
            return done

        monkeypatch.setattr(store._link.client, "txn", noted)
        assert await put(store, *map(make_run, range(1, 301)), hints=[Hint("ready:a", 300)]) == [APPLIED] * 300
        asks = steps.count("ask")
        assert asks > 1
        assert steps[-2:] == ["say", "done"]
        assert (len(steps), steps.count("say")) == (2 * asks + 2, 1)
        assert await put(store, make_run(301), hints=[Hint("ready:a", 1)]) == [APPLIED]
        assert steps[2 * asks + 2 :] == ["say", "done"]


async def again(store, group):
    try:
        return await store.commit([group])
    except (Unavailable, Unclear):
        return []


async def test_a_full_server_can_be_pruned_and_makes_room():
    server = needed(lambda: EtcdServer([f"--quota-backend-bytes={SMALL}"]))
    server.start()
    try:
        async with reached(server.url) as store:
            blobs = [Blob(f"{number}/payload", bytes(256_000), NOW) for number in range(400)]
            written = []
            with suppress(Unavailable):
                for blob in blobs:  # whichever took up the last room is found there already
                    written += [blob] if await put(store, blob) in ([APPLIED], [ALREADY]) else []
            with pytest.raises(Unavailable, match="is full"):
                await put(store, make_run(1))
            assert ("fail", True) in {(level, "NOSPACE" in said) for level, said in await store.diagnose()}
            gone = [Group((Change(await held(store, blob), None),)) for blob in written[1:]]
            assert await store.commit(gone) == [APPLIED] * len(gone)
            # Nobody can renew a term; who tries makes room.
            assert await eventually(store, lambda: leads(store), bool, 60)
            assert await eventually(store, lambda: put(store, make_run(2)), lambda told: told in ([APPLIED], [ALREADY]))
            assert [item.id for item in await everything(store, Blob)] == [written[0].id]
            assert not any("alarm" in said for _, said in await store.diagnose())
    finally:
        server.remove()


async def test_a_member_that_refuses_to_give_room_back_keeps_no_other_from_it(prefix, monkeypatch):
    """It may be down, or want a role that the user has not."""

    async def refused(number):
        raise Unavailable("forbids it")

    async with reached(prefix) as store:
        client = store._link.client
        told = []

        async def alarms():
            return [Alarm(1, "NOSPACE")]

        async def disarm():
            told.append("disarmed")

        for name, made in (("alarms", alarms), ("status", refused), ("disarm", disarm)):
            monkeypatch.setattr(client, name, made)
        assert await upkeep.Upkeep(store._link).make_room()
        assert told == ["disarmed"]


async def test_lanes_are_known_again_soon_after_a_wipe(prefix, monkeypatch):
    async with reached(prefix) as store:
        await put(store, make_run(1))
        await store._link.client.txn(
            Txn((), (Delete(store._link.prefix.encode(), behind(store._link.prefix.encode())),))
        )
        monkeypatch.setattr(commit, "MARKED_S", 0.0)
        await put(store, make_run(2))
        assert [run.id for run in await everything(store, Run, Where(states=(State.PENDING,)))] == [make_run(2).id]


async def leads(store):
    try:
        return (await store.lead("scheduler", "a", 60_000)).mine
    except Unavailable:
        return False


async def test_who_leads_forgets_what_was_and_puts_counters_together(prefix, monkeypatch):
    monkeypatch.setattr(upkeep, "EVERY_S", 0.0)
    monkeypatch.setattr(upkeep, "SETTLED_MS", -60_000)
    async with reached(prefix) as store:
        store._terms._upkeep._next = 0.0
        before = (await store._link.client.range(Range(b"x"))).revision
        groups = [new(make_run(number), tally=TALLY) for number in range(150)]
        await store.commit(groups)
        await store.commit([new(make_run(200), tally=TALLY._replace(node="node-2"))])
        assert len(await keys(store, "tally/")) == 151

        async def parts():
            await leads(store)
            return await keys(store, "tally/")

        assert await eventually(store, parts, lambda found: len(found) == 2)
        total = TALLY._replace(count=150, total_ms=150 * TALLY.total_ms)
        assert sorted(await everything(store, Tally)) == sorted([total, TALLY._replace(node="node-2")])
        await store.commit([new(make_run(201), tally=TALLY)])
        assert await store.count(Tally, "node") == {"node": 151, "node-2": 1}

        async def kept():
            await leads(store)
            try:
                return await store._link.client.range(Range(b"x", revision=before))
            except Compacted:
                return None

        assert await eventually(store, kept, lambda found: found is None)
        assert len(await everything(store, Run)) == 152


@pytest.mark.parametrize("oldest", [False, True])
async def test_a_counter_of_many_parts_is_one_among_others(prefix, oldest):
    async with reached(prefix) as store:
        cells = [TALLY._replace(minute=TALLY.minute + 60_000 * place, count=1) for place in range(5)]
        places = [0, 1, *[2] * 297, 3, 4]
        groups = [new(make_run(number), tally=cells[place]) for number, place in enumerate(places)]
        assert await store.commit(groups) == [APPLIED] * 301
        for limit in (1, 2, 50):
            found = await everything(store, Tally, Where(), oldest, limit)
            assert [cell.count for cell in found] == [1, 1, 297, 1, 1]


async def test_parts_that_are_added_to_are_left_alone(prefix):
    async with reached(prefix) as store:
        await store.commit([new(make_run(number), tally=TALLY) for number in range(3)])
        cell = await held_tally(store)
        (found,) = await store._link.ask([store._link.all_of("tally/")])
        asked = together_of(store, found.items)
        await store.commit([new(make_run(9), tally=TALLY)])
        ((done, _),) = await store._link.send([asked])
        assert not done.succeeded
        assert (await held_tally(store)).record.count == cell.record.count + 1
        assert await change(store, await held_tally(store), None) == APPLIED
        assert await keys(store, "tally/") == []


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 100])
async def test_counters_longer_than_a_page_lose_nothing(prefix, monkeypatch, parts):
    """Their parts are named by the clocks of those who add them, and come in another order."""
    monkeypatch.setattr(upkeep, "PARTS", parts)
    later = TALLY._replace(minute=TALLY.minute + 60_000)
    added = [(TALLY, "1", 1), (later, "", 10), (later, "4", 4), *((later, str(name), name) for name in (1, 2, 3))]
    async with reached(prefix) as store:
        for cell, name, number in added:
            part = codec.encode(cell._replace(count=number, total_ms=number))
            await write(store, f"tally/{codec.identity(cell)}/{name and name.zfill(15)}", part)
        await upkeep.Upkeep(store._link).gather()
        assert sorted((one.minute, one.count, one.total_ms) for one in await everything(store, Tally)) == [
            (TALLY.minute, 1, 1),
            (later.minute, 20, 20),
        ]
        assert len(await keys(store, "tally/")) == (2 if parts > 1 else len(added))


def together_of(store, items):
    start = items[0].key.rpartition(b"/")[0] + b"/"
    return gathered(start, items, start + b"9")


async def held_tally(store):
    (found,) = (await store.find(Tally)).items
    return found


async def test_a_run_leaves_nothing_behind(prefix):
    async with reached(prefix) as store:
        run = make_run(1, schedule="nightly", due_at=NOW, cancel="")
        groups = [new(make_session(1)), new(run), new(Blob(f"{run.id}/payload", b"{}", NOW))]
        assert await store.commit(groups) == [APPLIED] * 3
        await store.logs.append([Line(run.id, 1, NOW, "stdout", "", "hello")])
        (was,) = (await store.claim([want()], NOW))[0].runs
        ended = was.record._replace(state=State.SUCCESS, ended_at=NOW, due_at=None)
        assert await change(store, was, ended) == APPLIED
        assert await keys(store, "live/") + await keys(store, "due/") == []
        assert await change(store, await held(store, ended), None) == APPLIED
        assert [name for name in await keys(store) if run.id in name and not name.startswith("line/")] == []
        assert await store.logs.search(Sought()) == ([], 0)


@pytest.mark.parametrize("limit", [1, 3, 7, 50])
async def test_of_one_instant_the_smallest_id_is_the_oldest(prefix, limit):
    async with reached(prefix) as store:
        runs = [make_run(number, created_at=START_AT + number // 7, state=State.BLOCKED) for number in range(30)]
        await store.commit([new(run) for run in reversed(runs)])
        for where in (Where(), Where(states=(State.BLOCKED,), schedule=""), Where(task="report")):
            assert await everything(store, Run, where, True, limit) == sorted(
                runs, key=lambda run: (run.created_at, run.id)
            )


async def test_the_largest_group_fits_into_one_request(prefix):
    async with reached(prefix) as store:
        runs = [make_run(number, schedule="nightly", due_at=NOW) for number in range(24)]
        assert await store.commit([new(*runs, tally=TALLY), new(make_task(1), make_schedule(1))]) == [APPLIED] * 2
        known = await store.get(Run, [run.id for run in runs])
        assert await store.commit([Group(tuple(Change(was, None) for was in known))]) == [APPLIED]
        assert await everything(store, Run) == []


async def test_an_attempt_has_room_for_some_lines(prefix, monkeypatch):
    monkeypatch.setattr(logs, "ATTEMPT_LETTERS", 100)
    async with reached(prefix) as store:
        lines = [Line("a", 1, NOW, "stdout", "", "x" * 30) for _ in range(10)]
        await store.logs.append([*lines, Line("a", 2, NOW, "stdout", "", "y" * 300)])
        assert [line.text[0] for line in (await store.logs.read("a"))[0]] == ["x", "x", "x", "y"]
        store.logs._lease, store.logs._lease_until = 12345, 1e12  # one that is gone
        await store.logs.append([Line("b", 1, NOW, "stdout", "", "z")])
        assert [line.text for line in (await store.logs.read("b"))[0]] == ["z"]


async def test_what_is_none_of_ours_is_refused(prefix):
    async with reached(prefix) as store:
        await put(store, make_run(1))
        for value, words in ((b"2", "newer version"), (b"hello", "somebody else")):
            await write(store, "format", value)
            with pytest.raises(Incompatible, match=words):
                await connect(prefix).open()
        await store._link.client.txn(Txn((), (Delete(store._link.key("format")),)))
    async with reached(prefix) as store:
        assert await keys(store, "format") == ["format"]


async def test_a_closed_store_leaves_nothing_open(prefix):
    counts = []
    for _ in range(8):
        async with reached(prefix) as store:
            assert await store.watch(["ready:a"]).wait(30)
            await asyncio.gather(*(put(store, make_run(number)) for number in range(9)))
        counts.append(psutil.Process().num_fds())
    assert counts[-1] < counts[1] + 5  # others in this process come and go; a leak would be six by now


async def test_a_cluster_goes_on_without_one_of_three():
    cluster = needed(EtcdCluster)
    try:
        async with reached(cluster.url) as store:
            await put(store, make_session(1), *(make_run(number) for number in range(20)))
            levels = [level for level, _ in await store.diagnose()]
            assert "fail" not in levels
            cluster.members[0].stop(signal.SIGKILL)
            assert await eventually(store, lambda: answers(store), bool, 30)
            given = await eventually_drained(store)
            assert sorted(given) == sorted(run.id for run in await everything(store, Run))
            assert "fail" in [level for level, _ in await store.diagnose()]
    finally:
        cluster.remove()


async def eventually_drained(store):
    """All runs of the session, claimed while the cluster may look for a leader."""

    async def some():
        try:
            await drain(store)
        except (Unavailable, Unclear):
            return []
        return [run.id for run in await everything(store, Run, Where(session="session-1"))]

    found: list[str] = []

    def enough(ids):
        found[:] = ids
        return len(ids) == 20

    assert await eventually(store, some, enough, 30)
    return found
