from collections.abc import AsyncIterator

import pytest

from tests.unit.worker.support import Gate, House
from tests.unit.worker.support import house as a_house


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with a_house() as made:
        yield made


@pytest.fixture
def gate(house: House) -> Gate:
    """Needs the house's loop, and is no coroutine itself."""
    return house.gate()
