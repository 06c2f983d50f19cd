import gc

import pytest
from hypothesis import settings

from tests.services.fixtures import database, etcd, pgbouncer, postgresql, prefix, rabbitmq, redis, space

__all__ = ["database", "etcd", "pgbouncer", "postgresql", "prefix", "rabbitmq", "redis", "space"]

# So that a failure outside of a test module shows its values, as one inside does.
pytest.register_assert_rewrite("rota.testing.contracts", "tests.model.comparison")
# No deadline: a slow or shared machine is no fault of the code, and a failure must be the same everywhere.
settings.register_profile("rota", deadline=None, print_blob=True)
settings.load_profile("rota")


def pytest_collection_finish() -> None:
    """All tests and what they import live to the end: no collection of garbage need look at them again."""
    gc.freeze()
