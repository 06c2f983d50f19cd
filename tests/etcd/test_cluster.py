"""The etcd client on three members, some of which die or freeze."""

import asyncio
import signal

import pytest

from rota.domain.errors import Unavailable, Unclear
from rota.stores.etcd.address import read_url
from rota.stores.etcd.client import link
from rota.stores.etcd.client.client import Client
from rota.stores.etcd.client.words import Put, Range, Txn
from tests.etcd.ways import Writer, back, held, leader, new, reached
from tests.services.etcd import EtcdCluster
from tests.services.fixtures import needed


@pytest.fixture
def cluster():
    made = needed(EtcdCluster)
    yield made
    made.remove()


def leads(cluster):
    return cluster.members[leader([one.health for one in cluster.members])]


async def test_each_member_may_be_killed_in_turn_under_writes(cluster):
    async with reached(cluster.url) as client:
        lease = await client.grant(10)
        writer = Writer(client)
        for member in cluster.members:
            await writer.more(30)
            member.stop(signal.SIGKILL)
            await writer.more(30)
            await asyncio.to_thread(member.start)
        assert (await client.txn(Txn((), (Put(b"lent", b"", lease),)))).succeeded
        await writer.check()


async def test_a_leader_is_killed_while_it_is_the_one_in_use(cluster):
    async with reached(cluster.url) as client:
        killed = leads(cluster)
        client.current = cluster.members.index(killed)
        writer = Writer(client)
        await writer.more(30)
        killed.stop(signal.SIGKILL)
        await writer.more(30)
        await writer.check()


async def test_a_frozen_leader_leaves_a_write_unclear_and_the_next_one_goes_elsewhere(cluster, monkeypatch):
    async with reached(cluster.url) as client:
        frozen = leads(cluster)
        client.current = cluster.members.index(frozen)
        assert (await client.txn(new(b"k/a"))).succeeded
        monkeypatch.setattr(link, "ANSWER_S", 1.0)
        frozen.freeze()
        with pytest.raises(Unclear):
            await client.txn(new(b"k/b"))
        await back(client)
        assert (await client.txn(new(b"k/c"))).succeeded
        frozen.thaw()
        there = await held(client)
        assert {b"k/a", b"k/c"} <= there.keys()


async def told(client):
    """Why it cannot be opened."""
    with pytest.raises(Unavailable) as error:
        await client.open()
    return str(error.value)


async def test_a_member_that_has_lost_the_others_is_unavailable_and_writes_nothing(cluster, monkeypatch):
    monkeypatch.setattr(link, "ANSWER_S", 1.0)
    async with reached(cluster.url) as client:
        await client.txn(new(b"k/a"))
        for member in cluster.members[:2]:
            member.stop(signal.SIGKILL)
        alone = Client(read_url(cluster.members[2].url))
        async with asyncio.timeout(10):
            while "has no leader" not in await told(alone):
                pass
        with pytest.raises(Unavailable):
            await client.txn(new(b"k/no"))
        with pytest.raises(Unavailable):
            await client.range(Range(b"k/a"))
        for member in cluster.members[:2]:
            member.begin()
        await back(client)
        await client.txn(new(b"k/b"))
        assert {b"k/a", b"k/b"} == (await held(client)).keys()
