"""Connections of the PostgreSQL store: whose they are after a cancel and at the close, and at which level they work."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

import pytest

from rota.domain.errors import Unavailable
from rota.domain.records import Tally
from rota.domain.run import Run
from rota.ports.store import APPLIED, Change, Group
from rota.testing.factories import make_run
from tests.services.postgresql import do
from tests.services.proxy import between
from tests.unit.stores.files import put, reached


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


async def test_a_call_from_elsewhere_that_comes_with_the_close_is_told_so(database, monkeypatch):
    loop, came = asyncio.get_running_loop(), threading.Event()
    original = loop.call_soon_threadsafe

    def soon(*arguments, **more):
        handle = original(*arguments, **more)
        came.set()
        return handle

    async with reached(database) as store:
        await put(store, make_run(1))
        monkeypatch.setattr(loop, "call_soon_threadsafe", soon)
        with ThreadPoolExecutor(1) as thread:
            asked = thread.submit(lambda: asyncio.run(asyncio.wait_for(store.get(Run, [make_run(1).id]), 5)))
            assert came.wait(30)
            await store.close()
            with pytest.raises(Unavailable, match="closed meanwhile"):
                await asyncio.wrap_future(asked)


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
