"""Records as JSON values: instants as ISO 8601 in UTC and, under `…_ms`, as numbers; payloads and results as what they
hold; secrets of the protocol (tokens) left out.
"""

import json
from collections.abc import Hashable, Mapping, Set
from contextlib import suppress
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from typing import Any, cast

from rota.domain.durations import UNITS_MS
from rota.domain.errors import InvalidTrigger
from rota.domain.people import Token, User
from rota.domain.priority import Priority
from rota.domain.records import Session
from rota.domain.run import Run, State
from rota.domain.schedule import Schedule
from rota.domain.timing import upcoming
from rota.domain.triggers import Cron, Interval, Once, Trigger
from rota.engine.query import QueueView, RunDetail, WorkerView

HIDDEN = {"token", "digest", "rank", "lane", "lanes", "keys", "spilled", "skip", "cursor_at"}
HEAVY = frozenset({"payload", "result", "history"})
"""What a listing leaves out of each run."""
INSTANTS = {"at", "since", "accounted_from", "start_by", "end_by", "next_fires"}


def is_instant(key: str) -> bool:
    """Whether what has this key is an instant."""
    return key in INSTANTS or key.endswith("_at")


def iso(moment: int) -> str:
    """An instant (ms since the epoch) in ISO 8601, UTC."""
    return datetime.fromtimestamp(moment / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant(name: str, moment: int | None) -> dict[str, Any]:
    """An instant under its name, and as a number beside it."""
    return {name: None if moment is None else iso(moment), f"{name}_ms": moment}


def plain(value: Any, leave: Set[str] = frozenset()) -> Any:
    """JSON values of a record without the fields to leave out, of what was found out about one, or of its parts."""
    kind = type(value)
    if kind in ATOMS:
        return value
    shape = _shape(cast(Hashable, kind))
    if shape is None:
        return _part(value)
    found: dict[str, Any] = {}
    for name, timed in shape:
        if name in leave:
            continue
        member = getattr(value, name)
        if timed:
            found[name], found[f"{name}_ms"] = None if member is None else iso(member), member
        elif name == "priority":
            found[name] = Priority(member).name.lower()
        else:
            found[name] = member if type(member) in ATOMS else plain(member)
    found |= _derived(value)
    return found.pop(shape[0][0]) | found if isinstance(value, RunDetail | WorkerView | QueueView) else found


ATOMS = frozenset({str, int, float, bool, type(None)})


@cache
def _shape(kind: Hashable) -> tuple[tuple[str, bool], ...] | None:
    """The fields that are told of a record, and which of them are instants; None for what is no record."""
    names = getattr(kind, "_fields", None) or getattr(kind, "__dataclass_fields__", None)
    if names is None or hasattr(kind, "to_json"):
        return None
    return tuple((name, is_instant(name)) for name in names if name not in HIDDEN)


def _part(value: Any) -> Any:
    if hasattr(value, "to_json"):
        return value.to_json()
    match value:
        case bytes():
            try:
                return json.loads(value) if value else None
            except (ValueError, RecursionError):
                return value.decode(errors="backslashreplace")
        case Enum():
            return value.value
        case Mapping():
            return {str(key): plain(one) for key, one in value.items()}
        case tuple() | list():
            return [plain(one) for one in value]
    return value


def _derived(record: Any) -> dict[str, Any]:
    """What people ask of a record beyond its fields."""
    match record:
        case Run():
            began, ended = record.started_at, record.ended_at
            told = {"duration_ms": None if began is None or ended is None else ended - began}
            # In other states it is when the leader looks after it, by limits that are told elsewhere.
            return told if record.state in (State.SCHEDULED, State.RETRYING) else told | instant("due_at", None)
        case Schedule():
            return {"when": when(record.trigger), "state": "paused" if record.paused else "on"}
        case Session():
            state = "closed" if not record.open else "draining" if record.draining else "open"
            return {"session": record.id, "state": state}
    return {}


def user_row(user: User) -> dict[str, Any]:
    """A user: never the password, nor its digest."""
    return {**plain(user, {"password"}), "has_password": bool(user.password)}


def token_row(token: Token) -> dict[str, Any]:
    """A token: never its secret, nor its digest."""
    return {**plain(token, {"generation", "revoked"}), **instant("used_at", token.used_at or None)}


def fires_next(schedule: Schedule, now: int, count: int) -> list[int]:
    """The instants at which it fires next; none where this machine does not know its time zone."""
    with suppress(InvalidTrigger):
        return upcoming(schedule, now, count)
    return []


def when(trigger: Trigger) -> str:
    """A trigger as people would type it; combinations as JSON."""
    match trigger:
        case Cron(expression, zone):
            return expression if zone == "UTC" else f"{expression} ({zone})"
        case Interval(every):
            return next(f"every {every // size}{unit}" for unit, size in UNITS_MS.items() if every % size == 0)
        case Once(at):
            return f"at {iso(at)}"
    return json.dumps(trigger.to_json())
