"""What comes out, for the documents: models made of the records themselves, field by field as `api.views` has them."""

from collections.abc import Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model

from rota.api.views import HEAVY, HIDDEN, is_instant
from rota.domain.records import Load, Queue, Session
from rota.domain.retry import Retry
from rota.domain.run import Attempt, Run, State
from rota.domain.schedule import Policy, Schedule
from rota.domain.task import Clocks, Task
from rota.ports.store import Line

CLOSED = ConfigDict(extra="forbid")


def view(name: str, record: type, leave: frozenset[str] = frozenset(), **more: Any) -> type[BaseModel]:
    """The model of a record's JSON, without the fields to leave out, and with more of them."""
    fields: dict[str, Any] = {}
    for field, hint in get_type_hints(record).items():
        if field in HIDDEN or field in leave:
            continue
        if is_instant(field):
            fields |= {field: str | None, f"{field}_ms": int | None}
        else:
            fields[field] = LEVELS if field == "priority" else _plain(hint)
    fields |= more
    return answer(name, (record.__doc__ or "").partition("\n")[0], **fields)


def page(item: Any) -> type[BaseModel]:
    """The model of a page of a listing."""
    doc = "A page; `next` is the cursor of the one that follows, null at the end."
    return answer(f"{item.__name__}s", doc, items=list[item], next=str | None)


def answer(name: str, doc: str, /, **fields: Any) -> type[BaseModel]:
    """The model of an answer; a member with a default may be missing."""
    members: dict[str, Any] = {key: kind if isinstance(kind, tuple) else (kind, ...) for key, kind in fields.items()}
    return create_model(name, __config__=CLOSED, __doc__=doc, **members)


LEVELS = Literal["low", "normal", "high", "urgent"]


def _plain(hint: Any) -> Any:
    """The type of a field's JSON."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return Union[tuple(one if one is NoneType else _plain(one) for one in inner)]  # noqa: UP007  # not known yet
    if origin is tuple:
        return list[_plain(inner[0])]  # type: ignore[misc]  # made while running
    if origin is not None and issubclass(origin, Mapping):
        return dict[str, Any]
    if hint in MODELS:
        return MODELS[hint]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return Literal[tuple(one.value for one in hint)]
    return hint if hint in (int, float, str, bool, NoneType) else Any


MODELS: dict[Any, Any] = {}
MODELS |= {Retry: view("Retry", Retry), Clocks: view("Clocks", Clocks), Policy: view("Policy", Policy)}
MODELS |= {Attempt: view("Attempt", Attempt)}

_TASK: dict[str, Any] = {"id": str, "retry_count": int, "timeout_seconds": float | None}
_TIMES: dict[str, Any] = {"schedules": list[str], "when": list[str], "next_at": str | None, "next_at_ms": int | None}
_RUN: dict[str, Any] = {"duration_ms": int | None}
_SCHEDULE: dict[str, Any] = {"id": str, "when": str, "state": Literal["on", "paused"]}
_BEAT: dict[str, Any] = {"beat_at": str, "beat_at_ms": int, "silent_ms": int}
_SESSION: dict[str, Any] = {"session": str, "state": Literal["open", "draining", "closed"]}

TaskRow: Any = view("TaskRow", Task, frozenset(), **_TASK, **{name: (kind, None) for name, kind in _TIMES.items()})
TaskView: Any = view("TaskView", Task, **_TASK, **_TIMES, warning=str)
RunRow: Any = view("RunRow", Run, HEAVY, **_RUN)
RunView: Any = view("RunView", Run, **_RUN)
ScheduleRow: Any = view("ScheduleRow", Schedule, **_SCHEDULE)
ScheduleView: Any = view("ScheduleView", Schedule, **_SCHEDULE, next_fires=list[str])
LoadView: Any = view("LoadView", Load)
WorkerView: Any = view("WorkerView", Session, **_SESSION, running=int, **_BEAT, load=LoadView | None)
QueueView: Any = view("QueueView", Queue, id=str, pending=int, running=int)
RunLine: Any = view("RunLine", Line)
LineView: Any = view("LineView", Line, task=str, worker=str)
AttemptView: Any = view("AttemptView", Attempt)

STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-sent events", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}
RunLines: Any = answer(
    "RunLines", "Lines of a run; `next` reads on behind them.", items=list[RunLine], next=str | None, over=bool
)
Attempts: Any = page(AttemptView)
Story: Any = answer("Story", "Why it is as it is, oldest first, a sentence a line.", id=str, story=list[str])
Done: Any = answer("Done", "What became of one of many.", id=str, status=int, state=str | None, error=str | None)
Bulk: Any = answer(
    "Bulk", "What became of each; `next` goes on with a filter's further ones.", items=list[Done], next=str | None
)
Receipt: Any = answer(
    "Receipt", "The run of an order; `created` is false where a key led to an earlier one.",
    id=str, created=bool, warning=str,
)  # fmt: skip
KNOWN: dict[int | str, dict[str, Any]] = {200: {"model": Receipt, "description": "A key led to an earlier run"}}
Receipts: Any = answer("Receipts", "The runs of orders, in their order.", items=list[Receipt])
Cancelled: Any = answer(
    "Cancelled", "`cancelled` is absolute; `cancelling`: its worker is told.",
    id=str, state=Literal["cancelled", "cancelling"],
)  # fmt: skip
Retried: Any = answer("Retried", "The new run, and the one that it points back at.", id=str, origin=str)
Findings: Any = page(
    answer("Finding", "What was looked at, how it is (`ok`, `warn` or `fail`), and what was found.",
           level=Literal["ok", "warn", "fail"], check=str, text=str)
)  # fmt: skip
Health: Any = answer("Health", "It works.", status=Literal["ok"])
WorkerNumbers: Any = answer(
    "WorkerNumbers", "The attempts of a live worker since it began, and what it takes; null until it has said so.",
    worker=str, session=str, running=int, **dict.fromkeys(Load._fields, int | None),
)  # fmt: skip
Stats: Any = answer(
    "Stats", "Runs that are not over by state, those that ended since an instant by state; attempts only by worker.",
    tasks=int, schedules=int, runs=dict[State, int], workers=int, slots=int, queues=dict[str, int], running=int,
    completed=int, failed=int, unaccounted=int | None, ended=dict[str, int], since=str, since_ms=int, total=int,
    queue_length=int, by_worker=list[WorkerNumbers],
)  # fmt: skip
Fire: Any = answer("Fire", "An instant of a schedule, in UTC and on its wall clock.", at=str, at_ms=int, local=str)
ClockChange: Any = answer(
    "ClockChange", "A change of the clocks ahead, and what it does to fires.", at=str, at_ms=int, note=str
)
Preview: Any = answer(
    "Preview", "What a schedule would do.", next=list[Fire], clock_changes=list[ClockChange], overlaps=str,
    added=list[str], removed=list[str],
)  # fmt: skip
