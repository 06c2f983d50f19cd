from collections.abc import AsyncIterator

import pytest

from rota.engine.engine import Engine
from tests.identity.support import Served, serving
from tests.unit.engine.support import House, opened


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
