"""Task: the definition of what to run, and the rules for whoever may change it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from rota.domain.errors import Refused
from rota.domain.ids import Named
from rota.domain.priority import Priority
from rota.domain.retry import Retry


class Owner(StrEnum):
    """Who has the say over a definition."""

    CODE = "code"
    PEOPLE = "people"


class OnLost(StrEnum):
    """What becomes of a run whose worker vanished."""

    RETRY = "retry"
    FAIL = "fail"


class Isolation(StrEnum):
    """Where a Python task runs: as its kind suggests (async on the loop, sync in a thread), or in its own process."""

    AUTO = "auto"
    THREAD = "thread"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class Clocks:
    """Four clocks, each optional (None: no limit), all in ms."""

    queue_ms: int | None = None
    """From ready to start; over it the run fails with `missed_start`."""
    attempt_ms: int | None = 300_000
    """From start to end of one attempt."""
    total_ms: int | None = None
    """From submit (or the due time) to the end of the last attempt."""
    silence_ms: int | None = None
    """The longest gap between two progress reports of one attempt."""


@dataclass(frozen=True, slots=True)
class Task(Named):
    """What to run, where, and under which rules. A revision of it never changes once a run has named it."""

    executor: str = "python"
    command: str = ""
    """The handler's name (python), file (script), command line (shell), URL (http), `target/service/method` (grpc)."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the executor, such as HTTP method and headers. Plain JSON values."""
    payload: bytes = b""
    """Default payload (JSON), used where a run brings none."""
    queue: str = "default"
    priority: Priority = Priority.NORMAL
    retry: Retry = Retry()
    clocks: Clocks = Clocks()
    on_lost: OnLost = OnLost.RETRY
    isolation: Isolation = Isolation.AUTO
    requires: tuple[str, ...] = ()
    description: str = ""
    task_type: str = ""
    """What people sort it by, such as `batch`; means nothing to Rota."""
    revision: int = 1
    owner: Owner = Owner.PEOPLE
    app: str = ""
    """The app whose code registered it, and its version then; empty for people's."""
    version: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Fields that people changed over the code, each with the code's value, so that a reset can restore it."""
    created_at: int = 0
    updated_at: int = 0


DEFINED = (
    "executor", "command", "params", "payload", "queue", "priority", "retry", "clocks", "on_lost", "isolation",
    "requires", "description", "task_type",
)  # fmt: skip
"""The fields that make a revision; the rest is about the record."""


ALIASES = {"local": "python", "rpc": "grpc"}
"""Other words for an executor."""
SECRET = ("env", "headers", "metadata")
"""Settings of executors in which credentials are."""
COMMANDED = ("script", "shell", "http", "grpc")
"""Executors of tasks that need a command; one of the user's own may do without."""


def meant(task: Task) -> Task:
    """The task with the executor that it means: `rpc` is `grpc`, a `python` task whose command is a file a script."""
    kind = ALIASES.get(task.executor, task.executor)
    own = task.owner is Owner.CODE and task.command == task.name  # a function, whatever it is called
    if kind == "python" and task.command.endswith(".py") and not own:
        kind = "script"
    return task if kind == task.executor else replace(task, executor=kind)


@dataclass(frozen=True, slots=True)
class Revision:
    """A task as it was when runs named it. Written once, never changed."""

    task: Task

    @property
    def id(self) -> str:
        """`namespace/name@revision`."""
        return revision_id(self.task.id, self.task.revision)


def revision_id(task: str, revision: int) -> str:
    """The id of a task's revision."""
    return f"{task}@{revision}"


def without_secrets(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Params, or fields of a task with params in them, without the values that only who defines the task may see."""
    shown = dict(fields)
    for name, value in fields.items():
        if name in SECRET and value:
            shown[name] = dict.fromkeys(value, "…") if isinstance(value, Mapping) else "…"
        elif isinstance(value, Mapping) and name in ("params", "overrides", "task"):
            shown[name] = without_secrets(value)
    return shown


def differs(one: Task, other: Task) -> bool:
    """Whether two tasks define different work."""
    return any(getattr(one, name) != getattr(other, name) for name in DEFINED)


def edited(task: Task, changes: Mapping[str, Any], now: int) -> Task:
    """The task after people changed it; on a code-owned task each change is an override that survives deploys."""
    return _revised(task, overridden(task, changes), now)


def overridden(known: Any, changes: Mapping[str, Any]) -> Any:
    """A task or schedule with fields as people want them; of code's, each remembers the code's value at first."""
    own = {name: getattr(known, name) for name in changes} if known.owner is Owner.CODE else {}
    return replace(known, **changes, overrides={**own, **known.overrides})


def reset(task: Task, now: int) -> Task:
    """The task as its code has it, all overrides dropped."""
    return _revised(task, replace(task, **task.overrides, overrides={}), now)


def registered(known: Task | None, code: Task, now: int) -> Task:
    """The task after `code` (from an app's version) registered it.

    An older version never overwrites a newer one; fields that people overrode keep their value and remember the code's.
    Raises `Refused` for a task that people made: code does not take it from them.
    """
    if known is None:
        return replace(code, owner=Owner.CODE, revision=1, created_at=now, updated_at=now)
    if known.owner is Owner.PEOPLE:
        raise Refused(f"task {known.id} was made by people; delete it, or give the one in the code another name")
    if outdated(known, code):
        return known
    wanted: Task = deployed(known, code, DEFINED)
    return wanted if wanted == known else _revised(known, wanted, now)


def deployed(known: Any, code: Any, fields: Iterable[str]) -> Any:
    """A task or schedule as its code has it now; fields that people overrode stay, and remember the code's value."""
    fresh = {name: getattr(known if name in known.overrides else code, name) for name in fields}
    overrides = {name: getattr(code, name) for name in known.overrides}
    return replace(known, **fresh, app=code.app, version=code.version, overrides=overrides)


def outdated(known: Any, code: Any) -> bool:
    """Whether `code` is an older version of the app that registered `known` (tasks or schedules)."""
    same = known.owner is Owner.CODE and known.app == code.app
    return same and version_key(code.version) < version_key(known.version)


_PARTS = re.compile(r"\d+|[^\W\d_]+")


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """An order of app versions in which 1.10 comes after 1.9, and 1.0 after 1.0-rc1 but ahead of 1.0.post1 and 1.0+g12.

    At each place a word comes ahead of the end, the end ahead of a number.
    """
    places: list[tuple[int, int, str]] = []
    for part in version.lower().removeprefix("v").split("+") if version else ():
        found = _PARTS.findall(part)
        places += [(3, int(one), "") if one.isdecimal() else (2 * (one == "post"), 0, one) for one in found]
        places.append((1, 0, ""))
    return tuple(places)


def _revised(before: Task, after: Task, now: int) -> Task:
    revision = before.revision + differs(before, after)
    return replace(after, revision=revision, updated_at=now)
