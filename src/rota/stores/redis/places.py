"""Under which keys records and their indexes lie. All begin with one prefix in braces: so they share a cluster slot.

An index is a sorted set of ids. Each record says itself in which ones it lies and at which score, so a change knows
from the record before and the one after what is to be written.
"""

from typing import Any

from rota.domain.people import Token, User
from rota.domain.records import Audit, Blob, Pulse, Queue, Seal, Session, Tally, Unique
from rota.domain.run import Run, State
from rota.domain.schedule import Schedule, Skip
from rota.domain.task import Revision, Task
from rota.ports.store import Guard
from rota.stores.codec import identity
from rota.stores.kinds import OPENED, born, ended

WORDS: dict[type, str] = {
    Run: "task", Session: "worker", Schedule: "schedule", Task: "definition", Revision: "revision", Queue: "queue",
    Pulse: "pulse", Unique: "unique", Skip: "skip", Audit: "audit", Seal: "seal", User: "user", Token: "token",
    Blob: "blob", Tally: "tally",
}  # fmt: skip
"""The first word of a kind's keys."""
LARGE = ("payload", "result")
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
    at = born(record) or 0
    found = {f"{word}:list": (at, of)}
    if kind is Skip:
        # By id, which begins with that of the schedule.
        found["skip:ids"] = 0, of
    if (end := ended(record)) is not None:
        found[f"{word}:ended"] = end, of
    elif kind in OPENED:
        found[f"{word}:open"] = at, of
    if kind is Schedule and record.next_at is not None:
        found["schedule:due"] = record.next_at, of
    if kind is Queue and record.paused:
        found["queue:paused"] = 0, of
    return found


def _places_of(run: Run) -> Places:
    space, state = run.namespace, run.state
    first, made = (0, run.id), (run.created_at, run.id)
    found = {
        f"task:list:{space}/{state.value}": made,
        "task:ids": first,
        f"task:of:{space}/{run.task}": made,
        LANES: (0, run.lane),
    }
    if run.schedule:
        found[f"task:fired:{space}/{run.schedule}"] = made
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
    """What a script looks at to see whether a guard holds: the key of the term's number, and the number."""
    return [prefix + term_keys(guard.name)[0], str(guard.number)] if guard else []


def term_keys(name: str) -> tuple[str, str]:
    """Of a leadership: the key of its number, and that of its holder."""
    word = "schedule" if name == "scheduler" else f"lead:{name}"
    return f"{word}:term", f"{word}:leader"
