import pytest

from rota.testing.contracts.store import StoreContract
from tests.contract.places import UrlPlace


class TestSqliteMemory(StoreContract):
    @pytest.fixture
    async def place(self):
        place = UrlPlace("sqlite://")
        yield place
        await place.close()
