import pytest

from tests.unit.executors.website import serving


@pytest.fixture
async def site():
    async with serving() as found:
        yield found
