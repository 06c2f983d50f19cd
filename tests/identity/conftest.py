from collections.abc import AsyncIterator

import pytest

from rota.engine.engine import Engine
from rota.identity import passwords
from tests.identity.support import Served, serving
from tests.unit.engine.support import House, opened


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords that cost nothing: their price is proved where locks are."""
    monkeypatch.setattr(passwords, "MEMORY_KIB", 64)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with opened() as house:
        yield house


@pytest.fixture
def engine(house: House) -> Engine:
    return house.engine


@pytest.fixture
async def served(house: House) -> AsyncIterator[Served]:
    async with serving(house) as served:
        await served.everybody()
        yield served
