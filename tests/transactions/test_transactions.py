"""Runs that are submitted in a user's own transaction exist exactly if it commits."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from rota import Invalid, NotFound, Refused, Rota, Unavailable
from rota.domain.facts import Fact
from rota.engine.define import update_task
from rota.worker.options import Options as WorkerOptions
from tests.services.postgresql import do
from tests.transactions.ways import POSTGRESQL, WAYS

SOME = ["psycopg", "psycopg2", "asyncpg", "psycopg-async", "session-asyncpg"]
"""One of each driver and colour."""
LARGE = "x" * 10_000
all_ways = pytest.mark.parametrize("shop", WAYS, indirect=True)
on_postgresql = pytest.mark.parametrize("shop", POSTGRESQL, indirect=True)
some_on_postgresql = pytest.mark.parametrize("shop", SOME, indirect=True)
some_ways = pytest.mark.parametrize("shop", ["sqlite3", *SOME], indirect=True)


@all_ways
async def test_a_run_exists_once_their_transaction_commits(shop):
    async with shop.user() as user:
        await user.do("INSERT INTO orders VALUES ('a')")
        (handle,) = await user.submit_many(shop.ship, [{"order": "a", "connection": "by sea"}])
        assert handle.created
        assert await shop.counts() == [0, 0, 0, 0]
        with pytest.raises(NotFound):
            await handle.astate()
        await user.commit()
        assert await shop.counts() == [1, 1, 0, 0]
        assert await handle.astate() == "pending"
    async with shop.app.running(scheduler=False):
        assert await handle.aresult(timeout=30) == "aby sea"


@all_ways
async def test_a_rollback_leaves_nothing(shop):
    async with shop.user() as user:
        await user.do("INSERT INTO orders VALUES ('a')")
        await user.submit(shop.ship, LARGE, unique="a", key="k")
        await user.submit_many(shop.ship, [("b",), {"order": "c"}])
        await user.rollback()
    assert await shop.counts() == [0, 0, 0, 0]
    assert (await shop.ship.with_options(unique="a").asubmit("a")).created


@some_ways
async def test_a_closed_connection_is_a_rollback(shop):
    async with shop.user() as user:
        await user.submit(shop.ship, "a", unique="a")
    assert await shop.counts() == [0, 0, 0, 0]


@some_ways
async def test_it_can_be_all_that_a_transaction_does(shop):
    async with shop.user() as user:
        (first, second) = await user.submit_many(shop.ship, [("a",), (LARGE,)])
        await user.commit()
    assert await shop.counts() == [0, 2, 0, 1]
    assert (await first.astate(), await second.astate()) == ("pending", "pending")


@some_ways
async def test_options_hold(shop):
    at = datetime.now(UTC) + timedelta(hours=1)
    async with shop.user() as user:
        later = await user.submit(shop.ship, "a", delay="1h", priority="high", queue="mail", retries=7)
        then = await user.submit(shop.ship, "a", at=at)
        await user.commit()
    run = await shop.run(later.id)
    assert (run.state, run.priority, run.queue, run.retry.retries, run.actor) == ("scheduled", 2, "mail", 7, "app:shop")
    assert (await shop.run(then.id)).due_at == int(at.timestamp() * 1_000)


@all_ways
async def test_keys_are_judged_inside_and_the_transaction_goes_on(shop):
    theirs = await shop.ship.with_options(unique="u").asubmit("before")
    keyed = await shop.ship.with_options(key="k").asubmit("before")
    async with shop.user() as user:
        await user.do("INSERT INTO orders VALUES ('a')")
        same = await user.submit(shop.ship, "again", unique="u")
        assert (same.id, same.created) == (theirs.id, False)
        again = await user.submit(shop.ship, "before", key="k")
        assert (again.id, again.created) == (keyed.id, False)
        with pytest.raises(Refused, match="another body"):
            await user.submit(shop.ship, "other", key="k")
        mine = await user.submit(shop.ship, "a", unique="v")
        assert mine.created
        twice = await user.submit(shop.ship, "a", unique="v")
        assert (twice.id, twice.created) == (mine.id, False)
        await user.do("INSERT INTO orders VALUES ('b')")
        await user.commit()
    assert await shop.counts() == [2, 3, 3, 0]


@some_ways
async def test_what_raises_leaves_the_transaction_as_it_was(shop):
    async with shop.user() as user:
        await user.do("INSERT INTO orders VALUES ('a')")
        with pytest.raises(Refused, match="order 2"):
            await user.submit_many(shop.ship, [("a",), ("b",)], key="k")
        with pytest.raises(Invalid, match="order"):
            await user.submit_many(shop.ship, [("a",), (7,)])
        await user.do("INSERT INTO orders VALUES ('b')")
        await user.commit()
    assert await shop.counts() == [2, 0, 0, 0]


@all_ways
async def test_their_savepoints_are_theirs(shop):
    async with shop.user() as user:
        await user.do("INSERT INTO orders VALUES ('a')")
        stays = await user.submit(shop.ship, "a", unique="u")
        await user.do("SAVEPOINT mine")
        await user.submit(shop.ship, "b", unique="v")
        await user.do("ROLLBACK TO SAVEPOINT mine")
        assert (await user.submit(shop.ship, "c", unique="u")).id == stays.id
        assert (await user.submit(shop.ship, "d", unique="v")).created
        await user.commit()
    assert await shop.counts() == [1, 2, 2, 0]


@pytest.mark.parametrize("shop", ["sqlite3", "psycopg", "psycopg2", "asyncpg"], indirect=True)
async def test_thousands_are_all_or_none(shop):
    calls = [(str(number),) for number in range(2_500)]
    async with shop.user() as user:
        handles = await user.submit_many(shop.ship, calls)
        await user.rollback()
    assert await shop.counts() == [0, 0, 0, 0]
    async with shop.user() as user:
        handles = await user.submit_many(shop.ship, calls)
        await user.commit()
    assert await shop.counts() == [0, 2_500, 0, 0]
    assert len({handle.id for handle in handles}) == 2_500


@on_postgresql
@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_the_second_of_two_with_one_key_waits_for_the_end_of_the_first(shop, end):
    async with shop.user() as one, shop.user() as other:
        first = await one.submit(shop.ship, "a", unique="u")
        await other.do("INSERT INTO orders VALUES ('b')")
        waiting = asyncio.create_task(other.submit(shop.ship, "b", unique="u"))
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done
        await getattr(one, end)()
        second = await waiting
        assert (second.created, second.id == first.id) == (end == "rollback", end == "commit")
        await other.commit()
    assert await shop.counts() == [1, 1, 1, 0]


@some_on_postgresql
async def test_a_wait_that_is_too_long_for_them_leaves_their_transaction_alone(shop):
    async with shop.user() as one, shop.user() as other:
        await one.submit(shop.ship, "a", unique="u")
        await other.do("SET LOCAL lock_timeout = '100ms'")
        await other.do("INSERT INTO orders VALUES ('b')")
        with pytest.raises(Unavailable, match="locked for too long"):
            await other.submit(shop.ship, "b", unique="u")
        await other.submit(shop.ship, "b", unique="v")
        await other.commit()
    assert await shop.counts() == [1, 1, 1, 0]


@some_on_postgresql
async def test_in_an_older_snapshot_a_key_of_others_is_no_secret(shop):
    async with shop.user() as user:
        await user.do("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await user.do("SELECT 1 FROM orders")
        await shop.ship.with_options(unique="u").asubmit("a")
        with pytest.raises(Unavailable, match="begin it anew"):
            await user.submit(shop.ship, "b", unique="u")
        await user.submit(shop.ship, "b", unique="v")
        await user.commit()
    assert await shop.counts() == [0, 2, 2, 0]


@pytest.mark.parametrize("shop", ["psycopg", "asyncpg"], indirect=True)
async def test_what_an_older_snapshot_shows_is_not_remembered(shop):
    engine = shop.app.engine
    await shop.ship.asubmit("a")
    async with shop.user() as user:
        await user.do("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await user.do("SELECT 1 FROM orders")
        await update_task(engine, "main/ship", {"queue": "mail"}, "ann")
        assert (await user.submit(shop.ship, "a")).created
        await user.commit()
    assert (await shop.run((await shop.ship.asubmit("a")).id)).queue == "mail"


@some_ways
async def test_nobody_is_told_of_a_run_that_may_never_exist(shop):
    facts: list[Fact] = []
    shop.app.engine.emit = facts.append
    async with shop.user() as user:
        await user.submit(shop.ship, "a")
        await user.rollback()
    assert facts == []
    await shop.ship.asubmit("b")
    assert len(facts) == 1


@some_on_postgresql
async def test_a_key_that_is_only_looked_at_holds_up_nobody(shop):
    theirs = await shop.ship.with_options(unique="u").asubmit("a")
    async with shop.user() as user:
        assert (await user.submit(shop.ship, "b", unique="u")).id == theirs.id
        assert await theirs.acancel() == "cancelled"  # which frees the key, at once
        await user.commit()


@some_ways
async def test_their_commit_wakes_a_worker(shop):
    async with (
        shop.app.running(scheduler=False, worker_options=WorkerOptions("w", ("main",), scan_ms=600_000)),
        shop.user() as user,
    ):
        handle = await user.submit(shop.ship, "a")
        await user.commit()
        assert await handle.aresult(timeout=30) == "a"


@some_on_postgresql
async def test_their_own_statements_find_what_they_found_before(shop):
    async with shop.user() as user:
        await user.do("SET LOCAL search_path = pg_temp, public")
        await user.submit(shop.ship, "a")
        await user.do("CREATE TABLE runs (theirs int) ON COMMIT DROP")
        await user.do("INSERT INTO runs (theirs) VALUES (1)")
        await user.submit(shop.ship, "b")
        await user.do("UPDATE runs SET theirs = 2")
        await user.commit()
    assert await shop.counts() == [0, 2, 0, 0]


@pytest.mark.parametrize("way", ["psycopg", "asyncpg", "session-asyncpg"])
async def test_rota_may_have_a_schema_of_its_own(orders, way):
    await do(orders, "CREATE SCHEMA ours")
    app = Rota(f"{orders}?search_path=ours")
    ship = app.task(name="ship")(lambda order: order)
    try:
        async with app, WAYS[way](orders) as user:
            await user.do("INSERT INTO orders VALUES ('a')")
            handle = await user.submit(ship, "a")
            await user.do("INSERT INTO orders VALUES ('b')")
            await user.commit()
            assert await handle.astate() == "pending"
    finally:
        await do(orders, "DROP SCHEMA ours CASCADE")
