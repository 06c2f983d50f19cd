"""Addresses that lead to another server than before, and hosts of which one is silent."""

import asyncio
from urllib.parse import urlsplit

import pytest

from rota.domain.errors import Unavailable
from rota.domain.run import Run
from rota.ports.store import APPLIED
from rota.testing.factories import make_run
from tests.services.listener import listening
from tests.services.proxy import between
from tests.unit.stores.files import put, reached
from tests.unit.stores.test_postgresql import break_all


async def lead(proxy, server):
    """As an address does that is given to another server, or a balancer that has not noticed yet."""
    proxy.target = "127.0.0.1", server.port
    await proxy.listener.drop()


async def test_who_began_at_a_replica_goes_on_at_the_primary_once_the_address_leads_there(pair):
    async with reached(pair.primary.url):
        await pair.caught_up()
    async with between(pair.replica.url) as (proxy, url), reached(url) as store:
        with pytest.raises(Unavailable, match="name the primary"):
            await put(store, make_run(1))
        proxy.target = "127.0.0.1", pair.primary.port  # the connections there are stay as they are
        assert await put(store, make_run(1)) == [APPLIED]


async def test_who_began_at_the_primary_decides_upon_nothing_that_a_replica_says(pair):
    async with between(pair.primary.url) as (proxy, url), reached(url) as store:
        await put(store, make_run(2))
        await pair.caught_up()
        await lead(proxy, pair.replica)
        for ask in (lambda: store.get(Run, [make_run(2).id]), lambda: put(store, make_run(3))):
            with pytest.raises(Unavailable, match="no primary now"):
                await ask()
        await lead(proxy, pair.primary)
        assert await put(store, make_run(3)) == [APPLIED]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://{user}@127.0.0.1:{silent},127.0.0.1:{port}/{name}?connect_timeout=0.5",
        "postgresql://{user}@/{name}?host=127.0.0.1,127.0.0.1&port={silent},{port}&connect_timeout=0.5",
    ],
)
async def test_a_host_that_is_silent_does_not_keep_from_the_next(database, url):
    calls = []

    async def silent(reader, writer):
        calls.append(writer)
        await asyncio.Event().wait()

    parts = urlsplit(database)
    user, name = parts.netloc.rpartition("@")[0], parts.path[1:]
    async with (
        listening(silent) as port,
        reached(url.format(user=user, silent=port, port=parts.port, name=name)) as store,
    ):
        assert await put(store, make_run(1)) == [APPLIED]
        assert calls
        calls.clear()
        await break_all(database)
        assert await put(store, make_run(2)) == [APPLIED]
        assert not calls  # who answered is asked first
