"""What comes in: bodies, strict in their types, refusing what they do not know. Each tells what it means."""

import json
import re
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from rota.api.schemas.texts import NO_NUL, NameText, Text
from rota.domain.durations import LONGEST_MS
from rota.domain.errors import Invalid, InvalidTrigger
from rota.domain.names import check_key
from rota.domain.priority import Priority, priority
from rota.domain.records import DISPATCH
from rota.domain.retry import RETRY_LIMIT, Defaults, Retry
from rota.domain.schedule import CatchUp, Overlap, Policy, Schedule
from rota.domain.task import COMMANDED, DEFINED, Isolation, OnLost, Task, meant
from rota.domain.triggers import Cron, Interval, Trigger, from_json, parse
from rota.domain.triggers.base import RANGE_END
from rota.domain.triggers.reading import CLOCKLESS, check_clock
from rota.engine.submit import Order
from rota.observe.traces import current

R = TypeVar("R")

BULK_LIMIT = 1_000
SPARE = 8
"""Unknown members of an object that are told of one by one."""

Ms = Annotated[int, Field(ge=0, le=LONGEST_MS)]
Tries = Annotated[int, Field(ge=0, le=RETRY_LIMIT)]
LimitMs = Annotated[int, Field(gt=0, le=LONGEST_MS)]
Span = Annotated[float, Field(ge=0, le=LONGEST_MS / 1_000)]
Unique = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(partial(check_key, ""))]
Seconds = Annotated[float, Field(gt=0, le=LONGEST_MS / 1_000)]
_LEVELS: Any = Literal["low", "normal", "high", "urgent"] | Annotated[int, Field(ge=0, le=3)]
Level = Annotated[Priority, BeforeValidator(priority, json_schema_input_type=_LEVELS)]
Words = Annotated[list[Annotated[str, Field(min_length=1, max_length=200, pattern=NO_NUL)]], Field(max_length=100)]
When = Annotated[str, Field(max_length=200, description='Cron text, "@daily", "every 10s" or "at 2026-12-24T18:00".')]

Whens = Annotated[
    list[str],
    Field(min_length=1, max_length=20),  # first, so that a list that is too long is not looked into
    BeforeValidator(
        lambda value: [value] if isinstance(value, str) else value, json_schema_input_type=When | list[When]
    ),
]
"""The first is of the task's own name, the second of `name:2`, and so on."""


def _instant(value: object) -> object:
    """Milliseconds of ISO 8601, without an offset in UTC; a query has its numbers as text."""
    if not isinstance(value, str):
        return value
    if re.fullmatch("[0-9]{5,16}", value):
        return int(value)
    try:
        return parse(f"at {value:.100}").after(0)
    except Invalid as error:
        raise Invalid("", error.message.replace('"at ', '"')) from None


Instant = Annotated[
    int,
    BeforeValidator(_instant, json_schema_input_type=str | int),
    Field(ge=0, lt=RANGE_END, description="ISO 8601, UTC without an offset; or ms since the epoch."),
]


def trigger_of(text: str, timezone: str | None, known: Trigger | None = None) -> Trigger:
    """The trigger that a text means; where it takes the place of cron text, by the clock and the rules of that one.

    Raises `Invalid` that names `schedule` or `timezone`.
    """
    kept = known if isinstance(known, Cron) else Cron("@daily")
    try:
        found = parse(text, kept.timezone if timezone is None else timezone)
        return replace(kept, expression=found.expression, timezone=found.timezone) if isinstance(found, Cron) else found
    except InvalidTrigger as error:
        raise _elsewhere(error, "schedule") from None


def _elsewhere(error: InvalidTrigger, field: str) -> Invalid:
    return error if error.field == "timezone" else Invalid(field, str(error))


def shown_as(example: dict[str, Any]) -> ConfigDict:
    """What the spec shows of a body."""
    return ConfigDict(json_schema_extra={"examples": [example]})


class Closed(BaseModel):
    """Members, and no others."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few(cls, said: Any) -> Any:
        """Each unknown member is told of, but not a million of them: that would hold up everybody for seconds."""
        if isinstance(said, dict) and len(said) > len(cls.model_fields) + SPARE:
            stranger = next(name for name in said if name not in cls.model_fields)
            raise Invalid(f"{stranger:.60}", f"is unknown here, as are others of {len(said)} members")
        return said


class Body(Closed):
    """A JSON object with these members and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)

    def given(self, *names: str) -> dict[str, Any]:
        """Those of these members that were sent and say something; lists as tuples, as the domain keeps them."""
        found = {name: getattr(self, name) for name in names if name in self.model_fields_set}
        return {name: tuple(one) if isinstance(one, list) else one for name, one in found.items()}


def updated(record: R, body: Body | None) -> R:
    """A copy of a record with what a body of the same members says."""
    changes = body.given(*type(body).model_fields) if body else {}
    return replace(record, **changes)  # type: ignore[type-var]  # dataclasses only


def packed(value: Any) -> bytes:
    """A payload as it is kept; nothing for null."""
    return b"" if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class RetryBody(Body):
    """When a failed run is tried again. Delays grow as delay · rate^n, up to the cap."""

    retries: Tries = 3
    delay_ms: Ms = 10_000
    rate: Annotated[float, Field(gt=0, le=100)] = 2.0
    cap_ms: Ms = 3_600_000
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.1
    only_on: Words = []
    never_on: Words = []


class ClocksBody(Body):
    """Limits of time in ms; null is no limit."""

    queue_ms: LimitMs | None = None
    attempt_ms: LimitMs | None = 300_000
    total_ms: LimitMs | None = None
    silence_ms: LimitMs | None = None


class _Tried(Body):
    """The short and the whole form of retry and timeout; one of them is given."""

    retry_count: Tries | None = Field(default=None, description="Short for retry.retries.")
    retry: RetryBody | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Any:
        if self.retry_count is not None and self.retry and "retries" in self.retry.model_fields_set:
            raise Invalid("retry_count", "and retry.retries say the same; give one of them")
        return self

    def retried(self, policy: Retry) -> Retry:
        """A policy with what the body says of it."""
        after = updated(policy, self.retry)
        return after if self.retry_count is None else replace(after, retries=self.retry_count)


class TaskFields(_Tried):
    """What can be said of a task; what is left out has its default, or in a PATCH stays as it is."""

    description: str = Field(default="", max_length=4_000)
    task_type: Text = Field(default="", description="What people sort it by; means nothing to Rota.")
    executor: NameText = Field(default="python", description="python, script, shell, http, grpc or one of your own.")
    command: str = Field(default="", max_length=32_000, description="Handler, file, shell line or URL.")
    params: dict[str, Any] = Field(default={}, max_length=100, description="Settings of the executor.")
    payload: Any = Field(default=None, description="JSON arguments of runs that bring none.")
    queue: NameText = "default"
    priority: Level = Priority.NORMAL
    clocks: ClocksBody | None = None
    timeout_seconds: Seconds | None = Field(default=None, description="Short for clocks.attempt_ms; null is no limit.")
    on_lost: Annotated[OnLost, Field(strict=False)] = OnLost.RETRY
    isolation: Annotated[Isolation, Field(strict=False)] = Isolation.AUTO
    requires: list[NameText] = Field(default=[], max_length=6, description="Labels of its workers.")
    timezone: Text = Field(default="UTC", description="IANA zone of `schedule`.")

    @model_validator(mode="after")
    def _unequivocal(self) -> Any:
        if "timeout_seconds" in self.model_fields_set and self.clocks and "attempt_ms" in self.clocks.model_fields_set:
            raise Invalid("timeout_seconds", "and clocks.attempt_ms say the same; give one of them")
        if "timezone" in self.model_fields_set:
            if not (texts := getattr(self, "schedule", None)):
                raise Invalid("timezone", "is that of schedule; give that as well, or change /api/schedules")
            check_clock("timezone", [texts] if isinstance(texts, str) else texts)
        return self

    def applied(self, task: Task, new: Defaults | None = None) -> Task:
        """A task with what the body says of it; `new`: where it says nothing of these, the defaults hold."""
        given = self.given("description", "task_type", "executor", "command", "params", "queue", "priority")
        given |= self.given("on_lost", "isolation")
        if "payload" in self.model_fields_set:
            given["payload"] = packed(self.payload)
        if "requires" in self.model_fields_set:
            given["requires"] = tuple(sorted(set(self.requires)))
        clocks = updated(replace(task.clocks, attempt_ms=new.attempt_ms) if new else task.clocks, self.clocks)
        if "timeout_seconds" in self.model_fields_set:
            attempt_ms = None if self.timeout_seconds is None else max(round(self.timeout_seconds * 1_000), 1)
            clocks = replace(clocks, attempt_ms=attempt_ms)
        after = meant(replace(task, **given, clocks=clocks))
        command = after.command or (task.name if after.executor not in COMMANDED else "")
        retry = self.retried(new.retry(after.executor) if new else task.retry)
        return replace(after, command=command, retry=retry)


class TaskNew(TaskFields):
    """A new task, and with `schedule` schedules of it."""

    name: NameText
    schedule: Whens | None = Field(default=None, description="When it runs by itself; one or several.")
    model_config = shown_as({
        "name": "nightly-report", "description": "The figures of the day", "task_type": "batch", "executor": "python",
        "command": "process_data.py", "schedule": "0 2 * * *", "priority": "normal", "retry_count": 3,
        "timeout_seconds": 3600,
    })  # fmt: skip


class TaskChange(TaskFields):
    """What to change of a task. `schedule` changes the one of the task's name, or makes it; null deletes it."""

    name: NameText | None = Field(default=None, description="May be sent, but not changed.")
    schedule: When | None = Field(default=None, description="Of the schedule of its own name.")
    model_config = shown_as({"retry_count": 5, "timeout_seconds": 600})

    def changes(self, task: Task, whole: Defaults | None = None) -> dict[str, Any]:
        """Fields that change; `whole`: what the body leaves out goes back to its default. Raises `Invalid`."""
        if self.name not in (None, task.name):
            raise Invalid("name", f"is {task.name!r} and cannot be changed; make a new task instead")
        after = self.applied(Task(task.namespace, task.name) if whole else task, whole)
        return {name: getattr(after, name) for name in DEFINED if getattr(after, name) != getattr(task, name)}


class PolicyBody(Body):
    """The time policy of a schedule."""

    catch_up: Annotated[CatchUp, Field(strict=False)] = CatchUp.LATEST
    window_ms: Ms = Policy().window_ms
    max_runs: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    start_deadline_ms: LimitMs | None = None
    overlap: Annotated[Overlap, Field(strict=False)] = Overlap.SKIP
    misfire_ms: Ms = 5_000


class ScheduleFields(Body):
    """What can be said of a schedule; when: text or a trigger as JSON, and the clock that cron text follows."""

    schedule: When | None = None
    trigger: dict[str, Any] | None = Field(default=None, max_length=20, description="As JSON, as answers show it.")
    timezone: Text | None = Field(default=None, description="IANA zone of the text; UTC if not given.")
    gap: Literal["shift", "skip"] | None = Field(default=None, description="Times that a clock change leaves out.")
    fold: Literal["first", "both"] | None = Field(default=None, description="Times that a clock change repeats.")
    task: NameText | None = None
    payload: Any = Field(default=None, description="JSON arguments of its runs; the task's if not given.")
    policy: PolicyBody | None = None

    def made(self, known: Trigger | None = None) -> Trigger:
        """The trigger that is meant, or the known one by another clock. Raises `Invalid`."""
        if (self.schedule is None) == (self.trigger is None) and not (known and self.schedule is None):
            raise Invalid("schedule", "or trigger: give one of them")
        clock = {key: value for key in ("timezone", "gap", "fold") if (value := getattr(self, key)) is not None}
        if self.trigger is not None:
            try:
                found: Trigger = from_json(self.trigger)
            except InvalidTrigger as error:
                raise _elsewhere(error, "trigger") from None
        elif self.schedule is None:
            found = known or Cron("@daily")
        else:
            found = trigger_of(self.schedule, self.timezone, known)
        if isinstance(found, Cron):
            return replace(found, **clock)
        for key in clock:
            if self.schedule is None or key != "timezone" or isinstance(found, Interval):
                raise Invalid(key, CLOCKLESS)
        return found

    def applied(self, schedule: Schedule, trigger: Trigger) -> Schedule:
        """A schedule with what the body says of it."""
        payload = packed(self.payload) if "payload" in self.model_fields_set else schedule.payload
        policy, task = updated(schedule.policy, self.policy), self.task or schedule.task
        return replace(schedule, task=task, trigger=trigger, payload=payload, policy=policy)


class ScheduleNew(ScheduleFields):
    """A new schedule of a task."""

    task: NameText
    name: NameText | None = Field(default=None, description="The task's if not given.")
    model_config = shown_as({"task": "nightly-report", "schedule": "0 2 * * *", "timezone": "Europe/Berlin"})


class ScheduleChange(ScheduleFields):
    """What to change of a schedule, from now on; its past is never fired again."""

    name: NameText | None = Field(default=None, description="May be sent, but not changed.")
    model_config = shown_as({"schedule": "30 2 * * *"})


class PreviewBody(ScheduleFields):
    """A schedule that might be: a new one, or with `name` that one changed."""

    name: NameText | None = Field(default=None, description="Of the schedule that would be changed.")
    count: Annotated[int, Field(ge=1, le=1_000)] = 10
    model_config = shown_as({"schedule": "30 2 * * *", "timezone": "Europe/Berlin", "count": 3})


class TriggerBody(_Tried):
    """How one run differs from what its task says."""

    payload: Any = Field(default=None, description="JSON arguments; the task's if not given.")
    due_at: Instant | None = None
    delay_seconds: Span | None = None
    queue: NameText | None = None
    priority: Level | None = None
    unique: Unique | None = Field(default=None, description="One live run has it; a second order gives that run.")
    timeout_seconds: Span | None = Field(default=None, description="Of an attempt; 0: no limit, null: the task's.")
    overlap: bool = Field(default=False, description="Obey the overlap rule of the schedule of the task's name.")
    model_config = shown_as({"payload": {"day": "2026-11-20"}})

    @model_validator(mode="after")
    def _one_time(self) -> Any:
        if self.delay_seconds is not None and self.due_at is not None:
            raise Invalid("delay_seconds", "or due_at: give one of them")
        return self

    def order(self, task: Task, actor: str, key: str | None, now: int) -> Order:
        """What the engine is asked for."""
        seconds = self.timeout_seconds
        return Order(
            task=task.name,
            namespace=task.namespace,
            payload=packed(self.payload),
            due_at=self.due_at if self.delay_seconds is None else now + round(self.delay_seconds * 1_000),
            queue=self.queue,
            priority=self.priority,
            key=key,
            unique=self.unique,
            retry=self.retried(task.retry) if self.retry or self.retry_count is not None else None,
            timeout_ms=None if seconds is None else max(round(seconds * 1_000), int(seconds > 0)),
            actor=actor,
            trace=current(),
        )


class RunNew(TriggerBody):
    """One run of a task."""

    task: NameText
    model_config = shown_as({"task": "nightly-report", "payload": {"day": "2026-11-20"}})


class RunsNew(Body):
    """Many runs; where one of them is not valid, none is made."""

    runs: Annotated[list[RunNew], Field(min_length=1, max_length=BULK_LIMIT)]


class Names(Body):
    """Which ones, by name."""

    ids: Annotated[list[NameText], Field(min_length=1, max_length=BULK_LIMIT)]


class WhyBody(Body):
    """The reason, for whoever finds it paused."""

    why: Text = ""


class ResumeBody(Body):
    """How to resume."""

    catch_up: bool = Field(default=False, description="Judge what passed meanwhile as missed.")


class WorkerChange(Body):
    """What to change of a live worker."""

    slots: Annotated[int, Field(ge=1, le=10_000)] | None = Field(default=None, description="How many runs at once.")
    labels: list[NameText] | None = Field(default=None, max_length=6, description="In place of those that it has.")
    draining: Literal[True] | None = Field(default=None, description="Finish what it holds, and leave.")


class QueueChange(Body):
    """What to change of a queue."""

    strict: bool | None = Field(None, description="Higher priorities always go first; lower ones can then starve.")
    dispatch: Literal[DISPATCH] | None = Field(  # type: ignore[valid-type]  # the names stand once, in the domain
        None, description="How its runs get to workers: a free one takes them, or the leader places them so."
    )
