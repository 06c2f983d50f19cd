"""Connections in which nothing can be submitted: what is said of them, and that they are left as they were."""

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import scoped_session, sessionmaker

from rota import Invalid, Rota, RotaError, StoreError, Unavailable
from rota.sdk.client import Client
from rota.testing.faults import FaultyStore
from tests.docs.pages import ROOT
from tests.services.postgresql import do
from tests.transactions.test_transactions import SOME
from tests.transactions.ways import POSTGRESQL, SQLITE, WAYS, by

all_ways = pytest.mark.parametrize("shop", WAYS, indirect=True)
on_postgresql = pytest.mark.parametrize("shop", POSTGRESQL, indirect=True)
some_on_postgresql = pytest.mark.parametrize("shop", SOME, indirect=True)
on_asyncpg = pytest.mark.parametrize("shop", ["asyncpg"], indirect=True)
on_sqlite = pytest.mark.parametrize("shop", ["sqlite3"], indirect=True)


def lent(shop, connection):
    return shop.ship.with_options(connection=connection)


@pytest.mark.parametrize("shop", ["sqlite3", "asyncpg"], indirect=True)
async def test_what_is_no_connection(shop):
    for what in ("postgresql://host/database", 7, object(), shop.app):
        with pytest.raises(Invalid, match=r"connection: .* is none of"):
            await lent(shop, what).asubmit("a")


@some_on_postgresql
async def test_one_to_another_kind_of_database(shop):
    with closing(sqlite3.connect(":memory:")) as other, pytest.raises(Invalid, match="none of SQLAlchemy"):
        await lent(shop, other).asubmit("a")


@on_sqlite
async def test_one_to_another_kind_of_database_than_a_file(shop, orders):
    with psycopg.connect(orders) as other, pytest.raises(Invalid, match="none of sqlite3"):
        await lent(shop, other).asubmit("a")


@some_on_postgresql
async def test_one_to_another_database_of_rota(shop, postgresql, orders):
    url = await postgresql.make()
    try:
        async with WAYS["asyncpg"](url) as user:
            with pytest.raises(Invalid, match=r"another database than the app's store, postgresql://rota:…@"):
                await user.submit(shop.ship, "a")
            await user.do("INSERT INTO tasks (id) SELECT 'x' WHERE false")
    finally:
        await postgresql.take_back(url)


@on_sqlite
@pytest.mark.parametrize("other", ["other.db", ":memory:"])
async def test_one_to_another_file(shop, other, tmp_path):
    name = other if other.startswith(":") else str(tmp_path / other)
    with closing(sqlite3.connect(name)) as connection:
        with pytest.raises(Invalid, match=r"it leads to .* the app's store is "):
            await lent(shop, connection).asubmit("a")
        assert not connection.in_transaction


async def test_a_store_in_memory_is_reached_by_nobody_else():
    app = Rota("sqlite://", name="shop")
    ship = app.task(name="ship")(lambda: None)
    async with app:
        with closing(sqlite3.connect(":memory:")) as other, pytest.raises(Invalid, match="it leads to memory"):
            await ship.with_options(connection=other).asubmit()


@on_asyncpg
async def test_one_that_commits_each_statement(shop, orders):
    async def refused(connection):
        with pytest.raises(Invalid, match="commits each statement by itself"):
            await lent(shop, connection).asubmit("a")

    connection = await asyncpg.connect(orders)
    await refused(connection)
    await connection.close()
    with psycopg.connect(orders, autocommit=True) as synchronous:
        await refused(synchronous)
        with synchronous.transaction():
            await lent(shop, synchronous).asubmit("a")
    with sa.create_engine(by("psycopg2", orders), isolation_level="AUTOCOMMIT").connect() as other:
        await refused(other)
    engine = create_async_engine(by("asyncpg", orders), isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await refused(connection)
    await engine.dispose()
    assert await shop.counts() == [0, 1, 0, 0]


@on_sqlite
async def test_a_file_that_is_written_statement_by_statement(shop, tmp_path):
    with closing(sqlite3.connect(tmp_path / "rota.db", isolation_level=None)) as connection:
        with pytest.raises(Invalid, match="commits each statement by itself"):
            await lent(shop, connection).asubmit("a")
        connection.execute("BEGIN")
        await lent(shop, connection).asubmit("a")
        connection.execute("COMMIT")
    assert await shop.counts() == [0, 1, 0, 0]


@on_sqlite
async def test_what_raises_before_their_transaction_has_begun_begins_none(shop, tmp_path):
    with closing(sqlite3.connect(tmp_path / "rota.db")) as connection:
        with pytest.raises(Invalid, match="queue"):
            await shop.ship.with_options(connection=connection, queue="no name").asubmit("a")
        assert not connection.in_transaction
        assert (await shop.ship.asubmit("others")).created
        await lent(shop, connection).asubmit("a")
        with pytest.raises(Invalid, match="queue"):
            await shop.ship.with_options(connection=connection, queue="no name").asubmit("a")
        connection.commit()
    assert await shop.counts() == [0, 2, 0, 0]


@on_sqlite
async def test_one_that_gives_texts_as_bytes(shop, tmp_path):
    with closing(sqlite3.connect(tmp_path / "rota.db")) as connection:
        connection.text_factory = bytes
        for _ in range(2):
            await shop.ship.with_options(connection=connection, unique="u").asubmit("a")
        connection.commit()
        assert connection.execute("SELECT task FROM runs").fetchall() == [(b"ship",)]


@on_sqlite
async def test_one_that_has_read_what_others_have_changed_since(shop, tmp_path):
    with closing(sqlite3.connect(tmp_path / "rota.db")) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM runs").fetchone()
        await shop.ship.asubmit("others")
        with pytest.raises(Unavailable, match="roll it back and begin it anew"):
            await lent(shop, connection).asubmit("a")


@on_sqlite
async def test_one_whose_file_is_gone(shop, tmp_path):
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        (tmp_path / "other.db").unlink()
        with pytest.raises(Invalid, match=r"leads to .*other\.db"):
            await lent(shop, connection).asubmit("a")


@all_ways
async def test_one_that_is_closed(shop):
    async with shop.user() as user:
        pass
    if not any(word in type(user.given).__name__ for word in ("Session", "session")):  # those begin anew
        with pytest.raises(Invalid, match=r"connection: it (is closed|cannot be used)"):
            await lent(shop, user.given).asubmit("a")


@on_postgresql
async def test_one_whose_transaction_has_failed(shop):
    async with shop.user() as user:
        await user.do("INSERT INTO orders VALUES ('a')")
        with pytest.raises(Exception, match="orders_pkey"):
            await user.do("INSERT INTO orders VALUES ('a')")
        with pytest.raises(Invalid, match=r"connection: (its transaction has failed before|it cannot be used)"):
            await user.submit(shop.ship, "a")
        await user.rollback()
    assert await shop.counts() == [0, 0, 0, 0]


@on_postgresql
async def test_one_whose_server_ended_it(shop, orders):
    others = "datname = current_database() AND pid <> pg_backend_pid() AND application_name <> 'rota'"
    async with shop.user() as user:
        await user.do("INSERT INTO orders VALUES ('a')")
        await do(orders, f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}")
        with pytest.raises(RotaError) as told:
            await user.submit(shop.ship, "a")
        assert isinstance(told.value, StoreError | Invalid)
    assert await shop.counts() == [0, 0, 0, 0]


@some_on_postgresql
async def test_one_that_only_reads(shop):
    async with shop.user() as user:
        await user.do("SET TRANSACTION READ ONLY")
        with pytest.raises(Unavailable, match="name the primary"):
            await user.submit(shop.ship, "a")
        await user.do("SELECT 1")


@on_asyncpg
async def test_one_without_the_right_to_write(shop, orders):
    role, page = f"rota_stranger_{os.getpid()}", (ROOT / "docs" / "stores.md").read_text(encoding="utf-8")
    await do(orders, f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    grants = re.findall(r"^GRANT .* TO shop;$", page, re.MULTILINE)
    assert len(grants) == 3
    try:
        connection = await asyncpg.connect(orders, user=role, password="x")
        async with connection.transaction():
            with pytest.raises(Unavailable, match="give this user the right"):
                await lent(shop, connection).asubmit("a")
            await connection.execute("SELECT 1")
        await do(orders, *(one.replace("rota_tables", "public").replace(" shop;", f" {role}") for one in grants))
        async with connection.transaction():
            await lent(shop, connection).asubmit("a")
        await connection.close()
    finally:
        await do(orders, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@on_asyncpg
async def test_a_server_that_does_not_say_which_one_it_is(shop):
    async with shop.user() as user:
        shop.app.engine.store.base._tables = None
        with pytest.raises(Invalid, match="pg_control_system"):
            await user.submit(shop.ship, "a")


@on_asyncpg
async def test_one_of_the_wrong_colour(shop, orders):
    async with shop.user() as user:
        with pytest.raises(Invalid, match="await `asubmit`"):
            await asyncio.to_thread(lent(shop, user.given).submit, "a")
        with pytest.raises(Invalid, match="await `asubmit`"):
            await asyncio.to_thread(lent(shop, user.given).submit_many, [("a",)])
        with pytest.raises(RotaError, match="begins with `a`"):
            lent(shop, user.given).submit("a")


@pytest.mark.parametrize("shop", ["asyncpg", "psycopg-async", "session-asyncpg"], indirect=True)
async def test_one_on_which_another_call_is_under_way(shop):
    async with shop.user() as user:
        calls = (user.submit(shop.ship, name, unique=name) for name in "abc")
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(one, Invalid) and "under way" in str(one) for one in answers] == [False, True, True]
        await user.submit(shop.ship, "d")
        await user.commit()
    assert await shop.counts() == [0, 2, 1, 0]


@on_asyncpg
async def test_a_scoped_session_is_each_threads_own(shop, orders):
    engine = sa.create_engine(by("psycopg", orders))
    sessions, met = scoped_session(sessionmaker(engine)), threading.Barrier(2, timeout=30)

    def one(name: str) -> None:
        lent(shop, sessions).submit(name)
        met.wait()  # both transactions are open
        for _ in range(30):
            lent(shop, sessions).submit(name)
        sessions.commit()
        sessions.remove()

    await asyncio.gather(*(asyncio.to_thread(one, name) for name in "ab"))
    engine.dispose()
    assert await shop.counts() == [0, 62, 0, 0]


@on_asyncpg
async def test_a_scoped_session_is_each_tasks_own(shop, orders):
    engine = create_async_engine(by("asyncpg", orders))
    sessions = async_scoped_session(async_sessionmaker(engine), asyncio.current_task)

    async def one(name: str) -> None:
        await lent(shop, sessions).asubmit(name)
        await sessions.commit()
        await sessions.remove()

    await asyncio.gather(*(one(name) for name in "abc"))
    await engine.dispose()
    assert await shop.counts() == [0, 3, 0, 0]


@on_asyncpg
async def test_a_client_or_store_without_transactions(shop):
    async with shop.user() as user:
        task = lent(shop, user.given)
        order = task._order(shop.app.client, task._payload(("a",), {}))
        with pytest.raises(Invalid, match="connection"):
            await Client(shop.app.engine).submit(order, user.given)
        shop.app.engine.store = FaultyStore(shop.app.engine.store)
        with pytest.raises(Invalid, match="connection"):
            await shop.app.client.submit(order, user.given)


@pytest.mark.parametrize(
    "shop", ["asyncpg", "asyncpg-pool", "sqlalchemy-asyncpg", "session-asyncpg", "psycopg-async"], indirect=True
)
async def test_a_call_that_is_given_up_leaves_the_transaction_as_it_was(shop):
    async with shop.user() as one, shop.user() as other:
        await one.submit(shop.ship, "a", unique="u")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(other.submit(shop.ship, "b", unique="u"), 0.2)
        await other.submit(shop.ship, "b", unique="v")
        await other.commit()
    assert await shop.counts() == [0, 1, 1, 0]


@pytest.mark.parametrize("shop", ["psycopg", "asyncpg", "session-asyncpg", *SQLITE], indirect=True)
async def test_who_is_killed_before_the_commit_has_submitted_nothing(shop, request):
    way = request.node.callspec.params["shop"]
    command = [sys.executable, "-m", "tests.transactions.program_killed", shop.url, way]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as program:
        assert program.stdout
        assert await asyncio.to_thread(program.stdout.readline) == b"submitted\n"
        program.kill()
        program.wait(30)
    handle = await shop.ship.with_options(unique="u").asubmit("b")
    assert handle.created
    assert await shop.counts() == [0, 1, 1, 0]
