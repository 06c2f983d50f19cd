"""What only PostgreSQL does: connections that break, locks that last, migrations side by side, options of its URL."""

import asyncio
import os
import socket
import time
from collections.abc import Mapping

import asyncpg
import pytest

from rota.domain.errors import Incompatible, Invalid, Unavailable, Unclear
from rota.domain.lane import lane
from rota.domain.run import Run, State
from rota.ports.store import ALREADY, APPLIED, Change, Group, Hint, Want
from rota.servers.address import PATIENCE_S
from rota.stores import connect, migrate
from rota.stores.hub import ANYTHING
from rota.stores.postgres.faults import fault
from rota.stores.postgres.notices import LIMIT, Notices
from rota.stores.sql import schema
from rota.stores.sql.store import SqlStore
from rota.testing.clock import START_AT
from rota.testing.factories import make_run, make_session
from tests.services.postgresql import do
from tests.services.proxy import between
from tests.unit.stores.files import put, reached

LANE = lane("main", "default", "python")


async def asked(url, query, *arguments):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(query, *arguments)
    finally:
        await connection.close()


@pytest.fixture
async def empty(postgresql):
    """URL of a database without any table."""
    name = f"rota_bare_{os.getpid()}"
    await do(postgresql.url, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    yield postgresql.named(name)
    await do(postgresql.url, f"DROP DATABASE {name} WITH (FORCE)")


async def break_all(url):
    """End every connection to a database but the one that asks for it."""
    others = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    await do(url, f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}")


async def test_connections_that_were_lost_are_replaced(database):
    async with reached(database) as store:
        for number in range(3):
            assert await put(store, make_run(number)) == [APPLIED]
            await break_all(database)
        assert len((await store.find(Run)).items) == 3


async def test_a_server_that_has_said_goodbye_but_not_hung_up_yet_is_not_asked_again(database):
    async with between(database) as (proxy, url), reached(url) as store:
        assert await put(store, make_run(1)) == [APPLIED]
        proxy.may_close.clear()
        await break_all(database)
        assert await asked(database, "SELECT 1")
        assert await put(store, make_run(2)) == [APPLIED]
        proxy.may_close.set()


async def test_hints_are_heard_again_after_the_connection_broke(database):
    async with reached(database) as one, reached(database) as other:
        ear = one.watch(["ready:a"])
        assert await ear.wait(30) == {"ready:a": 1}  # it listens now; anything may have happened before
        await break_all(database)
        assert await ear.wait(30) == {"ready:a": 1}  # and so it may meanwhile
        await put(other, make_run(1), hints=[Hint("ready:a", 3)])
        assert await ear.wait(30) == {"ready:a": 3}


async def test_an_answer_lost_before_the_commit_means_that_nothing_happened(database):
    async with between(database) as (proxy, url), reached(url) as store:
        await put(store, make_run(1))
        proxy.cut = make_run(2).id.encode()
        assert await put(store, make_run(2)) == [APPLIED]  # for all that is known, lost before: tried anew
        await put(store, make_session(1))
        proxy.cut = b"UPDATE runs"
        with pytest.raises(Unavailable):
            await store.claim([Want("session-1", "w", 7, 1, (LANE,))], START_AT)
        assert await store.count(Run, "state") == {"pending": 2}


async def test_of_many_new_records_some_may_be_there(database):
    runs = [make_run(number) for number in range(60)]
    async with reached(database) as store:
        assert await put(store, *runs[20:40]) == [APPLIED] * 20
        wanted = [APPLIED] * 20 + [ALREADY] * 20 + [APPLIED] * 20
        assert await put(store, *runs) == wanted
        assert await put(store, *runs) == [ALREADY] * 60


async def test_a_transaction_that_waits_for_its_first_statement_is_ended_in_time(database):
    waiting = "SELECT 1 FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' AND datname = current_database()"
    async with reached(database) as store:
        assert await put(store, make_run(1)) == [APPLIED]
        assert len(await asked(database, waiting)) == 1
        await store.base._pool._cooling
        assert await asked(database, waiting) == []
        assert await put(store, make_run(2)) == [APPLIED]
        await do(database, waiting.replace("1", "pg_terminate_backend(pid, 5000)", 1))
        assert await put(store, make_run(3)) == [APPLIED]
        assert len((await store.find(Run)).items) == 3


async def test_a_server_that_is_not_there_is_unavailable_and_named_without_its_password(database):
    url = database.rpartition("@")[0] + "@127.0.0.1:1/nowhere"
    with pytest.raises(Unavailable, match=r"postgresql://rota:…@127\.0\.0\.1:1/nowhere does not answer"):
        async with reached(url):
            pass


async def test_a_lock_that_somebody_keeps_is_not_waited_for_too_long(database):
    async with reached(database) as store:
        await put(store, make_session(1), make_run(1))
        (held,) = (await store.find(Run)).items
        other = await asyncpg.connect(database)
        async with other.transaction():
            await other.execute("SELECT 1 FROM runs FOR UPDATE")
            (claimed,) = await store.claim([Want("session-1", "w", 7, 1, (LANE,))], START_AT)
            assert (claimed.runs, claimed.contended) == ((), True)
            with pytest.raises(Unavailable, match="locked for too long"):
                await store.commit([Group((Change(held, held.record._replace(progress="x")),))])
        await other.close()
        (claimed,) = await store.claim([Want("session-1", "w", 7, 2, (LANE,))], START_AT)
        assert (len(claimed.runs), claimed.contended) == (1, False)


async def test_a_call_that_is_cancelled_leaves_no_transaction_behind(database):
    async with reached(database) as store:
        await put(store, make_run(1))
        (held,) = (await store.find(Run)).items
        change = [Group((Change(held, held.record._replace(progress="x")),))]
        other = await asyncpg.connect(database)
        async with other.transaction():
            await other.execute("SELECT 1 FROM runs FOR UPDATE")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(store.commit(change), 0.2)
        await other.close()
        assert await store.commit(change) == [APPLIED]


async def test_what_the_server_undid_for_others_is_tried_again(database):
    async with reached(database) as store:
        tries = []

        def work(db):
            tries.append(db.rows("SELECT 1"))
            if len(tries) < 3:
                raise asyncpg.DeadlockDetectedError("deadlock detected")
            return "done"

        assert await store.base.write(work) == "done"
        with pytest.raises(Unavailable, match="again and again"):
            await store.base.write(lambda db: db.rows("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$"))


async def test_two_that_lock_in_opposite_order_both_end(database):
    async with reached(database) as store:
        runs = [make_run(number) for number in range(2)]
        await put(store, *runs)
        first_locks = asyncio.Barrier(2)

        async def crossing(order):
            other = await asyncpg.connect(database)
            try:
                async with other.transaction():
                    await other.execute("UPDATE runs SET progress = 'x' WHERE id = $1", runs[order[0]].id)
                    await first_locks.wait()
                    await other.execute("UPDATE runs SET progress = 'x' WHERE id = $1", runs[order[1]].id)
            except asyncpg.DeadlockDetectedError:
                pass
            finally:
                await other.close()

        await asyncio.gather(crossing((0, 1)), crossing((1, 0)))
        held = await store.get(Run, [run.id for run in runs])
        changes = [Change(one, one.record._replace(progress="y")) for one in held if one]
        assert await store.commit([Group((change,)) for change in changes]) == [APPLIED] * 2


async def test_behind_a_pooler_nothing_is_kept_on_a_connection(database):
    async with reached(f"{database}?pooler=transaction&pool=2") as one, reached(database) as other:
        ear = one.watch(["ready:a"])
        assert await ear.wait(30) == {"ready:a": 1}  # it looks now and then instead of listening
        await put(one, make_session(1), *(make_run(number) for number in range(20)))
        (claimed,) = await one.claim([Want("session-1", "w", 7, 9, (LANE,))], START_AT)
        assert len(claimed.runs) == 9
        assert await other.count(Run, "state") == {"pending": 11, "running": 9}
        assert await asked(database, "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%'") == []
        heard = other.watch(["ready:b"])
        await heard.wait(30)
        await put(one, make_run(99), hints=[Hint("ready:b")])
        assert await heard.wait(30) == {"ready:b": 1}


async def test_a_database_that_only_reads_serves_readers(database):
    name = database.rpartition("/")[2]
    async with reached(database) as store:
        await put(store, make_run(1))
    await do(database, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    try:
        async with reached(database) as store:
            assert len((await store.find(Run)).items) == 1
            with pytest.raises(Unavailable, match="name the primary"):
                await put(store, make_run(2))
    finally:
        await do(database, "SET default_transaction_read_only = off", f"ALTER DATABASE {name} RESET ALL")


async def test_several_make_the_tables_at_once(empty):
    applied = await asyncio.gather(*(migrate(empty) for _ in range(5)))
    assert sorted(applied) == [*[[]] * 4, list(schema.REVISIONS)]
    async with reached(empty) as store:
        assert await put(store, make_run(1)) == [APPLIED]


COLUMNS = """
    SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default
    FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2
"""
INDEXES = """
    SELECT regexp_replace(indexdef, ' INDEX \\S+ ON', '') FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1
"""
OPTIONS = "SELECT relname, reloptions FROM pg_class WHERE relkind = 'r' AND reloptions IS NOT NULL ORDER BY 1"


async def test_migrations_make_what_the_tables_say(empty, database):
    store = SqlStore(empty)
    await store.base.open()
    assert await store.base.alter(schema.migrate) == list(schema.REVISIONS)
    assert await store.base.alter(schema.migrate) == []
    await store.close()
    for query in (COLUMNS, INDEXES, OPTIONS):
        assert await asked(empty, query) == await asked(database, query)


async def test_the_database_of_another_program_is_left_alone(empty):
    await do(empty, "CREATE TABLE theirs (a int)")
    with pytest.raises(Incompatible, match="not one of Rota"):
        await migrate(empty)
    assert await asked(empty, "SELECT 1 FROM pg_tables WHERE schemaname = 'public'") == [(1,)]


async def test_a_newer_schema_is_incompatible(empty):
    await migrate(empty)
    await do(empty, "UPDATE rota_revision SET version_num = '9999'")
    with pytest.raises(Incompatible, match="newer version"):
        await migrate(empty)


async def test_a_database_that_cannot_keep_every_text_is_refused(postgresql):
    name = f"rota_ascii_{os.getpid()}"
    await do(postgresql.url, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    try:
        with pytest.raises(Incompatible, match="UTF8"):
            await migrate(postgresql.named(name))
    finally:
        await do(postgresql.url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        *((f"replica={one}", "host:5432") for one in ("postgresql://a/b", "h:abc", "h,", ":5432", "[::1", "h%00")),
        ("pool=0", "pool=0"),
        ("pool=x", "pool=x"),
        ("pooler=session", "pooler=transaction"),
        ("sslmode=odd", "sslmode"),
        *((f"connect_timeout={one}", "seconds") for one in ("0", "", "x")),
    ],
)
async def test_a_bad_option_is_named(options, word):
    with pytest.raises(Invalid, match=word):
        await connect(f"postgresql://rota@127.0.0.1:1/rota?{options}").open()


async def test_a_port_that_there_cannot_be_is_refused():
    with pytest.raises(Invalid, match="port"):
        await connect("postgresql://rota@127.0.0.1:99999/rota").open()


def test_a_replica_with_a_password_is_refused_without_telling_it():
    with pytest.raises(Invalid, match="user and password are the URL's") as told:
        connect("postgresql://rota:x@127.0.0.1/rota?replica=rota:topsecret@127.0.0.1:5433")
    assert "topsecret" not in str(told.value)


async def test_a_server_that_does_not_answer_is_waited_for_so_long():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        with pytest.raises(Unavailable, match="does not answer"):
            await connect(f"postgresql://rota@127.0.0.1:{silent.getsockname()[1]}/rota?connect_timeout=0.2").open()
        assert time.monotonic() - began < PATIENCE_S


async def test_a_doctor_finds_it_healthy(database):
    async with reached(database) as store:
        found = dict(await store.diagnose())
    assert set(found) <= {"ok", "fail"}  # a server for tests may be one that does not survive a power loss


def error(code):
    found = asyncpg.PostgresError("said the server")
    found.sqlstate = code
    return found


@pytest.mark.parametrize(
    ("code", "kind", "word"),
    [
        ("25006", Unavailable, "primary"),
        ("28P01", Unavailable, "password"),
        ("3D000", Unavailable, "CREATE DATABASE"),
        ("42501", Unavailable, "right"),
        ("42704", Incompatible, "options of the URL"),
        ("42P01", Incompatible, "rota migrate"),
        ("53100", Unavailable, "disk is full"),
        ("53300", Unavailable, "max_connections"),
        ("57P01", Unavailable, "does not answer"),
        ("XX001", Incompatible, "backup"),
        ("23502", Invalid, "cannot be stored"),
        ("54000", Invalid, "cannot be stored"),
    ],
)
def test_what_an_error_means_and_what_to_do(code, kind, word):
    found = fault(error(code), "postgresql://host/db")
    assert type(found) is kind
    assert word in str(found)
    assert "said the server" in str(found)


@pytest.mark.parametrize(("code", "kind"), [("57P01", Unclear), ("57014", Unclear), ("40001", Unavailable)])
def test_what_an_error_at_the_commit_means(code, kind):
    assert type(fault(error(code), "postgresql://host/db", at_commit=True)) is kind


def test_a_notice_that_is_too_long_says_that_anything_may_have_happened():
    told: list[Mapping[str, int]] = []
    one, other = Notices(None, told.append), Notices(None, told.append)
    for hints in ({"lane:it's": 1}, {f"lane:{number:0100}": 1 for number in range(LIMIT // 100)}):
        statement = one.statement(hints)
        payload = statement.partition("'")[2][:-1].replace("''", "'")
        other._heard(None, 0, "", payload)
        one._heard(None, 0, "", payload)
    other._heard(None, 0, "", "none of ours")
    assert told == [{"lane:it's": 1}, {ANYTHING: 1}]


async def test_a_run_that_ended_is_read_as_it_was_written(database):
    async with reached(database) as store:
        run = make_run(1, state=State.SUCCESS, ended_at=START_AT, result=b"\0\xff", token=(1 << 64) - 1)
        await put(store, run)
        assert (await store.find(Run)).items[0].record == run
