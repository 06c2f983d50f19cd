"""What stores know of each kind of record: when it was made and ended, what it fits; and listings without tables."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Literal, NamedTuple, get_type_hints

import msgspec

from rota.domain.errors import Invalid
from rota.domain.people import Token, User
from rota.domain.records import Audit, Blob, Seal, Session, Tally, Unique
from rota.domain.run import Run, State
from rota.domain.schedule import Schedule, Skip
from rota.domain.task import Revision, Task
from rota.ports.store import (
    ALREADY,
    GROUP_LIMIT,
    LOOK_LIMIT,
    Change,
    Conflict,
    Group,
    Page,
    Result,
    Versioned,
    Where,
)
from rota.stores.codec import identity

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
FIELDS = ("namespace", "task", "queue", "schedule", "session")
STEP = 500
"""Records read at once where only some of them fit."""
_READ = msgspec.json.Decoder(tuple[str, str]).decode


class Entry(NamedTuple):
    """What an index lists: a number, mostly an instant, and an id."""

    at: int
    id: str


def kind_of(change: Change) -> type:
    """The kind of the record that changes. Raises `Invalid` where it would become another record."""
    was, now = change
    record = now if was is None else was.record
    if was is not None and now is not None and (type(now) is not type(record) or identity(now) != identity(record)):
        raise Invalid(identity(record), "a change keeps kind and id; delete the one record and add the other instead")
    return type(record)


def check_groups(groups: Sequence[Group], keys: Sequence[Any]) -> None:
    """Raises `Invalid` unless the keys of all changes differ and each group is small enough."""
    if len({*keys}) != len(keys):
        raise Invalid("groups", "one record is changed twice in one call; the groups of a call share none")
    if too_many := [len(group.changes) for group in groups if len(group.changes) > GROUP_LIMIT]:
        raise Invalid("groups", f"{too_many[0]} changes in one group; at most {GROUP_LIMIT} fit")


def verdict(changes: Sequence[Change], held: Sequence[Versioned[Any] | None]) -> Result:
    """What a group is told that did not apply."""
    if all(now == (one and one.record) for (_, now), one in zip(changes, held, strict=True)):
        return ALREADY
    return Conflict(tuple(held))


def summed(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """The sum of each name's numbers, without those that are 0."""
    total: Counter[str] = Counter()
    for name, number in pairs:
        total[name] += number
    return {name: number for name, number in total.items() if number}


def cursor_of(after: Entry | None) -> str:
    """The cursor that stands behind an entry."""
    return msgspec.json.encode((str(after.at), after.id)).decode() if after else ""


def after_of(cursor: str) -> Entry | None:
    """The entry that a cursor stands behind. Raises `Invalid`."""
    if not cursor:
        return None
    try:
        at, of = _READ(cursor)
        return Entry(int(float(at)), of)
    except (ValueError, OverflowError):
        raise Invalid("cursor", "is none that this listing gave; begin again without it") from None


async def paged(
    where: Where,
    cursor: str,
    limit: int,
    look: Callable[[Entry | None, int], Awaitable[tuple[list[Entry], bool]]],
    get: Callable[[list[str]], Awaitable[list[Versioned[Any] | None]]],
    exact: bool,
) -> Page[Any]:
    """One page. Where it is short, its cursor stands behind the last entry looked at.

    `look` gives the first entries behind one and whether there are more, `get` their records; `exact`: all of them fit.
    """
    after, looked = after_of(cursor), 0
    items: list[Versioned[Any]] = []
    while len(items) < limit and looked < LOOK_LIMIT:
        entries, more = await look(after, limit - len(items) if exact else STEP)
        for entry, held in zip(entries, await get([one.id for one in entries]), strict=True):
            after, looked = entry, looked + 1
            if held and fits(held.record, where):
                items.append(held)
                if len(items) == limit:
                    more = more or entry is not entries[-1]
                    break
        if not more:
            return Page(tuple(items), "")
    return Page(tuple(items), cursor_of(after))


def counted_by(kind: type, by: str, where: Where) -> Literal["states", "lanes", "records"]:
    """What says the numbers: the sizes of lists by state, those of lanes, or else all records. Raises `Invalid`."""
    if by not in get_type_hints(kind):
        raise Invalid("by", f"{by!r} is no field of a {kind.__name__}")
    if kind is not Run:
        return "records"
    if by in ("state", "namespace") and where == Where(namespace=where.namespace, states=where.states):
        return "states"
    waiting = where == Where(namespace=where.namespace, queue=where.queue, states=(State.PENDING,))
    return "lanes" if waiting and by in ("lane", "queue") and (where.namespace or not where.queue) else "records"


async def counted(kind: type, by: str, find: Callable[[str], Awaitable[Page[Any]]]) -> dict[str, int]:
    """Numbers by the value of a field, of what a listing gives page by page."""
    pairs: list[tuple[str, int]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await find(cursor)
        for record, _ in page.items:
            pairs.append((str(getattr(record, by)), record.count if kind is Tally and by != "count" else 1))
        cursor = page.cursor or None
    return summed(pairs)


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
