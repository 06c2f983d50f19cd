import pytest

from rota.testing.contracts.store import ClusterContract
from tests.contract.places import UrlPlace


class TestRedis(ClusterContract):
    @pytest.fixture
    async def place(self, space):
        place = UrlPlace(space)
        yield place
        await place.close()
