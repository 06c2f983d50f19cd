"""What a worker can take: namespace, queue, executor kind and the labels that a run requires, as one short text."""

from collections.abc import Collection
from itertools import chain, combinations, product

from rota.domain.errors import Invalid

LABEL_LIMIT = 6
"""A worker with n labels takes 2^n lanes of a queue, so their number is bounded."""


def lane(namespace: str, queue: str, executor: str, requires: Collection[str] = ()) -> str:
    """The lane of a run, computed at submit."""
    return f"{namespace}/{queue}/{executor}/{','.join(sorted(requires))}"


def lanes(
    namespaces: Collection[str], queues: Collection[str], executors: Collection[str], labels: Collection[str] = ()
) -> tuple[str, ...]:
    """Every lane that a worker of these queues, executors and labels can take."""
    return relabelled([lane(*parts) for parts in product(namespaces, queues, executors)], labels)


def relabelled(lanes: Collection[str], labels: Collection[str]) -> tuple[str, ...]:
    """What a worker takes that took these lanes and has these labels now. Raises `Invalid` for too many."""
    if len(labels) > LABEL_LIMIT:
        raise Invalid("labels", f"{len(labels)} labels; a worker has at most {LABEL_LIMIT}")
    ordered = sorted(labels)
    subsets = [",".join(some) for some in chain(*(combinations(ordered, n) for n in range(len(ordered) + 1)))]
    return tuple(f"{one}/{some}" for one in dict.fromkeys(one.rpartition("/")[0] for one in lanes) for some in subsets)


def queue_of(name: str) -> str:
    """The id (`namespace/queue`) of the queue that a lane belongs to."""
    return "/".join(name.split("/", 2)[:2])
