"""Connections of the PostgreSQL store: whose they are after a cancel and at the close, and at which level they work."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from rota.domain.records import Tally
from rota.ports.store import APPLIED, Change, Group
from rota.stores.postgres import pool
from rota.testing.factories import make_run
from tests.services.postgresql import do
from tests.services.proxy import between
from tests.unit.stores.files import closed_on_a_call_from_elsewhere, put, reached


async def test_a_call_that_is_cancelled_while_it_is_undone_leaves_its_connection_to_nobody(database):
    async with between(database) as (proxy, url), reached(url) as store:
        await put(store, make_run(1))
        proxy.may_close.clear()
        proxy.cut = b"ROLLBACK"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(put(store, make_run(1)), 0.5)
        assert proxy.cuts == 1
        try:
            assert await asyncio.wait_for(put(store, make_run(2)), 5) == [APPLIED]
        finally:
            proxy.may_close.set()


async def test_a_close_leaves_nobody_behind_who_ends_a_transaction(database, monkeypatch):
    monkeypatch.setattr(pool, "COOL_S", 0.0)
    async with between(database) as (proxy, url), reached(url) as store:
        proxy.may_close.clear()
        proxy.cut = b"ROLLBACK"
        await put(store, make_run(1))
        try:
            async with asyncio.timeout(30):
                while not proxy.cuts:
                    await do(database, "SELECT 1")
            await store.close()
            assert not [task for task in asyncio.all_tasks() if "Pool" in str(task.get_coro())]
        finally:
            proxy.may_close.set()


async def test_a_call_from_elsewhere_that_comes_with_the_close_is_told_so(database, monkeypatch):
    await closed_on_a_call_from_elsewhere(database, monkeypatch)


@pytest.mark.parametrize("options", ["", "?pooler=transaction"])
async def test_writers_of_one_counter_do_not_undo_each_other_whatever_the_server_prefers(database, options):
    name = database.rpartition("/")[2]
    await do(database, f"ALTER DATABASE {name} SET default_transaction_isolation = serializable")
    try:
        async with AsyncExitStack() as stack:
            stores = [await stack.enter_async_context(reached(database + options)) for _ in range(4)]
            cell = Tally(60_000, "main", "report", "default", "success", 10, "node")
            groups = [Group((Change(None, make_run(number)),), cell) for number in range(100)]
            calls = [stores[number % 4].commit([group]) for number, group in enumerate(groups)]
            assert await asyncio.gather(*calls) == [[APPLIED]] * 100
            assert await stores[0].count(Tally, "outcome") == {"success": 100}
    finally:
        await do(database, "SELECT 1", f"ALTER DATABASE {name} RESET ALL")
