import pytest

from rota.testing.contracts.store import ClusterContract
from tests.contract.places import UrlPlace


class TestSqliteFile(ClusterContract):
    @pytest.fixture
    async def place(self, tmp_path):
        place = UrlPlace(f"sqlite:///{tmp_path}/rota.db")
        yield place
        await place.close()
