"""Ids, and those of them that are computed rather than drawn.

Every run id is 32 hexadecimal digits: 12 of time (milliseconds), 20 of chance or of a hash. Ids therefore sort by
time, and an occurrence's run id can be computed beforehand by anyone: the same occurrence can never become two runs.
"""

from dataclasses import dataclass
from hashlib import blake2b

TIME_LIMIT = 1 << 48


def timed_id(moment: int, chance: int) -> str:
    """A sortable id of `moment` (ms since the epoch) and 80 bits of `chance`."""
    return f"{moment % TIME_LIMIT:012x}{chance % (1 << 80):020x}"


def session_id(worker: str, moment: int, chance: int) -> str:
    """A worker's name, or most of it, and an id of `moment`: itself a name."""
    return f"{worker[:95]}-{timed_id(moment, chance)}"


def occurrence_id(schedule: str, nominal_at: int) -> str:
    """The one run id that the occurrence of `schedule` (its id) at `nominal_at` can have."""
    digest = blake2b(f"{schedule}\n{nominal_at}".encode(), digest_size=10).hexdigest()
    return f"{max(nominal_at, 0) % TIME_LIMIT:012x}{digest}"


def definition_id(namespace: str, name: str) -> str:
    """The id of a task, schedule or queue called `name` in `namespace`."""
    return f"{namespace}/{name}"


@dataclass(frozen=True, slots=True)
class Named:
    """What has a name in a namespace."""

    namespace: str
    name: str

    @property
    def id(self) -> str:
        """`namespace/name`."""
        return definition_id(self.namespace, self.name)
