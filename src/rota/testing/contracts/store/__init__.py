"""The contract of `rota.ports.store`. A store that passes is one on which everything else works.

A test module binds it by one class and one fixture, `place`, which gives open stores onto an empty place:

    class TestMyStore(ClusterContract):
        @pytest.fixture
        async def place(self, tmp_path): ...

`StoreContract` is for a place that only one store can see, `ClusterContract` for one that many can. pytest-asyncio runs
them in its automatic mode; a conftest with `pytest.register_assert_rewrite("rota.testing.contracts")` makes them speak.
Where the port says late, lost or contended, the tests allow for it; all else is exact.
"""

from collections.abc import Sequence

import pytest

from rota.ports.store import Store
from rota.testing.contracts.store.claims import Claims
from rota.testing.contracts.store.cluster import Cluster
from rota.testing.contracts.store.commits import Commits
from rota.testing.contracts.store.finding import Finding
from rota.testing.contracts.store.hints import Hints
from rota.testing.contracts.store.lines import Lines
from rota.testing.contracts.store.races import Races
from rota.testing.contracts.store.records import Records
from rota.testing.contracts.store.sessions import Sessions
from rota.testing.contracts.store.steps import Place
from rota.testing.contracts.store.terms import Terms

__all__ = ["ClusterContract", "Place", "StoreContract"]


class StoreContract(Records, Finding, Commits, Claims, Sessions, Terms, Hints, Lines, Races):
    """All that one store on its place must do."""

    @pytest.fixture
    async def store(self, place: Place) -> Store:
        return await place.open()

    @pytest.fixture
    async def stores(self, store: Store) -> Sequence[Store]:
        return [store]


class ClusterContract(StoreContract, Cluster):
    """All that several stores on one place must do."""

    @pytest.fixture
    async def stores(self, place: Place) -> Sequence[Store]:
        return [await place.open() for _ in range(4)]
