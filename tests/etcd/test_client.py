"""What the etcd client asks of one server, and reads of its answers."""

import asyncio
import json
import urllib.request
from typing import Any

import pytest

from rota.domain.errors import Incompatible, Unavailable
from rota.stores.etcd.address import read_url
from rota.stores.etcd.client.client import Client
from rota.stores.etcd.client.words import Compare, Delete, Done, Put, Range, Ranged, Txn
from tests.etcd.ways import held, new, reached


@pytest.fixture
def start(prefix):
    """Of the keys of this test."""
    return prefix.rpartition("/")[2].encode() + b"/"


@pytest.fixture
def end(start):
    return start[:-1] + b"0"


async def test_groups_of_a_transaction_succeed_and_fail_one_by_one(prefix, start):
    async with reached(prefix) as client:
        assert (await client.txn(new(start + b"b", b"1"))).succeeded
        groups = tuple(
            Txn((Compare(start + name, "created", "=", 0),), (Put(start + name, b"2"),), (Range(start + name),))
            for name in (b"a", b"b", b"c")
        )
        done = await client.txn(Txn((), (Put(start + b"wake", b""), *groups)))
        assert done.replies[0] is None
        a, b, c = done.replies[1:]
        assert a == c == Done(True, (None,), 0)
        assert isinstance(b, Done)
        (read,) = b.replies
        assert isinstance(read, Ranged)
        assert not b.succeeded
        assert [(one.value, one.modified) for one in read.items] == [(b"1", done.revision - 1)]
        found = {one.key: one for one in (await client.range(Range(start, start + b"d"))).items}
        assert {key[-1:]: one.value for key, one in found.items()} == {b"a": b"2", b"b": b"1", b"c": b"2"}
        assert found[start + b"a"].modified == done.revision
        again = await client.txn(Txn((), (Put(start + b"a", b"3"),)))
        (one,) = (await client.range(Range(start + b"a"))).items
        assert one[1:] == (b"3", again.revision)


async def test_every_condition_is_asked_as_it_is_meant(prefix, start, end):
    async with reached(prefix) as client:
        first = await client.txn(new(start + b"a", b"m"))
        lease = await client.grant(60)
        await client.txn(Txn((), (Put(start + b"a", b"m", lease), Put(start + b"z", b"another"))))
        now = {"version": 2, "created": first.revision, "modified": first.revision + 1, "lease": lease}

        async def holds(key: bytes, target: Any, op: Any, value: int | bytes) -> bool:
            # With something to read: of a question without, a member would not ask whether it is up to date.
            return (await client.txn(Txn((Compare(key, target, op, value),), (Range(key),), (Range(key),)))).succeeded

        for target, number in now.items():
            for op, value in (("=", number), ("!=", number + 1), (">", number - 1), ("<", number + 1)):
                assert await holds(start + b"a", target, op, value), (target, op, now, await held(client, start, end))
            for op, value in (("=", number + 1), ("!=", number), (">", number), ("<", number)):
                assert not await holds(start + b"a", target, op, value), (target, op)
            assert await holds(start + b"none", target, "=", 0), target
        for op, text, held_to in (("=", b"m", True), ("<", b"n", True), (">", b"m", False), ("!=", b"m", False)):
            assert await holds(start + b"a", "value", op, text) is held_to
        assert not (await client.txn(Txn((Compare(start, "created", "=", 0, end),), ()))).succeeded
        assert (await client.txn(Txn((Compare(start, "created", ">", 0, end),), ()))).succeeded


async def test_ranges_are_cut_counted_and_read_as_they_were(prefix, start, end):
    async with reached(prefix) as client:
        then = (await client.txn(Txn((), tuple(Put(start + b"%d" % number, b"v") for number in range(5))))).revision
        await client.txn(Txn((), (Delete(start + b"3", end),)))
        page = await client.range(Range(start, end, limit=2))
        assert ([one.key[-1:] for one in page.items], page.count, page.more) == ([b"0", b"1"], 3, True)
        assert page.revision == then + 1
        assert [one.value for one in (await client.range(Range(start, end, keys_only=True))).items] == [b""] * 3
        assert await client.range(Range(start, end, count_only=True)) == ((), 3, False, then + 1)
        assert (await client.range(Range(start, end, revision=then))).count == 5


async def test_an_answer_may_be_longer_than_the_librarys_limit(prefix, start, end):
    async with reached(prefix) as client:
        for number in range(6):
            await client.txn(new(start + b"%d" % number, bytes(1_000_000)))
        assert sum(len(one.value) for one in (await client.range(Range(start, end))).items) == 6_000_000


async def test_a_watch_tells_what_is_written_to_its_key_in_order(prefix, start, end):
    async with reached(prefix) as client:
        key = start + b"a"
        first = await client.txn(Txn((), (Put(key, b"1"), Put(start + b"b", b"not ours"))))
        await client.txn(Txn((), (Delete(start, end),)))
        values = client.watch(key, first.revision)
        assert await anext(values) == b"1"
        await client.txn(new(key, b"2"))
        assert await anext(values) == b"2"
        await values.aclose()


def revoke(server: str, lease: int) -> None:
    """End a lease, as it would by itself after its time."""
    asked = urllib.request.Request(f"http://{server}/v3/lease/revoke", json.dumps({"ID": lease}).encode())
    urllib.request.urlopen(asked, timeout=5).close()


async def test_keys_go_with_their_lease(prefix, start):
    async with reached(prefix) as client:
        lease = await client.grant(10)
        await client.txn(Txn((), (Put(start + b"a", b"", lease), Put(start + b"b", b""))))
        await asyncio.to_thread(revoke, client.endpoints[0], lease)
        assert list(await held(client, start, start + b"z")) == [start + b"b"]
        with pytest.raises(Unavailable, match="knows this lease no more"):
            await client.txn(Txn((), (Put(start + b"c", b"", lease),)))


async def test_what_a_server_refuses_changes_nothing_and_says_what_helps(prefix, start, end):
    async with reached(prefix) as client:
        keys = [start + b"%d" % number for number in range(129)]
        for txn, remedy in (
            (new(keys[0], bytes(3_000_000)), "--max-request-bytes"),
            (new(keys[0], bytes(1_600_000)), "--max-request-bytes"),
            (Txn((), tuple(Put(key, b"") for key in keys)), "--max-txn-ops"),
            (Txn((), (Put(keys[0], b""), Put(keys[0], b""))), "duplicate key"),
        ):
            with pytest.raises(Incompatible, match=remedy):
                await client.txn(txn)
        assert await held(client, start, end) == {}


async def test_a_client_that_is_not_open_says_so(prefix, start, end):
    client = Client(read_url(prefix))
    with pytest.raises(Unavailable, match="not open"):
        await client.range(Range(start))
    await client.open()
    await client.txn(new(start + b"a"))
    await client.close()
    with pytest.raises(Unavailable, match="not open"):
        await client.txn(new(start + b"b"))
    await client.open()
    assert list(await held(client, start, end)) == [start + b"a"]
    await client.close()


async def test_a_server_tells_how_it_is(prefix):
    async with reached(prefix) as client:
        status = await client.status()
        assert status.version.startswith("3.")
        assert status.size >= status.in_use > 0
        assert (status.leader, status.errors) == (status.member, ())
        assert await client.members() == 1
        assert await client.alarms() == ()
