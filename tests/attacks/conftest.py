from collections.abc import Iterator

import pytest

from tests.attacks.support import Platform, built


@pytest.fixture
def platform() -> Iterator[Platform]:
    with built() as made:
        yield made
