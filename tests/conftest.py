import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.services.fixtures import database, etcd, pgbouncer, postgresql, prefix, rabbitmq, redis, space

__all__ = ["database", "etcd", "pgbouncer", "postgresql", "prefix", "rabbitmq", "redis", "space"]

# So that a failure outside of a test module shows its values, as one inside does.
pytest.register_assert_rewrite("rota.testing.contracts", "tests.model.comparison")
# No deadline: a slow or shared machine is no fault of the code, and a failure must be the same everywhere.
settings.register_profile("rota", deadline=None, print_blob=True)
settings.load_profile("rota")
# What a shell starts in the background ignores Ctrl-C, and so would what tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
MEMORY = Path("/dev/shm")
# Each commit of a store in a file waits for the disk, of which no test asks anything: the folders of tests, and of the
# servers that they start, are in memory where there is room for them.
if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 4 << 30:
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)

LONG = ("chaos", "simulation", "model", "oracle")
"""Folders whose tests take longest. They begin first, so that in the end no process of tests waits for one of them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.parent.name not in LONG)


def pytest_collection_finish() -> None:
    """All tests and what they import live to the end: no collection of garbage need look at them again."""
    gc.freeze()


@pytest.fixture(autouse=True)
def _swept() -> Iterator[None]:
    """What a test left open shows in that test, not in whichever runs when the collector comes by the next time."""
    yield
    gc.collect()
    gc.freeze()  # so that each collection looks at what one test made, in a millisecond
