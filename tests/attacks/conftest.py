from collections.abc import Iterator
from typing import Any

import pytest

from tests.attacks.support import Platform, built
from tests.identity.conftest import cheap

__all__ = ["cheap"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """How many requests a test has sent is told with its result, for the last line of all."""
    if call.when == "call":
        item.user_properties.append(("sent", Platform.sent))
        Platform.sent = 0
    return (yield)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    done = [one for kind in ("passed", "failed") for one in terminalreporter.stats.get(kind, [])]
    sent = sum(value for one in done for name, value in one.user_properties if name == "sent" and one.when == "call")
    if sent:
        terminalreporter.write_line(f"{sent} requests were sent at the API as an attacker would")


@pytest.fixture
def platform() -> Iterator[Platform]:
    with built() as made:
        yield made
