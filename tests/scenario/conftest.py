"""A cluster of real processes on one store: an SQLite file, or each kind of store where a test says `on_each`."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from rota import Rota
from tests.scenario.ledger import Ledger

PROGRAM = Path(__file__).with_name("tasks_ledger.py")


class Cluster:
    """Starts roles in processes of their own, and ends those that it started."""

    def __init__(self, folder: Path, ledger: Ledger, store: str) -> None:
        self.store = store
        self.ledger = ledger
        self.folder = folder
        self.children: list[subprocess.Popen[bytes]] = []

    def start(self, role: str, slots: int = 10, options: str = "{}") -> subprocess.Popen[bytes]:
        """A process in `role`: scheduler, worker or both."""
        child = subprocess.Popen(
            [sys.executable, str(PROGRAM), role, str(slots), options],
            env=os.environ | {"SCENARIO_STORE": self.store, "SCENARIO_LEDGER": str(self.ledger.path)},
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert child.stdout
        assert child.stdout.readline() == b"ready\n"
        self.children.append(child)
        return child

    def stop(self) -> None:
        for child in self.children:
            if child.poll() is None:
                child.send_signal(signal.SIGCONT)
                child.kill()
            child.wait()
            if child.stdout:
                child.stdout.close()


on_each = pytest.mark.parametrize("store_url", ["sqlite", "postgresql", "redis", "etcd"], indirect=True)


@pytest.fixture
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if getattr(request, "param", "sqlite") == "postgresql":
        return str(request.getfixturevalue("database"))
    if getattr(request, "param", "sqlite") == "redis":
        return str(request.getfixturevalue("space"))
    if getattr(request, "param", "sqlite") == "etcd":
        return str(request.getfixturevalue("prefix"))
    return f"sqlite:///{tmp_path / 'rota.db'}"


@pytest.fixture
def cluster(tmp_path: Path, store_url: str) -> Iterator[Cluster]:
    ledger = Ledger(tmp_path / "ledger")
    made = Cluster(tmp_path, ledger, store_url)
    yield made
    made.stop()
    ledger.close()


@pytest.fixture
async def app(cluster: Cluster) -> AsyncIterator[Rota]:
    """The app in the test's own process: it submits and looks."""
    from tests.scenario import tasks_ledger

    tasks_ledger.app.store = cluster.store
    async with tasks_ledger.app as opened:
        yield opened
