"""Records with sensible values, so that a test names only what it is about.

All are pure: the same arguments give equal records. `number` sets records of a kind apart and spaces them by a
millisecond; every other field is overridden by keyword.
"""

from dataclasses import replace
from typing import Any

from rota.domain.ids import timed_id
from rota.domain.lane import lane
from rota.domain.priority import Priority, rank
from rota.domain.records import Session
from rota.domain.run import Reason, Run, State
from rota.domain.schedule import Schedule
from rota.domain.task import Task
from rota.domain.triggers import Interval
from rota.testing.clock import START_AT

MINUTE_MS = 60_000


def make_task(number: int = 1, **changes: Any) -> Task:
    """A task of people for the `python` executor, named `task-<number>`."""
    moment = START_AT + number
    plain = Task("main", f"task-{number}", command="report", created_at=moment, updated_at=moment)
    return replace(plain, **changes)


def make_run(number: int = 1, **changes: Any) -> Run:
    """A run as just submitted: pending, in the lane of its queue and at the rank of its priority."""
    moment = changes.get("created_at", START_AT + number)
    namespace, queue = changes.get("namespace", "main"), changes.get("queue", "default")
    priority = changes.get("priority", Priority.NORMAL)
    plain = Run(
        id=timed_id(moment, number), namespace=namespace, task="report", revision=1, queue=queue,
        lane=lane(namespace, queue, "python"), priority=priority, state=State.PENDING, reason=Reason.SUBMITTED,
        detail="", rank=rank(moment, priority), due_at=None, created_at=moment, ready_at=moment, payload=b"{}",
    )  # fmt: skip
    return plain._replace(**changes)


def make_schedule(number: int = 1, **changes: Any) -> Schedule:
    """A schedule of `report` for every minute, named `schedule-<number>`, due a minute after it was made."""
    moment = START_AT + number
    plain = Schedule(
        "main", f"schedule-{number}", task="report", trigger=Interval(MINUTE_MS, anchor_at=moment),
        next_at=moment + MINUTE_MS, cursor_at=moment, accounted_from=moment, created_at=moment, updated_at=moment,
    )  # fmt: skip
    return replace(plain, **changes)


def make_session(number: int = 1, **changes: Any) -> Session:
    """An open session `session-<number>` of a worker for the queue `default` and the `python` executor."""
    plain = Session(
        f"session-{number}", f"worker-{number}", host="host", pid=number, lanes=(lane("main", "default", "python"),),
        queues=("default",), executors=("python",), opened_at=START_AT + number,
    )  # fmt: skip
    return replace(plain, **changes)
