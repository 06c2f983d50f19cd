"""Schedules as code declares them: what may stand in `schedule=`, and the records it becomes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from typing import Any, TypedDict, Unpack

from rota.domain.durations import to_instant, to_limit_ms, to_ms
from rota.domain.errors import Invalid
from rota.domain.names import check_name
from rota.domain.schedule import CatchUp, Overlap, Policy, Schedule
from rota.domain.task import Owner, Task
from rota.domain.triggers import AllOf, AnyOf, Cron, Except, Interval, Once, Trigger, parse
from rota.domain.triggers.reading import check_clock
from rota.sdk.options import check_options, choice
from rota.sdk.signature import Signature

When = str | timedelta | datetime | Trigger
"""Cron text, `@daily`, `every 10s`; an interval; an instant with its time zone; a trigger from `rota.domain`."""


class ScheduleRules(TypedDict, total=False):
    """The time rules of a schedule. Lengths of time are seconds, a timedelta, or text such as `1h30m`."""

    timezone: str | tzinfo
    """Zone of cron text; UTC if not given."""
    gap: str
    """Cron times that a clock change leaves out: `shift` or `skip`."""
    fold: str
    """Cron times that a clock change repeats: `first` or `both`."""
    catch_up: str | CatchUp
    """Occurrences that nobody was there to fire: `latest` (default), `skip`, `earliest` or `all`."""
    window: float | timedelta | str
    """Missed occurrences older than this are skipped."""
    max_runs: int
    """At most so many missed occurrences are made up for by `all`."""
    start_deadline: float | timedelta | str | None
    """A run not started so long after its nominal time fails."""
    overlap: str | Overlap
    """An occurrence while an earlier run is not over: `skip` (default), `buffer_one`, `buffer_all`, `cancel_other`
    or `allow`."""
    args: Sequence[Any]
    """Arguments of its runs, by position."""
    kwargs: Mapping[str, Any]
    """Arguments of its runs, by name."""


class ScheduleOptions:
    """One of several schedules of a task, with a name and rules of its own; other rules are as the task says."""

    def __init__(self, when: When, *, name: str = "", **rules: Unpack[ScheduleRules]) -> None:
        """Raises `Invalid` for a rule that does not exist."""
        check_options(rules, ScheduleRules.__annotations__)
        self.when = when
        self.name = name
        self.rules = rules


Plan = When | ScheduleOptions | list[When | ScheduleOptions] | None
"""What `schedule=` takes."""


def schedules(task: Task, signature: Signature, plan: Plan, rules: ScheduleRules) -> tuple[Schedule, ...]:
    """The records of a task's schedules: called as the task, further ones `task:2` and so on. Raises `Invalid`."""
    entries: Sequence[Any] = [] if plan is None else plan if isinstance(plan, list | tuple) else [plan]
    options = [one if isinstance(one, ScheduleOptions) else ScheduleOptions(one) for one in entries]
    if rules and not options:
        raise Invalid(next(iter(rules)), "belongs to a schedule; give schedule= as well")
    _check_for_text(rules, options)
    return tuple(_schedule(task, signature, one, rules, place) for place, one in enumerate(options, 1))


def _schedule(
    task: Task, signature: Signature, options: ScheduleOptions, common: ScheduleRules, place: int
) -> Schedule:
    _check_for_text(options.rules, [options])
    rules: ScheduleRules = {**common, **options.rules}
    said: dict[str, Any] = {**rules}
    return Schedule(
        namespace=task.namespace,
        name=check_name("schedule", options.name or (task.name if place == 1 else f"{task.name}:{place}")),
        task=task.name,
        trigger=to_trigger(options.when, rules),
        payload=_payload(task, signature, rules),
        policy=Policy(**{slot: convert(said[name], name) for name, (slot, convert) in POLICY.items() if name in said}),
        owner=Owner.CODE,
        app=task.app,
        version=task.version,
    )


def _check_for_text(rules: ScheduleRules, options: Sequence[ScheduleOptions]) -> None:
    stray = next((name for name in ("timezone", "gap", "fold") if name in rules), None)
    if stray:
        texts = [one.when for one in options if isinstance(one.when, str)]
        if not texts:
            raise Invalid(stray, "is for schedules written as text; a datetime or trigger has its own")
        check_clock(stray, texts)


def to_trigger(when: object, rules: ScheduleRules) -> Trigger:
    """When a schedule fires, from any form of it. Raises `Invalid`."""
    match when:
        case str():
            trigger = parse(when, str(rules.get("timezone", "UTC")))
            changes: dict[str, Any] = {name: rules[name] for name in ("gap", "fold") if name in rules}
            return replace(trigger, **changes) if isinstance(trigger, Cron) else trigger
        case timedelta():
            return Interval(to_ms(when, "schedule"))
        case datetime():
            return Once(to_instant(when, "schedule"))
        case AllOf() | AnyOf() | Cron() | Except() | Interval() | Once():
            return when
    forms = 'cron text, "@daily", "every 10s", a timedelta, a datetime, a trigger, ScheduleOptions, or a list of these'
    raise Invalid("schedule", f"{when!r:.60} is no schedule; write {forms}")


def _payload(task: Task, signature: Signature, rules: ScheduleRules) -> bytes:
    args, kwargs = rules.get("args", ()), rules.get("kwargs", {})
    if not isinstance(args, list | tuple):
        raise Invalid("args", f"{args!r:.60} is no list or tuple; one argument is written (1,)")
    if not isinstance(kwargs, Mapping):
        raise Invalid("kwargs", f"{kwargs!r:.60} is no dict of names and values")
    if task.payload and not args and not kwargs:
        return b""
    try:
        return signature.encode_arguments(args, kwargs)
    except Invalid as error:
        raise Invalid("schedule", f"its runs cannot start with these args= and kwargs=: {error}") from None


def _count(value: object, field: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise Invalid(field, f"{value!r:.60} is no whole number from 1 on")


POLICY: dict[str, tuple[str, Callable[[Any, str], Any]]] = {
    "catch_up": ("catch_up", choice(CatchUp)),
    "window": ("window_ms", to_ms),
    "max_runs": ("max_runs", _count),
    "start_deadline": ("start_deadline_ms", to_limit_ms),
    "overlap": ("overlap", choice(Overlap)),
}
"""Rules of the time policy: the field each fills, and its converter."""
