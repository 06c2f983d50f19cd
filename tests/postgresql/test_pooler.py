"""A real pooler in transaction mode: many clients share few connections, and each transaction may meet another one."""

import asyncio

import asyncpg
import pytest

from rota import Rota
from rota.domain.errors import Unavailable
from rota.domain.run import Run, State
from rota.ports.store import Where
from rota.stores import connect, migrate
from rota.stores.sql import schema
from tests.services.pgbouncer import SIZE
from tests.unit.stores.test_postgresql import asked, empty

__all__ = ["empty"]
RUNS = 200


def make_app(url: str) -> Rota:
    app = Rota(url, name="shop")

    @app.task(name="tick", schedule="every 1s", overlap="allow")
    async def tick() -> None:
        """Nothing more."""

    return app


async def ticked(app: Rota) -> None:
    """Until one more occurrence has come to its end, here."""
    before = {held.record.id for held in (await app.engine.store.find(Run, limit=500)).items}
    ear = app.engine.store.watch(["done"])
    async with asyncio.timeout(30):
        while True:
            found = await app.engine.store.find(Run, Where(states=(State.SUCCESS,)), limit=500)
            if {held.record.id for held in found.items if held.record.schedule} - before:
                return
            await ear.wait(1)


async def test_whole_nodes_share_a_few_connections(database, pgbouncer):
    url = pgbouncer.before(database)
    first, second, client = make_app(url), make_app(url), Rota(url, name="client")
    double = client.task(name="double")(lambda number: 2 * number)
    double_there = second.task(name="double")(lambda number: 2 * number)
    assert double_there.task.id == double.task.id
    async with client, second.running(scheduler=False):
        async with first.running(worker=False):
            handles = await double.asubmit_many([(number,) for number in range(RUNS)])
            one = await double.asubmit(7)
            assert await asyncio.gather(*(handle.aresult(timeout=60) for handle in handles)) == list(range(0, 400, 2))
            assert await one.aresult(timeout=60) == 14
            await ticked(client)  # somebody leads
            used = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            assert (await asked(database, used))[0][0] <= SIZE + 1
        async with make_app(url).running(worker=False):
            await ticked(client)  # it resigned, and another one leads
    assert await asked(database, "SELECT number FROM terms WHERE name = 'scheduler'") == [(2,)]


async def test_tables_are_made_through_it_by_several_at_once(empty, pgbouncer):
    applied = await asyncio.gather(*(migrate(pgbouncer.before(empty)) for _ in range(4)))
    assert sorted(applied) == [*[[]] * 3, list(schema.REVISIONS)]


async def test_who_does_not_say_that_there_is_one_is_told_so(database, pgbouncer):
    with pytest.raises(Unavailable, match="pooler=transaction"):
        await connect(pgbouncer.before(database, options="")).open()


async def test_a_transaction_of_their_own_may_go_through_it(database, pgbouncer):
    app = Rota(pgbouncer.before(database), name="shop")
    ship = app.task(name="ship")(lambda: None)
    async with app:
        connection = await asyncpg.connect(pgbouncer.before(database, options=""), statement_cache_size=0)
        async with connection.transaction():
            handle = await ship.with_options(connection=connection, unique="u").asubmit()
        assert await handle.astate() == "pending"
        await connection.close()
