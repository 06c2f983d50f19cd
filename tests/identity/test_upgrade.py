"""A database from before there were people keeps its audit, and lets them in."""

import sqlite3

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from rota.domain.records import Audit
from rota.engine.people import begin
from rota.engine.seal import verify
from rota.identity.keys import mint
from rota.stores.sql import migrations, tables
from rota.wiring import opened


async def test_the_second_migration_keeps_what_is_there(tmp_path):
    path = tmp_path / "rota.db"
    database = create_engine(f"sqlite:///{path}")
    with database.begin() as connection:
        config = Config(
            attributes={"connection": connection, "version_table": tables.revision.name, "applied": []},
        )
        config.set_main_option("script_location", migrations.__path__[0])
        config.set_main_option("path_separator", "os")
        command.upgrade(config, "0001")
    database.dispose()
    old = sqlite3.connect(path)
    old.execute("INSERT INTO audit VALUES ('a', 5, 'ann', 'pause', 'queue:x', '', '{}', 77)")
    old.commit()
    old.close()
    async with opened(f"sqlite:///{path}") as engine:
        (held,) = (await engine.store.find(Audit)).items
        assert (held.record, held.version) == (Audit("a", 5, "ann", "pause", "queue:x", "", "{}"), 77)
        assert await begin(engine, mint("key"), mint("link"))
        found = await verify(engine)
        assert (found.open, found.faults) == (4, ())
