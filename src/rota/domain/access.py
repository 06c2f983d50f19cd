"""Access: who may do what to what. Roles are data; without a grant nothing is allowed."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

ANY = "*"
"""A grant's namespace that means all of them."""


class Action(StrEnum):
    """What a route needs. Each route names exactly one."""

    READ = "read"
    """See tasks, schedules, runs, workers, queues and numbers."""
    OPERATE = "operate"
    """Trigger, cancel, retry, pause, resume, drain."""
    DEFINE = "define"
    """Create, change and delete tasks, schedules and queues."""
    ADMIN = "admin"
    """Users, tokens of others, the audit, settings."""
    WORK = "work"
    """A worker's calls."""


ROLES: dict[str, frozenset[Action]] = {
    "viewer": frozenset({Action.READ}),
    "operator": frozenset({Action.READ, Action.OPERATE}),
    "developer": frozenset({Action.READ, Action.OPERATE, Action.DEFINE}),
    "admin": frozenset({Action.READ, Action.OPERATE, Action.DEFINE, Action.ADMIN}),
    "worker": frozenset({Action.WORK}),
}


@dataclass(frozen=True, slots=True)
class Grant:
    """A role over a namespace, or over one task or queue of it."""

    role: str
    namespace: str = "main"
    task: str = ""
    """Only this task; empty: all."""
    queue: str = ""
    """Only this queue; empty: all."""

    def __str__(self) -> str:
        return f"{self.role} of {self.namespace}" + "".join(
            f", {kind} {name}" for kind, name in (("task", self.task), ("queue", self.queue)) if name
        )

    def covers(self, action: Action, namespace: str, task: str, queue: str) -> bool:
        """Whether it allows this. Names match whole, never by prefix; what is not asked of one thing is of all."""
        return (
            action in ROLES.get(self.role, frozenset())
            and self.namespace in (ANY, namespace)
            and self.task in ("", task)
            and self.queue in ("", queue)
        )


class Actor(NamedTuple):
    """Who is asking, as authenticated."""

    name: str
    """As the audit shows it: `user:anna`, `token:ci`, `cli:root`, `worker:host-1`."""
    grants: tuple[Grant, ...] = ()
    origin: str = ""
    """Where from: an address, for the audit."""
    user: str = ""
    """The login name; empty where a token stands for itself."""
    token: str = ""
    """Id of the credential."""


def allowed(grants: Iterable[Grant], action: Action, namespace: str, task: str = "", queue: str = "") -> bool:
    """Whether any grant covers it. Without a task or queue it asks for all of the namespace's."""
    return any(grant.covers(action, namespace, task, queue) for grant in grants)
