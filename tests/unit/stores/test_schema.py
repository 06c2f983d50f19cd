import asyncio
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from rota.domain.run import Run
from rota.stores import migrate
from rota.stores.sql import migrations, schema
from rota.stores.sql.store import SqlStore
from rota.testing.factories import make_run
from tests.unit.stores import files
from tests.unit.stores.files import base, opened, put, raw, url

OPEN_AND_WRITE = """
import asyncio, sys
from rota.ports.store import Change, Group
from rota.stores import connect
from rota.testing.factories import make_run

async def main(url, number):
    store = connect(url)
    await store.open()
    results = await store.commit([Group((Change(None, make_run(number)),))])
    print([type(result).__name__ for result in results])
    await store.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rota.db"


def migrated(store):
    return base(store).writer.transact(schema.migrate)


async def test_migrations_make_what_the_tables_say(path, tmp_path):
    async with opened(path):
        pass
    other = tmp_path / "other.db"
    store = SqlStore(url(other), inline=True)
    await base(store).writer.open()
    assert migrated(store) == list(schema.REVISIONS)
    assert migrated(store) == []
    await base(store).writer.close()
    assert files.schema(path) == files.schema(other)


def test_every_migration_is_known():
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    found = [step.revision for step in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(found)) == schema.REVISIONS


async def test_migrate_tells_what_it_applied(path):
    assert await migrate(url(path)) == list(schema.REVISIONS)
    assert await migrate(url(path)) == []


def test_several_processes_open_a_fresh_file_at_once(path):
    arguments = [sys.executable, "-W", "error", "-c", OPEN_AND_WRITE, url(path)]
    running = [
        subprocess.Popen([*arguments, str(number)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for number in range(4)
    ]
    said = [process.communicate(timeout=60)[0].strip() for process in running]
    assert said == ["['Applied']"] * 4
    connection = raw(path)
    assert connection.execute("SELECT count(*) FROM runs").fetchone() == (4,)
    assert connection.execute("SELECT version_num FROM rota_revision").fetchall() == [(schema.REVISIONS[-1],)]
    connection.close()


async def test_several_stores_open_a_fresh_file_at_once(path):
    stores = [SqlStore(url(path)) for _ in range(5)]
    await asyncio.gather(*(store.open() for store in stores))
    for number, store in enumerate(stores):
        await put(store, make_run(number))
    assert len((await stores[0].find(Run)).items) == 5
    await asyncio.gather(*(store.close() for store in stores))


async def test_a_file_is_kept_durable(path):
    async with opened(path) as store:
        for link in (base(store).writer, base(store).reader):
            assert await link.run(partial(link.first, "PRAGMA journal_mode")) == "wal"
            assert await link.run(partial(link.first, "PRAGMA synchronous")) == 2
        assert await base(store).reader.run(partial(base(store).reader.first, "PRAGMA busy_timeout")) == files.BUSY_MS
        # The writer waits by itself, see `Link._begin`.
        assert await base(store).writer.run(partial(base(store).writer.first, "PRAGMA busy_timeout")) == 0


async def test_alembic_is_not_loaded_to_open_a_store(path):
    code = (
        "import asyncio, sys; from rota.stores import connect\n"
        "async def main():\n"
        "    for url in sys.argv[1:]:\n"
        "        store = connect(url); await store.open(); await store.close()\n"
        "    print('alembic' in sys.modules)\n"
        "asyncio.run(main())"
    )
    run = [sys.executable, "-c", code, url(path), url(path), "sqlite://"]
    assert subprocess.run(run, check=True, capture_output=True, text=True, timeout=60).stdout == "False\n"


async def test_a_run_keeps_its_trace_where_a_migration_added_the_column(path):
    store = SqlStore(url(path), inline=True)
    await base(store).writer.open()
    migrated(store)
    await base(store).writer.close()
    async with opened(path) as store:
        await put(store, make_run(1)._replace(trace="t"))
        connection = raw(path)
        # As a version writes that does not know it.
        connection.execute("UPDATE runs SET error = 'odd'")
        connection.commit()
        connection.close()
        (held,) = (await store.find(Run)).items
        assert (held.record.trace, held.record.error) == ("t", "odd")
