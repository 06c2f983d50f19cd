"""Executors: each turns an assignment of its kind into an outcome. A worker runs only those it was started with."""

from collections.abc import Iterable

from rota.domain.errors import Invalid
from rota.ports.executor import Executor


def by_kind(executors: Iterable[Executor]) -> dict[str, Executor]:
    """Executors by kind. Raises `Invalid` for a kind twice."""
    found: dict[str, Executor] = {}
    for executor in executors:
        if executor.kind in found:
            raise Invalid("executors", f"two executors are called {executor.kind!r}: give each its own kind")
        found[executor.kind] = executor
    return found
