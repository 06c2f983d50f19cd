import pytest

from rota.ports.store import Store
from rota.testing.contracts.store import ClusterContract
from tests.model.store import ModelStore


class ModelPlace:
    def __init__(self) -> None:
        self.store = ModelStore()

    async def open(self) -> Store:
        return self.store


class TestTheModelKeepsTheContract(ClusterContract):
    @pytest.fixture
    def place(self) -> ModelPlace:
        return ModelPlace()
