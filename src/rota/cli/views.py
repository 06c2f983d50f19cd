"""Records as JSON values: instants as ISO 8601 in UTC and, under `…_ms`, as numbers; payloads and results as what they
hold; secrets of the protocol (tokens) left out.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from rota.domain.priority import Priority
from rota.domain.run import Run
from rota.domain.schedule import Schedule
from rota.domain.task import Task
from rota.domain.triggers import Cron, Interval, Once, Trigger
from rota.engine.query import QueueView, RunDetail, WorkerView

HIDDEN = {"token", "digest", "rank", "lane", "lanes", "keys", "spilled", "skip", "cursor_at"}
INSTANTS = {"at", "accounted_from", "start_by", "end_by", "minute"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso(moment: int) -> str:
    """An instant (ms since the epoch) in ISO 8601, UTC."""
    return (EPOCH + timedelta(milliseconds=moment)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def plain(value: Any) -> Any:
    """JSON values of a record or of what a record holds."""
    match value:
        case bytes():
            return _content(value)
        case Enum():
            return value.value
        case Mapping():
            return {str(key): plain(one) for key, one in value.items()}
        case Cron() | Interval() | Once():
            return value.to_json()
    if is_dataclass(value) and not isinstance(value, type):
        return value.to_json() if hasattr(value, "to_json") else _members((one.name, value) for one in fields(value))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return _members((name, value) for name in value._fields)
    return [plain(one) for one in value] if isinstance(value, tuple | list) else value


def _members(names: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, holder in names:
        value = getattr(holder, name)
        if name in HIDDEN:
            continue
        if name == "priority":
            found[name] = Priority(value).name.lower()
        elif name in INSTANTS or name.endswith("_at"):
            found |= instant(name, value)
        else:
            found[name] = plain(value)
    return found


def record(value: Any) -> dict[str, Any]:
    """The members of a record as JSON values."""
    found: dict[str, Any] = plain(value)
    return found


def instant(name: str, moment: int | None) -> dict[str, Any]:
    """An instant under its name, and as a number beside it."""
    return {name: None if moment is None else iso(moment), f"{name}_ms": moment}


def _content(data: bytes) -> Any:
    """What JSON bytes say; other bytes as text."""
    try:
        return json.loads(data) if data else None
    except ValueError:
        return data.decode(errors="backslashreplace")


def when(trigger: Trigger) -> str:
    """A trigger as people would type it; combinations as JSON."""
    match trigger:
        case Cron(expression, zone):
            return expression if zone == "UTC" else f"{expression} ({zone})"
        case Interval(every_ms):
            return f"every {_every(every_ms)}"
        case Once(at):
            return f"at {iso(at)}"
    return json.dumps(trigger.to_json())


def _every(ms: int) -> str:
    units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")]
    return next((f"{ms // size}{unit}" for size, unit in units if ms % size == 0), f"{ms}ms")


def task_view(task: Task, schedules: Sequence[Schedule]) -> dict[str, Any]:
    """A task, with the names of its schedules and the next instant of any of them."""
    upcoming = [one.next_at for one in schedules if one.next_at is not None]
    found = record(task) | {"schedules": [one.name for one in schedules]}
    return found | instant("next_at", min(upcoming, default=None))


def schedule_view(schedule: Schedule) -> dict[str, Any]:
    """A schedule, with its trigger as text too; a range of skips that still grows counts in `skipped`."""
    found = record(schedule)
    text = {"when": when(schedule.trigger), "state": "paused" if schedule.paused else "on"}
    return {"name": found["name"], "task": found["task"], **text, **found}


def run_view(run: Run) -> dict[str, Any]:
    """A run, with how long its newest attempt took."""
    began, ended = run.started_at, run.ended_at
    took = ended - began if began is not None and ended is not None else None
    return record(run) | {"duration_ms": took}


def detail_view(detail: RunDetail) -> dict[str, Any]:
    """A run with its values, whatever their size."""
    return run_view(detail.run) | {"payload": plain(detail.payload), "result": plain(detail.result or b"")}


def worker_view(view: WorkerView) -> dict[str, Any]:
    """An open session with what it holds."""
    found = record(view.session)
    state = "draining" if view.session.draining else "open"
    return {"session": found.pop("id"), **found, "running": view.running, "beats": view.beats, "state": state}


def queue_view(view: QueueView) -> dict[str, Any]:
    """A queue with what waits in it."""
    return record(view.queue) | {"pending": view.pending, "running": view.running}
