import psutil
import pytest

from rota.testing.contracts.store import ClusterContract
from tests.contract.places import UrlPlace


class TestSqliteFile(ClusterContract):
    @pytest.fixture
    async def place(self, tmp_path):
        place = UrlPlace(f"sqlite:///{tmp_path}/rota.db")
        yield place
        await place.close()

    async def test_a_closed_store_leaves_nothing_open(self, place):
        opened = []
        for _ in range(3):
            store = await place.open()
            store.watch(["ready:a"])
            await store.close()
            opened.append(psutil.Process().num_fds())
        assert opened == opened[:1] * 3
