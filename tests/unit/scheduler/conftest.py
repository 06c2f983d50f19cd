from collections.abc import AsyncIterator

import pytest

from tests.unit.scheduler.support import Court


@pytest.fixture
async def court() -> AsyncIterator[Court]:
    made = Court()
    await made.store.open()
    yield made
    await made.close()
