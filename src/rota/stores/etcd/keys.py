"""Under which keys records and their indexes lie, without the prefix that all of them share.

A record lies under its kind and id. What it is found by are keys of their own that end in its id: so a change knows
from the record before and the one after which keys go and which come. Instants have 15 digits, those of which the
newest comes first are counted down.
"""

from typing import Any

from rota.domain.records import Blob, Pulse, Queue, Tally, Unique
from rota.domain.run import Run, State
from rota.domain.schedule import Schedule
from rota.ports.store import Guard
from rota.stores.codec import identity
from rota.stores.etcd.client.words import Compare
from rota.stores.kinds import OPENED, born, ended

CEILING = (1 << 48) - 1
DIGITS = 15
BY_ID = (Queue, Unique, Pulse)
"""Kinds that are listed by id."""
ROOM = "room"
"""Written with whatever brings anything in: the server weighs only what stands outside of nested transactions."""
WAKE = "wake/hints"
_LEAST = 1 << 63


def word_of(kind: type) -> str:
    """The first word of the keys of a kind."""
    return kind.__name__.lower()


def clamp(at: int) -> int:
    """An instant as an index can hold it."""
    return min(max(at, 0), CEILING)


def rising(at: int) -> str:
    """An instant of which the earliest comes first."""
    return f"{clamp(at):015d}"


def falling(at: int) -> str:
    """An instant of which the newest comes first."""
    return f"{CEILING - clamp(at):015d}"


def behind(key: bytes) -> bytes:
    """The end of the range of all keys that begin so."""
    return key[:-1] + bytes((key[-1] + 1,))


def record_key(kind: type, of: str) -> str:
    """Where a record lies. A counter is the sum of all keys that begin so: each commit adds one of its own."""
    return f"{word_of(kind)}/{of}/" if kind is Tally else f"{word_of(kind)}/{of}"


def places(record: Any) -> dict[str, str]:
    """The keys by which a record is found, and their values."""
    kind = type(record)
    if kind is Run:
        return _places_of(record)
    if kind is Tally or kind is Pulse:
        return {}
    word, of = word_of(kind), identity(record)
    found: dict[str, str] = {}
    if kind is Blob:
        # By id, so that a run that is deleted knows it.
        found[f"list/{word}/{of}"] = str(record.created_at)
    elif (at := born(record)) is not None:
        found[f"list/{word}/{falling(at)}/{of}"] = ""
    if (end := ended(record)) is not None:
        found[f"ended/{word}/{rising(end)}/{of}"] = ""
    elif kind in OPENED:
        found[f"open/{word}/{of}"] = str(born(record))
    if kind is Schedule and record.next_at is not None:
        found[f"due/{word}/{rising(record.next_at)}/{of}"] = ""
    if kind is Queue and record.paused:
        found[f"paused/{of}"] = ""
    return found


def _places_of(run: Run) -> dict[str, str]:
    """A run lies in one place by its state, in its task's history, and where time looks for it."""
    space, state, of, made = run.namespace, run.state, run.id, falling(run.created_at)
    found = {f"of/{space}/{run.task}/{made}/{of}": ""}
    if state is State.RUNNING:
        cancel = "cancel" if run.cancel else "-"
        found[f"live/{run.session}/{of}"] = f"{run.created_at} {run.token & 0x7FFFFFFF} {space} {cancel} {of}"
    else:
        found[f"state/{space}/{state.value}/{made}/{of}"] = ""
    if state is State.PENDING:
        found[f"ready/{run.lane}/{run.rank + _LEAST:020d}/{of}"] = f"{space}/{run.task}"
    if run.schedule:
        found[f"fired/{space}/{run.schedule}/{made}/{of}"] = ""
    if run.due_at is not None:
        found[f"due/run/{rising(run.due_at)}/{of}"] = ""
    if run.ended_at is not None:
        found[f"ended/run/{rising(run.ended_at)}/{of}"] = ""
    return found


def kept_with(run: str) -> tuple[str, ...]:
    """Beginnings of the keys that go with a run."""
    return f"log/{run}/", f"{word_of(Blob)}/{run}/", f"list/{word_of(Blob)}/{run}/"


def guarded(guard: Guard, prefix: str) -> tuple[Compare, ...]:
    """What must hold for a guard to hold."""
    return (Compare(f"{prefix}term/{guard.name}".encode(), "value", "=", str(guard.number).encode()),) if guard else ()


def is_open(session: str, prefix: str) -> Compare:
    """That a session is."""
    return Compare(f"{prefix}open/session/{session}".encode(), "created", ">", 0)


def is_unpaused(queue: str, prefix: str) -> Compare:
    """That a queue is."""
    return Compare(f"{prefix}paused/{queue}".encode(), "created", "=", 0)
