"""Under which keys records and their indexes lie. All begin with one prefix in braces: so they share a cluster slot.

An index is a sorted set of ids. Each record says itself in which ones it lies and at which score, so a change knows
from the record before and the one after what is to be written.
"""

from operator import attrgetter
from typing import Any

from rota.domain.lane import queue_of
from rota.domain.people import Token, User
from rota.domain.records import Audit, Blob, Pulse, Queue, Seal, Session, Tally, Unique
from rota.domain.run import Run, State
from rota.domain.schedule import Schedule, Skip
from rota.domain.task import Revision, Task
from rota.ports.store import Guard, Open, Where
from rota.stores.codec import identity

WORDS: dict[type, str] = {
    Run: "task", Session: "worker", Schedule: "schedule", Task: "definition", Revision: "revision", Queue: "queue",
    Pulse: "pulse", Unique: "unique", Skip: "skip", Audit: "audit", Seal: "seal", User: "user", Token: "token",
    Blob: "blob", Tally: "tally",
}  # fmt: skip
"""The first word of a kind's keys."""
BORN: dict[type, Any] = {
    Run: attrgetter("created_at"), Task: attrgetter("created_at"), Revision: attrgetter("task.updated_at"),
    Schedule: attrgetter("created_at"), Session: attrgetter("opened_at"), Skip: attrgetter("first_at"),
    Audit: attrgetter("at"), Seal: attrgetter("at"), User: attrgetter("created_at"), Token: attrgetter("created_at"),
    Blob: attrgetter("created_at"), Tally: attrgetter("minute"),
}  # fmt: skip
"""When a record was made; listings follow it. The others are listed by id."""
ENDED: dict[type, Any] = {
    Run: attrgetter("ended_at"), Session: attrgetter("closed_at"), Unique: attrgetter("expires_at"),
    Audit: attrgetter("sealed_at"), Token: attrgetter("expires_at"),
}  # fmt: skip
"""When a record ended, closed or expired."""
OPENED = (Session, Audit)
"""Kinds of which what has not ended is called open."""
BY_ID = (Skip,)
"""Kinds with an index by id beside that by time; runs have one, too."""
LARGE = ("payload", "result")
FIELDS = ("namespace", "task", "queue", "schedule", "session")

LANES = "task:lanes"
"""The index of all lanes that there ever were; each begins with its namespace."""
Places = dict[str, tuple[int, str]]
"""Score and member, by index."""


def record_key(kind: type, of: str) -> str:
    """The key of a record, without the prefix."""
    if kind is Run:
        return f"task:detail:{of}"
    if kind is Blob:
        run, _, name = of.rpartition("/")
        if name in LARGE:
            return f"task:{name}:{run}"
    return f"{WORDS[kind]}:detail:{of}"


def places(record: Any) -> Places:
    """Where a record lies, without the prefix."""
    kind = type(record)
    if kind is Run:
        return _places_of(record)
    if kind is Pulse:
        return {}
    word, of = WORDS[kind], identity(record)
    born = BORN[kind](record) if kind in BORN else 0
    found = {f"{word}:list": (born, of)}
    if kind in BY_ID:
        found[f"{word}:ids"] = 0, of
    if kind in ENDED:
        ended = ENDED[kind](record)
        if ended is not None:
            found[f"{word}:ended"] = ended, of
        elif kind in OPENED:
            found[f"{word}:open"] = born, of
    if kind is Schedule and record.next_at is not None:
        found["schedule:due"] = record.next_at, of
    if kind is Queue and record.paused:
        found["queue:paused"] = 0, of
    return found


def _places_of(run: Run) -> Places:
    space, state = run.namespace, run.state
    first, born = (0, run.id), (run.created_at, run.id)
    found = {
        f"task:list:{space}/{state.value}": born,
        "task:ids": first,
        f"task:of:{space}/{run.task}": born,
        LANES: (0, run.lane),
    }
    if run.schedule:
        found[f"task:fired:{space}/{run.schedule}"] = born
    if run.due_at is not None:
        found["task:due"] = run.due_at, run.id
    if state is State.PENDING:
        found[f"task:ready:{run.lane}"] = run.rank, run.id
    elif state is State.RUNNING:
        found[f"task:queue:{run.session}"] = run.token & 0x7FFFFFFF, run.id
        if run.cancel:
            found[f"task:cancel:{run.session}"] = first
    if run.ended_at is not None:
        found["task:ended"] = run.ended_at, run.id
    return found


def moves(was: Places, now: Places) -> tuple[list[str], list[str]]:
    """What leaves (index, member) and what comes (index, score, member), all in one list each."""
    gone: list[str] = []
    new: list[str] = []
    for index, (_, member) in was.items():
        # Lanes stay known: there are few, and many runs share one.
        if index not in now and index != LANES:
            gone += index, member
    for index, entry in now.items():
        if was.get(index) != entry:
            new += index, str(entry[0]), entry[1]
    return gone, new


def guarded(guard: Guard, prefix: str) -> list[str]:
    """What a script looks at to see whether a guard holds."""
    if guard is None:
        return [""]
    if isinstance(guard, Open):
        return ["open", f"{prefix}worker:open", guard.session]
    return ["term", prefix + term_keys(guard.name)[0], str(guard.number)]


def term_keys(name: str) -> tuple[str, str]:
    """Of a leadership: the key of its number, and that of its holder."""
    word = "schedule" if name == "scheduler" else f"lead:{name}"
    return f"{word}:term", f"{word}:leader"


def lanes_of(names: tuple[str, ...]) -> list[str]:
    """Each lane once, and behind it the id of its queue."""
    return [one for lane in dict.fromkeys(names) for one in (lane, queue_of(lane))]


def fits(record: Any, where: Where) -> bool:
    """Whether a record is what a filter wants; a field that its kind lacks fits nothing."""
    kind = type(record)
    for name in FIELDS:
        if (value := getattr(where, name)) and getattr(record, name, None) != value:
            return False
    if where.states and not (kind is Run and record.state in where.states):
        return False
    if where.prefix and not identity(record).startswith(where.prefix):
        return False
    if where.since is not None or where.until is not None:
        born = BORN[kind](record) if kind in BORN else None
        if born is None or born < (where.since or born) or (where.until is not None and born >= where.until):
            return False
    if where.ended_until is None and where.open is None:
        return True
    ended = ENDED[kind](record) if kind in ENDED else None
    if where.ended_until is not None and (ended is None or ended >= where.ended_until):
        return False
    return where.open is None or (kind in OPENED and (ended is None) == where.open)
