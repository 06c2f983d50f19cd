"""Who asks, what for, and what of it they may see and do."""

from typing import NamedTuple

from rota.domain.access import Action, Actor, allowed
from rota.domain.errors import Forbidden, NotFound
from rota.domain.run import Run
from rota.domain.schedule import Schedule
from rota.domain.task import Task


def scope(record: Task | Schedule | Run) -> tuple[str, str, str]:
    """The namespace, task and queue that rights to it are about."""
    match record:
        case Task():
            return record.namespace, record.name, record.queue
        case Schedule():
            return record.namespace, record.task, ""
    return record.namespace, record.task, record.queue


class Asked(NamedTuple):
    """Who asks, and what for."""

    actor: Actor
    action: Action

    @property
    def name(self) -> str:
        """For the audit."""
        return self.actor.name

    def sees(self, namespace: str, task: str = "", queue: str = "") -> bool:
        """Whether they may know that it exists."""
        return allowed(self.actor.grants, Action.READ, namespace, task, queue)

    def check(self, kind: str, name: str, namespace: str, task: str = "", queue: str = "") -> None:
        """Raises `NotFound` for what they must not know of, `Forbidden` for what they must not do to it."""
        if not self.sees(namespace, task, queue):
            raise NotFound(kind, name)
        self.permit(kind, name, namespace, task, queue)

    def permit(self, kind: str, name: str, namespace: str, task: str = "", queue: str = "") -> None:
        """Raises `Forbidden` for what they must not do to a thing that they know of, or name first."""
        if not allowed(self.actor.grants, self.action, namespace, task, queue):
            raise Forbidden(f"{self.name} may not {self.action} {kind} {name!r}; ask for a role that may")
