from collections.abc import Iterator

import pytest

from rota.identity import passwords
from tests.attacks.support import Platform, built


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords that cost nothing: their price is proved elsewhere."""
    monkeypatch.setattr(passwords, "MEMORY_KIB", 64)


@pytest.fixture
def platform() -> Iterator[Platform]:
    with built() as made:
        yield made
