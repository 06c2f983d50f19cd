import pytest

from rota.testing.contracts.store import ClusterContract
from tests.contract.places import UrlPlace


class TestBehindPgbouncer(ClusterContract):
    @pytest.fixture
    async def place(self, database, pgbouncer):
        place = UrlPlace(pgbouncer.before(database))
        yield place
        await place.close()
