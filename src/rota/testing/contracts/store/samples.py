"""One plain and one awkward record of each kind. Whatever a store does to them, they must come back equal."""

from dataclasses import replace
from typing import Any

from rota.domain.priority import ENDLESS_MS, Priority
from rota.domain.records import Audit, Blob, Queue, Session, Unique, Until
from rota.domain.retry import Retry
from rota.domain.run import Attempt, Cause, Reason, Run, State
from rota.domain.schedule import CatchUp, Overlap, Policy, Schedule, Skip
from rota.domain.task import Clocks, Isolation, OnLost, Owner, Revision, Task
from rota.domain.triggers import AllOf, AnyOf, Cron, Except, Interval, Once
from rota.testing.clock import START_AT
from rota.testing.factories import make_run, make_schedule, make_session, make_task

AWKWARD = "Zoë 🦊 \u202eא\u0301 'quoted'; -- %_\\ \"x\"\r\n\ttab \ufeff 中文"
"""Text with everything that ever broke a table, a key, a pattern or a line."""
PRINTABLE = "main/unique/Zoë 🦊 'q' -- %_*?[a]\\ \"x\" 中文"
BEYOND_FLOAT = (1 << 53) + 1
"""The first whole number that a 64-bit float, and with it many a JSON reader, cannot hold."""
LARGEST_TOKEN = (1 << 64) - 1
JSON_VALUES: dict[str, Any] = {
    "list": [],
    "object": {},
    "none": None,
    "yes": True,
    "big": BEYOND_FLOAT,
    "small": -BEYOND_FLOAT,
    "tenth": 0.1,
    "text": AWKWARD,
    "": {"empty key": [[], {}, [None]]},
}

TASK = make_task(
    params=JSON_VALUES,
    payload='{"größe": "🦊", "n": 9007199254740993}'.encode(),
    priority=Priority.URGENT,
    retry=Retry(7, 1, 1.1, 10**12, 0.0, ("ValueError",), ("KeyError", "OSError")),
    clocks=Clocks(1, None, BEYOND_FLOAT, 0),
    on_lost=OnLost.FAIL,
    isolation=Isolation.PROCESS,
    requires=("gpu", "höhe"),
    description=AWKWARD,
    revision=2,
    owner=Owner.CODE,
    version="1.10.0-rc.1+build",
    overrides={
        "params": JSON_VALUES,
        "payload": b"[]",
        "priority": Priority.LOW,
        "retry": Retry(1),
        "clocks": Clocks(attempt_ms=None),
        "on_lost": OnLost.RETRY,
        "isolation": Isolation.THREAD,
        "requires": ("a", "b"),
        "description": "",
    },
    app=AWKWARD,
    updated_at=START_AT + 5,
    created_at=START_AT + 4,
    executor="shell",
    command=AWKWARD,
    queue="other",
)
RUN = make_run(
    namespace="other",
    task="other",
    revision=2,
    queue="other",
    created_at=START_AT + 9,
    id=make_run().id,
    priority=Priority.HIGH,
    state=State.RUNNING,
    reason=Reason.CLAIMED,
    detail=AWKWARD,
    rank=START_AT - Priority.URGENT * ENDLESS_MS,
    due_at=START_AT + 1,
    ready_at=None,
    payload=b"",
    cause=Cause.BACKFILL,
    actor=AWKWARD,
    schedule="nightly",
    nominal_at=0,
    origin="0" * 32,
    gate="nightly",
    keys=("main/unique/a", PRINTABLE),
    retry=Retry(0, 0, 1.0, 0, 0.25, ("E",)),
    timeout_ms=0,
    queue_ms=BEYOND_FLOAT,
    start_by=START_AT - 2,
    end_by=START_AT + 2,
    attempt=21,
    token=LARGEST_TOKEN,
    session="session-1",
    worker=AWKWARD,
    tries=20,
    lost=3,
    claimed_at=START_AT + 3,
    started_at=START_AT + 4,
    ended_at=0,
    cancel=AWKWARD,
    digest=(1 << 32) - 1,
    result=b"",
    spilled=True,
    error=AWKWARD,
    progress=AWKWARD,
    history=(
        Attempt(19, 0, "w", "s", START_AT, None, START_AT, Reason.LOST, "", 0),
        Attempt(20, LARGEST_TOKEN, AWKWARD, "s", 1, 2, 3, Reason.ERROR, AWKWARD, 1),
    ),
)
SKIP = Skip("main/schedule-1", 3, START_AT, START_AT + 60_000 * 9, 10, "overlap")
SCHEDULE = make_schedule(
    task="other",
    trigger=AnyOf((Cron("0 2 * * *", "Europe/Berlin"), Once(START_AT))),
    payload=b'{"list": [], "object": {}}',
    policy=Policy(CatchUp.ALL, 0, 1, BEYOND_FLOAT, Overlap.BUFFER_ALL, 0),
    owner=Owner.CODE,
    app="shop",
    version="2",
    overrides={
        "task": "other",
        "trigger": Except(Interval(1_000), AllOf((Cron("* * * * * *"), Interval(60_000, 7_000)))),
        "payload": b"[]",
        "policy": Policy(max_runs=2),
    },
    revision=9,
    paused=AWKWARD,
    next_at=None,
    cursor_at=0,
    accounted_from=0,
    created_at=START_AT + 4,
    updated_at=START_AT + 5,
    skip=SKIP,
    open=("0" * 32, "f" * 32),
    fired=BEYOND_FLOAT,
    skipped=1,
)
SESSION = make_session(
    worker=AWKWARD,
    host=AWKWARD,
    pid=0,
    lanes=("main/default/python/", "main/default/python/a,b"),
    queues=(),
    executors=("python", "shell"),
    labels=("höhe",),
    slots=0,
    draining=True,
    ttl_ms=BEYOND_FLOAT,
    opened_at=0,
    closed_at=0,
    reason=AWKWARD,
    version="1",
)

PAIRS: dict[type, tuple[Any, Any]] = {
    Task: (make_task(), TASK),
    # A revision is written once; its two are records of their own.
    Revision: (Revision(make_task()), Revision(TASK)),
    Schedule: (make_schedule(), SCHEDULE),
    Run: (make_run(), RUN),
    Queue: (Queue("main", "default"), Queue("main", "default", AWKWARD, True, "least_load", BEYOND_FLOAT)),
    Session: (make_session(), SESSION),
    Unique: (
        Unique("main/unique/a", make_run().id, "", Until.TERMINAL),
        Unique("main/unique/a", "", AWKWARD, Until.INSTANT, BEYOND_FLOAT),
    ),
    Skip: (SKIP._replace(last_at=START_AT, count=1), SKIP._replace(revision=4, count=BEYOND_FLOAT, reason="maximum")),
    Audit: (
        Audit("audit-1", START_AT, "ann", "pause", "main/report"),
        Audit("audit-1", 0, AWKWARD, AWKWARD, AWKWARD, AWKWARD, '{"list": [], "object": {}}'),
    ),
    Blob: (Blob("run/payload", b"{}", START_AT), Blob("run/payload", bytes(range(256)) * 1_000, START_AT + 1)),
}
"""For each kind a plain record and an awkward one, of the same id where the kind can change."""

AWKWARD_RECORDS = [awkward for _, awkward in PAIRS.values()] + [
    make_run(2, payload=None, result=None, keys=(), retry=None, history=()),
    make_run(3, payload=AWKWARD.encode(), result=b"null"),
    make_task(2, payload=b"", params={}, overrides={}, requires=()),
    make_schedule(2, skip=None, open=(), payload=b""),
    Blob("empty/result", b"", 0),
    replace(make_session(2), queues=(), lanes=(), executors=(), labels=()),
]
