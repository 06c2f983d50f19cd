"""Awkward, plain and empty records of each kind. Whatever a store does to them, they must come back equal."""

from collections.abc import Mapping
from enum import Enum
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from rota.domain.lane import lane
from rota.domain.people import Kind, Token, User
from rota.domain.priority import ENDLESS_MS, Priority
from rota.domain.records import Audit, Blob, Queue, Seal, Unique, Until
from rota.domain.retry import Retry
from rota.domain.run import Run
from rota.domain.schedule import Policy, Skip
from rota.domain.task import Clocks, Isolation, OnLost, Revision, Task
from rota.domain.triggers import AllOf, AnyOf, Cron, Except, Interval, Once, Trigger
from rota.testing.clock import START_AT
from rota.testing.factories import make_run, make_schedule, make_session, make_task

AWKWARD = "Zoë 🦊 \u202eא\u0301 'quoted'; -- %_\\ \"x\"\r\n\ttab \ufeff 中文"
"""Text with everything that ever broke a table, a key, a pattern or a line."""
PRINTABLE = "main/unique/Zoë 🦊 'q' -- %_*?[a]\\ \"x\" 中文"
BEYOND_FLOAT = (1 << 53) + 1
"""The first whole number that a 64-bit float, and with it many a JSON reader, cannot hold."""
LARGEST_TOKEN = (1 << 64) - 1
JSON_VALUES: dict[str, Any] = {
    "list": [], "object": {}, "none": None, "yes": True, "big": BEYOND_FLOAT, "small": -BEYOND_FLOAT, "tenth": 0.1,
    "text": AWKWARD, "": {"empty key": [[], {}, [None]]},
}  # fmt: skip
OVERRIDES: dict[str, Any] = {
    "params": JSON_VALUES, "payload": b"[]", "priority": Priority.LOW, "retry": Retry(1), "policy": Policy(max_runs=2),
    "clocks": Clocks(attempt_ms=None), "on_lost": OnLost.RETRY, "isolation": Isolation.THREAD, "requires": ("a", "b"),
    "trigger": Except(Interval(1_000), AllOf((Cron("* * * * * *"), Interval(60_000, 7_000)))), "description": "",
}  # fmt: skip

NAMES: dict[Any, Any] = {
    "namespace": "main", "task": "other", "queue": "other", "lane": lane("main", "other", "python"),
    "executor": "shell", "schedule": "main/nightly", "priority": Priority.URGENT,
    "rank": START_AT - Priority.URGENT * ENDLESS_MS,
}  # fmt: skip
AWKWARD_VALUES = NAMES | {
    str: AWKWARD, int: BEYOND_FLOAT, float: 0.1, bool: True, bytes: bytes(range(256)), Mapping[str, Any]: JSON_VALUES,
    Trigger: AnyOf((Cron("0 2 * * *", "Europe/Berlin"), Once(START_AT))), Enum: -1, tuple: 2,
    "session": "session-1", "run": "f" * 32, "keys": ("main/unique/a", PRINTABLE),
    "token": LARGEST_TOKEN, "overrides": OVERRIDES, "data": bytes(range(256)) * 1_000,
}  # fmt: skip
"""What a field is given, by its name or its type: of enums the member at this place, of tuples so many items."""
EMPTY_VALUES = NAMES | {
    str: "", int: 0, float: 0.0, bool: False, bytes: b"", Mapping[str, Any]: {}, Trigger: Once(0), Enum: 0, tuple: 0,
}  # fmt: skip
PLAIN = (
    make_task(), make_schedule(), Queue("main", "default"), make_run(), make_session(),
    Unique(PRINTABLE, make_run().id, "", Until.TERMINAL), Audit("audit-1", START_AT, "ann", "pause", "main/report"),
    Seal("000000000001", START_AT, (), "", "", ""), User("ann"), Token("0123456789ab", Kind.KEY, "ci"),
    Blob("run/payload", b"{}", START_AT), Skip("main/nightly", 3, START_AT, START_AT, 1, "overlap"),
)  # fmt: skip


def _like(plain: Any, values: dict[Any, Any]) -> Any:
    named = "id" if "id" in get_type_hints(type(plain)) else "name"
    kept = {name: getattr(plain, name) for name in (named, "first_at") if hasattr(plain, name)}
    return _made(type(plain), values | kept)


def _made(kind: type, values: dict[Any, Any]) -> Any:
    hints = get_type_hints(kind).items()
    return kind(**{name: values[name] if name in values else _value(hint, values) for name, hint in hints})


def _value(hint: Any, values: dict[Any, Any]) -> Any:
    if hint in values:
        return values[hint]
    if isinstance(hint, UnionType):
        return _value(get_args(hint)[0], values)
    if get_origin(hint) is tuple:
        return (_value(get_args(hint)[0], values),) * values[tuple]
    return list(hint)[values[Enum]] if issubclass(hint, Enum) else _made(hint, values)


SAMPLES: dict[type, tuple[Any, ...]] = {
    type(plain): (_like(plain, AWKWARD_VALUES), plain, _like(plain, EMPTY_VALUES)) for plain in PLAIN
}
"""Records of one id; no field is the same in all of them but those that make the id."""
SAMPLES[Revision] = (Revision(SAMPLES[Task][0]),)
RUN: Run = SAMPLES[Run][0]
AWKWARD_RECORDS = [record for records in SAMPLES.values() for record in records]
