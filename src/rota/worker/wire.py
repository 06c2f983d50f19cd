"""What a worker and its desk say to each other across a network: versioned JSON, decoded into types or refused.

One message a call and one an answer. Whoever reads skips members that it does not know and takes the
default of those that are missing, so that nodes and workers need not be upgraded at once; `VERSION` is raised when
that would be wrong.
"""

from dataclasses import replace
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, TypeVar, get_type_hints

import msgspec
from msgspec import Meta, Struct

from rota.domain.durations import LONGEST_MS
from rota.domain.errors import Invalid
from rota.domain.names import NAME, TEXT_LIMIT
from rota.domain.records import Session
from rota.domain.run import End, Fence, Outcome, Run
from rota.domain.states import Verdict
from rota.domain.task import Task
from rota.ports.desk import Assignment, Progress, Settlement, Taken
from rota.ports.store import BeatReply, Line

VERSION = 1
BATCH = 1_000
"""Runs, outcomes, lines in one message, at most."""
GIVEN = 250
"""Runs in one answer, each of which may bring a payload of VALUE_LIMIT."""
ANSWER_BYTES = 2 << 20
"""Payloads, settings of tasks and earlier errors in one answer, about."""
LONGEST_BEAT_MS = 5_000
"""How long an answer to a beat may be put off."""
LONGEST_CLAIM_MS = 20_000
"""How long a claim may wait at the desk for work."""

_NAME = NAME.pattern
Id = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
SessionId = Annotated[str, Meta(pattern=r"\A([A-Za-z0-9_][A-Za-z0-9_.:@+-]{0,94}-)?[0-9a-f]{32}\Z")]
Name = Annotated[str, Meta(pattern=rf"\A{_NAME}\Z")]
Names = Annotated[tuple[Name, ...], Meta(max_length=1_000)]
Lane = Annotated[str, Meta(pattern=rf"\A{_NAME}/{_NAME}/{_NAME}/({_NAME}(,{_NAME})*)?\Z")]
TaskId = Annotated[str, Meta(pattern=rf"\A{_NAME}/{_NAME}\Z")]
Short = Annotated[str, Meta(max_length=500)]
Text = Annotated[str, Meta(max_length=TEXT_LIMIT)]
LineText = Annotated[str, Meta(max_length=20_000)]
Stream = Annotated[str, Meta(pattern=r"\A(stdout|stderr|log)\Z")]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Token = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Instant = Annotated[int, Meta(ge=0, le=2**48)]
Delay = Annotated[int, Meta(ge=0, le=LONGEST_MS)]


class Message(Struct, frozen=True, omit_defaults=True, tag_field="v", tag=VERSION):
    """Anything said; `v` is the version that its sender speaks, this one where it is missing."""


class Enter(Message, frozen=True):
    """A session to be opened. The desk says when that was."""

    id: SessionId
    worker: Name
    host: Short
    pid: Count
    lanes: Annotated[tuple[Lane, ...], Meta(min_length=1, max_length=10_000)]
    queues: Names
    executors: Names
    slots: Annotated[int, Meta(ge=1, le=10_000)]
    ttl_ms: Annotated[int, Meta(ge=1_000, le=600_000)]
    labels: Names = ()
    version: Short = ""
    address: Short = ""


class Entered(Message, frozen=True):
    """It is open, or its leaving is done; `at`: the desk's clock."""

    at: Instant


class Leave(Message, frozen=True):
    """A session to be closed."""

    session: SessionId
    reason: Short = ""


class Ask(Message, frozen=True):
    """A want. What lanes its session takes, the desk knows. Limit 0 lets an earlier one that still waits go."""

    session: SessionId
    token: Token
    limit: Annotated[int, Meta(ge=0, le=BATCH)]
    exclude: Annotated[tuple[TaskId, ...], Meta(max_length=BATCH)] = ()
    wait_ms: Annotated[int, Meta(ge=0, le=LONGEST_CLAIM_MS)] = LONGEST_CLAIM_MS


def _named(name: str, kind: Any) -> Any:
    """A named tuple with its members by name, so that others may be added."""
    defaults, hints = kind._field_defaults, get_type_hints(kind)
    members = [(one, hint, defaults.get(one, msgspec.NODEFAULT)) for one, hint in hints.items()]
    return msgspec.defstruct(name, members, frozen=True, omit_defaults=True)


Sent: Any = _named("Sent", Run)
"""A run as it travels: without its payload, which goes beside it, and what its worker has no use for."""
_FIELDS = attrgetter(*Run._fields)


class Given(Struct, frozen=True, omit_defaults=True):
    """A claimed run; `task` is its place among the tasks of the answer."""

    run: Sent
    task: Count
    version: int
    payload: bytes


class Work(Message, frozen=True):
    """What a claim brought."""

    at: Instant
    contended: bool
    open: bool
    waited_ms: Count
    tasks: tuple[Task, ...] = ()
    runs: tuple[Given, ...] = ()
    rest: tuple[Id, ...] = ()
    """Ids of runs that were claimed too, to be asked for by `Held`: all of them are too large for one answer."""


class Took(Message, frozen=True):
    """Which of the runs that were posted to a worker it has dealt with: begun, or handed back."""

    runs: Annotated[tuple[Id, ...], Meta(max_length=BATCH)]


class Told(Struct, frozen=True, omit_defaults=True):
    """What a worker says of itself."""

    total: Count = 0
    completed: Count = 0
    failed: Count = 0
    cpu_percent: Count = 0
    memory_mb: Count = 0
    busy_percent: Annotated[int, Meta(ge=0, le=100)] = 0


class Beat(Message, frozen=True):
    """A sign of life, to be answered at once when a hint names the session, else after `wait_ms`."""

    session: SessionId
    wait_ms: Annotated[int, Meta(ge=0, le=LONGEST_BEAT_MS)] = 0
    load: Told | None = None


Reply: Any = _named("Reply", BeatReply)


class Beaten(Message, frozen=True):
    """The answer to a beat."""

    at: Instant
    reply: Reply


class Held(Message, frozen=True):
    """A question: the runs that a session holds; or with `runs`, those of them with all that it needs to start them."""

    session: SessionId
    runs: Annotated[tuple[Id, ...], Meta(max_length=GIVEN)] = ()


class Said(Struct, frozen=True, omit_defaults=True):
    """News of a running attempt."""

    run: Id
    attempt: Count
    token: Token
    started_at: Instant | None = None
    progress: Short = ""


class Printed(Struct, frozen=True, omit_defaults=True):
    """A line of its output."""

    run: Id
    attempt: Count
    at: Instant
    stream: Stream
    level: Annotated[str, Meta(max_length=40)]
    text: LineText


class Report(Message, frozen=True):
    """News and lines."""

    progress: Annotated[tuple[Said, ...], Meta(max_length=10 * BATCH)]
    lines: Annotated[tuple[Printed, ...], Meta(max_length=BATCH)] = ()


class Ended(Struct, frozen=True, omit_defaults=True):
    """An attempt's end."""

    run: Id
    attempt: Count
    token: Token
    end: End
    result: bytes | None = None
    reason: Text = ""
    error: Text = ""
    errors: Annotated[tuple[Short, ...], Meta(max_length=100)] = ()
    final: bool = False
    delay_ms: Delay = 0
    started_at: Instant | None = None
    progress: Short = ""


class Settle(Message, frozen=True):
    """Ends of attempts."""

    settlements: Annotated[tuple[Ended, ...], Meta(max_length=BATCH)]


Holding: Any = list[Sent]
"""The answer to `Held`; where it names runs, it is `Work`."""
Judged = list[Verdict]
"""The answer to `Report` and `Settle`: one for each."""

T = TypeVar("T")
_decoder: Any = cache(msgspec.json.Decoder)


encode = msgspec.json.Encoder().encode
"""A message, or what it is answered, as JSON."""


def decode(kind: type[T], data: bytes) -> T:
    """The message of that kind. Raises `Invalid` that names the member, also for a version that is not ours."""
    try:
        found: T = _decoder(kind).decode(data)
        return found
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        text, _, place = str(error).partition(" - at `$")
        field = place.strip("`").lstrip(".") or "body"
        remedy = f"; this is version {VERSION}: upgrade the older of the two sides" if field == "v" else ""
        raise Invalid(field, f"{text[:200]}{remedy}") from None


def sent(run: Run) -> Any:
    """A run, ready to travel."""
    return Sent(*run._replace(payload=None, result=None, history=(), keys=()))


def received(run: Any) -> Run:
    """The run that travelled."""
    return Run(*_FIELDS(run))


def work(taken: Taken, now: int) -> Work:
    """What a claim brought; each task travels once, without what only its editors need."""
    places: dict[tuple[str, int], int] = {}
    tasks: list[Task] = []
    runs: list[Given] = []
    rest: list[str] = []
    size = 0
    for run, task, payload, version in taken.assignments:
        size += len(payload) + 2 * len(run.error)
        if runs and size > ANSWER_BYTES:
            rest.append(run.id)
            continue
        place = places.setdefault((task.id, task.revision), len(places))
        if place == len(tasks):
            tasks.append(replace(task, overrides={}, payload=b""))
            size += len(encode(task.params))
        runs.append(Given(sent(run), place, version, payload))
    return Work(now, taken.contended, taken.open, taken.waited_ms, tuple(tasks), tuple(runs), tuple(rest))


def taken(said: Work) -> Taken:
    """What a claim brought, on the worker's side."""
    assignments = tuple(
        Assignment(received(one.run), said.tasks[one.task], one.payload, one.version) for one in said.runs
    )
    return Taken(assignments, said.contended, said.open, said.waited_ms)


def entering(session: Session) -> Enter:
    """A session to be opened, as its worker says it."""
    return Enter(**{name: getattr(session, name) for name in Enter.__struct_fields__})


def ended(one: Settlement) -> Ended:
    """An end, ready to travel; what its reporter holds of the run stays."""
    values: tuple[Any, ...] = (*one.fence, *one.outcome)
    return Ended(*values)


def settlement(said: Ended) -> Settlement:
    """The end that travelled."""
    values = [getattr(said, name) for name in Ended.__struct_fields__]
    return Settlement(Fence(*values[:3]), Outcome(*values[3:]))


def report(progress: tuple[Progress, ...], lines: tuple[Line, ...]) -> Report:
    """News and lines, ready to travel."""
    return Report(
        tuple(Said(*one.fence, one.started_at, one.progress) for one in progress), tuple(Printed(*one) for one in lines)
    )
