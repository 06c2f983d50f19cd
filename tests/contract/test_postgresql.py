import pytest

from rota.testing.contracts.store import ClusterContract
from tests.contract.places import UrlPlace


class TestPostgresql(ClusterContract):
    @pytest.fixture
    async def place(self, database):
        place = UrlPlace(database)
        yield place
        await place.close()
