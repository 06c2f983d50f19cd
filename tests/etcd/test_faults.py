"""The etcd client where its server dies, freezes, forgets, is full, or does not come through."""

import asyncio
import os
import signal
import time

import pytest

from rota.domain.errors import Unavailable, Unclear
from rota.stores.etcd.client import link
from rota.stores.etcd.client.faults import Compacted
from rota.stores.etcd.client.words import Alarm, Compare, Delete, Put, Range, Txn
from tests.etcd.ways import Writer, back, held, new, reached
from tests.services.etcd import EtcdServer
from tests.services.fixtures import needed
from tests.services.proxy import between


@pytest.fixture
def server():
    """One that a test may kill."""
    made = needed(EtcdServer)
    made.start()
    yield made
    made.remove()


@pytest.fixture
def hasty(monkeypatch):
    """A client that does not wait long."""
    monkeypatch.setattr(link, "ANSWER_S", 0.5)


async def again(server):
    """Start it, and let the loop go on meanwhile."""
    await asyncio.to_thread(server.start)


async def test_nothing_is_lost_or_doubled_by_kills(server):
    async with reached(server.url) as client:
        writer = Writer(client)
        for _ in range(3):
            await writer.more(30)
            server.stop(signal.SIGKILL)
            await again(server)
            await back(client)
        await writer.check()


async def test_a_server_that_is_gone_is_unavailable_at_once_and_nothing_happened(server):
    async with reached(server.url) as client:
        server.stop(signal.SIGKILL)
        started = time.monotonic()
        with pytest.raises(Unavailable):  # a write ahead of the news of its end would be unclear
            await client.range(Range(b"k"))
        for number in range(5):
            with pytest.raises(Unavailable, match=r"etcd at 127.0.0.1:\d+ does not answer"):
                await client.txn(new(b"k/%d" % number))
        assert time.monotonic() - started < 1
        await again(server)
        await back(client)
        assert await held(client) == {}


@pytest.mark.parametrize("told", [True, False], ids=["connection closed", "silence"])
async def test_a_lost_answer_is_unclear_and_is_not_sent_again(server, hasty, told):
    async with between(server.url) as (proxy, url), reached(url) as client, reached(server.url) as other:
        assert (await client.txn(Txn((), (Put(b"k/a", b""),)))).succeeded
        proxy.cut = b"k/b"
        if not told:
            proxy.may_close.clear()
        with pytest.raises(Unclear, match="may or may not count"):
            await client.txn(Txn((), (Put(b"k/b", b""),)))
        assert proxy.cuts == 1
        proxy.may_close.set()
        # A server may give up what it was asked by a connection that is closed at once.
        assert (await other.txn(Txn((Compare(b"k/b", "version", "<", 2),), ()))).succeeded


async def test_a_lost_answer_to_a_question_is_only_unavailable(server, hasty):
    async with between(server.url) as (proxy, url), reached(url) as client:
        asks = Txn((), (Range(b"k/asked"), Txn((), (Range(b"k/too"),))))
        for call in (lambda: client.range(Range(b"k/asked")), lambda: client.txn(asks)):
            proxy.cut = b"k/asked"
            with pytest.raises(Unavailable):
                await call()
            assert not proxy.cut
            await back(client)


async def test_a_silent_network_does_not_keep_a_watch_waiting(monkeypatch):
    quick = [(name, value // 10 if "keepalive" in name or "ping" in name else value) for name, value in link._OPTIONS]
    monkeypatch.setattr(link, "_OPTIONS", tuple(quick))
    server = needed(lambda: EtcdServer(["--grpc-keepalive-min-time=100ms"]))
    server.start()
    try:
        async with between(server.url) as (proxy, url), reached(url) as client, reached(server.url) as other:
            values = client.watch(b"k/a", 1)
            await other.txn(new(b"k/a", b"1"))
            assert await anext(values) == b"1"
            # From the next ping on no answer comes back, and nobody is told that the connection is of no use.
            proxy.may_close.clear()
            proxy.cut = bytes((0, 0, 8, 6, 0))
            async with asyncio.timeout(10):
                while not proxy.cuts:
                    await other.range(Range(b"k/"))
            try:
                async with asyncio.timeout(20):
                    assert [value async for value in values] == []
            finally:
                proxy.may_close.set()
    finally:
        server.remove()


async def test_what_was_compacted_is_told_of_no_more(server):
    async with reached(server.url) as client:
        for number in range(5):
            await client.txn(Txn((), (Put(b"k/a", b"%d" % number),)))
        now = (await client.range(Range(b"k/a"))).revision
        await client.compact(now)
        await client.compact(now)
        with pytest.raises(Compacted):
            await client.range(Range(b"k/a", revision=2))
        assert [value async for value in client.watch(b"k/a", 2)] == []


async def filled(client):
    """Write until there is no room: the server notices it late, and a quick disk takes much until then."""
    for number in range(200):
        await client.txn(new(b"k/%d" % number, os.urandom(1_000_000)))


async def test_a_full_server_says_so_and_takes_writes_again_when_it_was_emptied():
    server = needed(lambda: EtcdServer([f"--quota-backend-bytes={8 << 20}"]))
    server.start()
    try:
        async with reached(server.url) as client:
            with pytest.raises(Unavailable, match=r"is full \(alarm NOSPACE\)"):
                await filled(client)
            async with asyncio.timeout(10):
                while not (raised := await client.alarms()):
                    pass
            status = await client.status()
            assert raised == (Alarm(status.member, "NOSPACE"),)
            assert any("NOSPACE" in error for error in status.errors)
            done = await client.txn(Txn((), (Delete(b"k/", b"k0"),)))
            await client.compact(done.revision)
            full = (await client.status()).size
            await client.defragment(0)
            assert (await client.status()).size < full
            await client.disarm()
            assert await client.alarms() == ()
            assert (await client.txn(new(b"k/a"))).succeeded
    finally:
        server.remove()


async def test_a_call_that_is_given_up_leaves_the_client_whole(server):
    async with reached(server.url) as client:
        calls = [asyncio.create_task(client.txn(new(b"k/%d" % number))) for number in range(50)]
        await client.range(Range(b"k/"))
        for call in calls[::2]:
            call.cancel()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(end).__name__ for end in ends[1::2]} == {"Done"}
        assert {type(end).__name__ for end in ends[::2]} <= {"CancelledError", "Done"}
        assert set(await held(client)) >= {b"k/%d" % number for number in range(1, 50, 2)}


async def test_a_client_that_is_closed_lets_its_calls_end(server):
    async with reached(server.url) as client:
        server.freeze()
        calls = [asyncio.create_task(client.txn(new(b"k/%d" % number))) for number in range(3)]
        closing = asyncio.create_task(client.close())
        assert not (await asyncio.wait({closing, *calls}, timeout=0.2))[0]
        server.thaw()
        assert all(done.succeeded for done in await asyncio.gather(*calls))
        await closing


async def test_a_server_that_never_was_is_told_by_its_address():
    for url, said in (
        ("etcd://127.0.0.1:1", "etcd at 127.0.0.1:1 does not answer"),
        ("etcd://nobody.invalid", "etcd at nobody.invalid:2379 has no address"),
    ):
        with pytest.raises(Unavailable, match=said):
            async with reached(url):
                pass
