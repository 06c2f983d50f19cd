import pytest

from rota.testing.contracts.store import ClusterContract
from tests.contract.places import UrlPlace


class TestEtcd(ClusterContract):
    @pytest.fixture
    async def place(self, prefix):
        place = UrlPlace(prefix)
        yield place
        await place.close()
