from collections.abc import AsyncIterator

import pytest

from examples.app import app
from rota import Rota


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The examples at home in an empty folder, with a store of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(app, "store", f"sqlite:///{tmp_path / 'rota.db'}")
    return tmp_path


@pytest.fixture
async def examples(place) -> AsyncIterator[Rota]:
    """The examples with a scheduler and a worker."""
    async with app.running():
        yield app
