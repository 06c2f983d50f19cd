"""TaskRegistry: the tasks that a program declares, each checked at its declaration. An instance, never a global."""

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any, NamedTuple, Unpack

from rota.domain.durations import to_limit_ms
from rota.domain.errors import Invalid
from rota.domain.lane import LABEL_LIMIT
from rota.domain.names import check_name, check_text
from rota.domain.payload import check_payload
from rota.domain.priority import Priority, priority
from rota.domain.retry import Defaults, Retry, check_retry
from rota.domain.schedule import Schedule
from rota.domain.task import ALIASES, Clocks, Isolation, OnLost, Owner, Task
from rota.engine.define import check_task
from rota.ports.executor import Forms, Handler, Handlers
from rota.sdk.options import check_options, choice, module_name
from rota.sdk.schedules import Plan, ScheduleRules, schedules
from rota.sdk.signature import Signature


class TaskOptions(ScheduleRules, total=False):
    """What a declaration may say. Lengths of time are seconds, a timedelta, or text such as `1h30m`; None: no limit."""

    name: str
    """`module.function` if not given."""
    executor: str
    """`python` if not given. For another kind the function is never called; its signature says what the payload is."""
    command: str
    """What that executor does: a file, a command line, a URL, `target/service/method`. Your own may do without."""
    payload: Mapping[str, Any]
    """Arguments by name, as JSON, of runs that bring none."""
    params: Mapping[str, Any]
    """Settings of that executor, such as method and headers."""
    description: str
    """The docstring's first line if not given."""
    queue: str
    priority: str | int | Priority
    """`low`, `normal`, `high`, `urgent`, or 0 to 3."""
    retries: int | Retry
    """How often a failed run is tried again, or the whole policy."""
    timeout: float | timedelta | str | None
    """Of one attempt; five minutes if not given."""
    total_timeout: float | timedelta | str | None
    """From submit or due time to the end of the last attempt."""
    queue_timeout: float | timedelta | str | None
    """From ready to start."""
    silence_timeout: float | timedelta | str | None
    """Between two progress reports of one attempt."""
    on_lost: str | OnLost
    """What becomes of a run whose worker vanished: `retry` (default) or `fail`."""
    isolation: str | Isolation
    """`auto` (default), `thread` or `process`."""
    requires: str | Iterable[str]
    """Labels that a worker must have."""
    schedule: Plan
    """When it runs by itself; the rules of `ScheduleRules` beside it are for all its schedules."""


PYTHON = "python"


class Declared(NamedTuple):
    """A declared task: its records, and how its arguments travel."""

    task: Task
    schedules: tuple[Schedule, ...]
    signature: Signature
    options: Mapping[str, Any]

    def filled(self, defaults: Defaults) -> Task:
        """The task, with these defaults where its declaration says nothing."""
        task, retries = self.task, self.options.get("retries")
        clocks = task.clocks if "timeout" in self.options else replace(task.clocks, attempt_ms=defaults.attempt_ms)
        if retries is None:
            retry = defaults.retry(task.executor)
        else:
            retry = task.retry if isinstance(retries, Retry) else replace(defaults.policy, retries=retries)
        return replace(task, clocks=clocks, retry=retry)


class TaskRegistry:
    """The tasks that an app, in one version of it, declares in a namespace."""

    def __init__(self, namespace: str = "main", app: str = "", version: str = "") -> None:
        """Raises `Invalid` for a namespace that is no name."""
        self.namespace = check_name("namespace", namespace)
        self.app = check_text("app", app, 128)
        self.version = check_text("version", version, 128)
        self.defaults = Defaults()
        """What holds for tasks whose declaration does not say otherwise."""
        self.forms: Forms = {}
        """What is checked at the declaration by the kind of a task; the engine does it in any case."""
        self._declared: dict[str, Declared] = {}
        self._handlers: dict[str, Handler] = {}

    @property
    def declared(self) -> Mapping[str, Declared]:
        """What was declared, by task name; a live view."""
        return MappingProxyType(self._declared)

    @property
    def tasks(self) -> list[Task]:
        """The records of all tasks, for the engine's `register`."""
        return [one.filled(self.defaults) for one in self._declared.values()]

    @property
    def schedules(self) -> list[Schedule]:
        """The records of all schedules, for the same."""
        return [schedule for one in self._declared.values() for schedule in one.schedules]

    @property
    def handlers(self) -> Handlers:
        """What the `python` executor runs, by command; a live view."""
        return MappingProxyType(self._handlers)

    def provide(self, command: str, handler: Handler) -> None:
        """Have the `python` executor do this command by `handler`, where no task is declared for it."""
        self._handlers.setdefault(command, handler)

    def declare(self, function: Callable[..., Any], **options: Unpack[TaskOptions]) -> Declared:
        """Make `function` a task.

        Raises `Invalid` for a taken or bad name, an option that does not exist or has no meaning, parameters that
        JSON cannot carry, and schedules that cannot be read or lack arguments. Nothing is declared then.
        """
        check_options(options, TaskOptions.__annotations__)
        signature = Signature(function)
        task = self._task(function, {**options})
        if task.payload:
            _check_fit(signature, task.payload)
        rules: Any = {name: value for name, value in options.items() if name in ScheduleRules.__annotations__}
        made = Declared(task, schedules(task, signature, options.get("schedule"), rules), signature, options)
        self._check_free(made)
        self._declared[task.name] = made
        if task.executor == PYTHON:
            self._handlers[task.command] = signature
        return made

    def _task(self, function: Callable[..., Any], options: Mapping[str, Any]) -> Task:
        name = check_name("name", options["name"] if "name" in options else _name(function))
        given = {slot: convert(options[key], key) for key, (slot, convert) in FIELDS.items() if key in options}
        clocks = {slot: to_limit_ms(options[key], key) for key, slot in CLOCKS.items() if key in options}
        kind = given.pop("executor", PYTHON)
        kind = ALIASES.get(kind, kind)
        if kind == PYTHON:
            if "command" in options:
                raise Invalid("command", "a python task has none: its function is what runs")
            given["command"] = name
        made = Task(
            namespace=self.namespace,
            name=name,
            executor=kind,
            clocks=Clocks(**clocks),
            owner=Owner.CODE,
            app=self.app,
            version=self.version,
            **{"description": _first_line(function), "retry": Defaults().retry(kind), **given},
        )
        return check_task(made, self.forms)

    def _check_free(self, made: Declared) -> None:
        if made.task.name in self._declared:
            where = _place(self._declared[made.task.name].signature.function)
            raise Invalid("name", f"task {made.task.name!r} is declared already, {where}; give one of them a name=")
        taken = {one.name for one in self.schedules}
        for one in made.schedules:
            if one.name in taken:
                raise Invalid("schedule", f"there is a schedule {one.name!r} already; use ScheduleOptions(name=...)")
            taken.add(one.name)


def _name(function: Callable[..., Any]) -> str:
    """`module.function`; of a function made inside another one only the inner name counts."""
    inner = getattr(function, "__qualname__", "").rpartition("<locals>.")[2]
    if not inner or inner == "<lambda>":
        raise Invalid("name", f"{function!r:.60} has no name of its own; give it one by name=")
    return f"{module_name(getattr(function, '__module__', None) or '__main__')}.{inner}"


def _first_line(function: Callable[..., Any]) -> str:
    text = inspect.getdoc(function) if inspect.isroutine(function) else ""
    return check_text("description", (text or "").strip().partition("\n")[0])


def _place(function: Callable[..., Any]) -> str:
    code = getattr(function, "__code__", None)
    return f"at {code.co_filename}:{code.co_firstlineno}" if code else f"as {function!r:.60}"


def to_payload(value: object, field: str) -> bytes:
    """JSON of arguments by name. Raises `Invalid`."""
    if not isinstance(value, Mapping):
        raise Invalid(field, f"{value!r:.60} is no dict of names and values")
    try:
        data = json.dumps({**value}, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        if len(value) > 1:
            for name in value:
                to_payload({name: value[name]}, field)
        raise Invalid(field, f"{next(iter(value))!r:.60} is not JSON: {error}") from None
    check_payload(data, field)
    return data


def to_retry(value: object, field: str) -> Retry:
    """A retry policy from a number of retries or a whole one. Raises `Invalid`."""
    if isinstance(value, Retry):
        return check_retry(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Retry(retries=value)
    raise Invalid(field, f"{value!r:.60} is neither a whole number from 0 on nor a Retry")


def _check_fit(signature: Signature, payload: bytes) -> None:
    try:
        signature.values(payload)
    except Invalid as error:
        raise Invalid("payload", f"does not fit the function: {error}") from None


def _labels(value: object, field: str) -> tuple[str, ...]:
    labels = [value] if isinstance(value, str) else value
    if not isinstance(labels, Iterable):
        raise Invalid(field, f"{value!r:.60} is no label and no list of labels")
    checked = tuple(sorted({check_name(field, label) for label in labels}))
    if len(checked) > LABEL_LIMIT:
        raise Invalid(field, f"{len(checked)} labels; a worker has at most {LABEL_LIMIT}")
    return checked


FIELDS: dict[str, tuple[str, Callable[[Any, str], Any]]] = {
    "description": ("description", lambda value, field: check_text(field, value)),
    "executor": ("executor", lambda value, field: check_name(field, value)),
    "command": ("command", lambda value, field: check_text(field, value, 32_000)),
    "payload": ("payload", to_payload),
    "params": ("params", lambda value, field: json.loads(to_payload(value, field))),
    "queue": ("queue", lambda value, field: check_name(field, value)),
    "priority": ("priority", lambda value, _: priority(value)),
    "retries": ("retry", to_retry),
    "on_lost": ("on_lost", choice(OnLost)),
    "isolation": ("isolation", choice(Isolation)),
    "requires": ("requires", _labels),
}
"""Options: the field of the task that each fills, and its converter."""
CLOCKS = {
    "timeout": "attempt_ms",
    "total_timeout": "total_ms",
    "queue_timeout": "queue_ms",
    "silence_timeout": "silence_ms",
}
"""Options that limit a time, and the clock that each sets."""
