"""`rota migrate` while an older version works: on a later migration than the ones there are, one that only adds."""

import asyncio
import shutil
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from rota import Incompatible, Rota, StoreError, Unavailable
from rota.domain.facts import Beaten, Fact, LeaderChanged
from rota.stores import connect, migrate
from rota.stores.sql import migrations, schema
from tests.services.postgresql import do
from tests.unit.stores.test_postgresql import empty

__all__ = ["empty"]

ADDS = """
from alembic import op
from rota.stores.sql.columns import key, numbers, texts

revision = "later"
down_revision = "%s"

def upgrade() -> None:
    op.add_column("runs", *texts("colour", default=""))
    op.add_column("sessions", *numbers("weight", default=0))
    op.create_table("colours", key(), *numbers("version"))
"""
BROKEN = ADDS + '    op.add_column("nothing", *texts("colour", default=""))\n'


@pytest.fixture
def later(tmp_path, monkeypatch):
    """Makes this program one of a later version, or takes that back."""
    own, place = Path(migrations.__file__).parent, tmp_path / "later"
    shutil.copytree(own, place)
    known = schema.REVISIONS

    def become(text):
        (place / "versions" / "later.py").write_text(text % known[-1])
        monkeypatch.setattr(migrations, "__file__", str(place / "__init__.py"))
        monkeypatch.setattr(schema, "REVISIONS", (*known, "later") if text else known)

    return become


@pytest.fixture(params=["postgresql", "sqlite"])
async def url(request, empty, tmp_path):
    """A database of this version."""
    made = empty if request.param == "postgresql" else f"sqlite:///{tmp_path / 'rota.db'}"
    await migrate(made)
    return made


class Program:
    """Submits, works and waits for results, one after the other, and all must be right."""

    def __init__(self, url: str) -> None:
        self.heard: set[type[Fact]] = set()
        self.app = Rota(url, name="shop", emit=lambda fact: self.heard.add(type(fact)))
        self.double = self.app.task(name="double")(lambda number: 2 * number)
        self.done = 0
        self._more = asyncio.Event()
        self._stopped = False

    async def live(self) -> None:
        while not self._stopped:
            handle = await self.double.asubmit(self.done)
            assert await handle.aresult(timeout=30) == 2 * self.done
            self.done += 1
            self._more.set()

    async def goes_on(self, number: int = 20) -> None:
        """Until so many more are done."""
        wanted = self.done + number
        async with asyncio.timeout(60):
            while self.done < wanted:
                self._more.clear()
                await self._more.wait()


@asynccontextmanager
async def at_work(url):
    program = Program(url)
    async with program.app.running():
        life = asyncio.create_task(program.live())
        try:
            # Those who beat and who lead have stores of their own: opened later they would be of the later version.
            while not {Beaten, LeaderChanged} <= program.heard:
                await program.goes_on(1)
            yield program
            await program.goes_on()
        finally:
            program._stopped = True
            await life


async def test_an_older_program_works_on_and_a_newer_one_beside_it(url, later):
    async with at_work(url) as older:
        later(ADDS)
        applied = await asyncio.gather(*(migrate(url) for _ in range(3)))
        assert sorted(applied) == [[], [], ["later"]]
        await older.goes_on()
        async with at_work(url) as newer:
            await older.goes_on()
            await newer.goes_on()


async def test_an_older_program_that_starts_anew_is_refused(url, later, monkeypatch):
    later(ADDS)
    assert await migrate(url) == ["later"]
    monkeypatch.undo()
    for again in (connect(url).open, lambda: migrate(url)):
        with pytest.raises(Incompatible, match=r"newer version of Rota \(its revision is 'later'\); install that one"):
            await again()


async def test_a_migration_that_fails_leaves_nothing(url, later, monkeypatch):
    async with at_work(url):
        later(BROKEN)
        with pytest.raises(StoreError, match="nothing"):
            await migrate(url)
        monkeypatch.undo()
        assert await migrate(url) == []


async def test_a_table_that_somebody_reads_for_long_is_not_waited_for_at_the_cost_of_all(empty, later, monkeypatch):
    monkeypatch.setattr("rota.stores.postgres.base.ALTER_PAUSE_S", 0.2)
    await migrate(empty)
    async with at_work(empty) as older:
        backup = await asyncpg.connect(empty)
        async with backup.transaction():
            await backup.execute("LOCK TABLE runs IN ACCESS SHARE MODE")
            later(ADDS)
            with pytest.raises(Unavailable, match="locked for too long"):
                await migrate(empty)
            await older.goes_on()
            patient = asyncio.create_task(migrate(empty))
            await older.goes_on()
        await backup.close()
        assert await patient == ["later"]
        await do(empty, "SELECT colour FROM runs")
