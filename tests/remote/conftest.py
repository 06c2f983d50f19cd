from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from rota import Rota
from tests.cli.conftest import here, rota
from tests.remote.net import Net
from tests.remote.support import Site, site
from tests.scenario import tasks_ledger
from tests.scenario.ledger import Ledger
from tests.unit.engine.support import House, opened

__all__ = ["here", "rota"]


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with opened() as house:
        yield house


@pytest.fixture
async def at(house: House) -> AsyncIterator[Site]:
    await house.task()
    async with site(house) as made:
        yield made


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    ledger = Ledger(tmp_path / "ledger")
    made = Net(tmp_path, ledger)
    yield made
    made.stop()
    ledger.close()


@pytest.fixture
async def app(net: Net) -> AsyncIterator[Rota]:
    """The app in the test's own process: it submits and looks, beside the store."""
    tasks_ledger.app.store = net.store
    async with tasks_ledger.app as opened:
        yield opened
