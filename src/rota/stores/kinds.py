"""What stores know of each kind of record: when it was made and ended, what it fits; and listings without tables."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Literal, NamedTuple, get_type_hints

import msgspec

from rota.domain.errors import Invalid
from rota.domain.people import Token, User
from rota.domain.records import Audit, Blob, Seal, Session, Tally, Unique
from rota.domain.run import TERMINAL, Run, State
from rota.domain.schedule import Schedule, Skip
from rota.domain.task import Revision, Task
from rota.ports.store import ALREADY, GROUP_LIMIT, LOOK_LIMIT, Change, Conflict, Group, Page, Result, Versioned, Where
from rota.stores.codec import identity

BORN: dict[type, str] = {
    Run: "created_at", Task: "created_at", Revision: "task.updated_at", Schedule: "created_at", Session: "opened_at",
    Skip: "first_at", Audit: "at", Seal: "at", User: "created_at", Token: "created_at", Blob: "created_at",
    Tally: "minute",
}  # fmt: skip
"""The field that says when a record was made; listings follow it. The other kinds are listed by id."""
ENDED: dict[type, str] = {
    Run: "ended_at", Session: "closed_at", Unique: "expires_at", Audit: "sealed_at", Token: "expires_at",
}  # fmt: skip
"""The field that says when a record ended, closed or expired."""
OPENED = (Session, Audit)
"""Kinds of which what has not ended is called open."""
FIELDS = ("namespace", "task", "queue", "schedule", "session")
STEP = 500
"""Records read at once where only some of them fit."""
_MOMENT = {name: attrgetter(name) for name in (*BORN.values(), *ENDED.values())}
_READ = msgspec.json.Decoder(tuple[str, str]).decode


Key = tuple[type, str]
"""Kind and id of a record."""


class Entry(NamedTuple):
    """What an index lists: a number, mostly an instant, and an id."""

    at: int
    id: str


def born(record: Any) -> int | None:
    """When a record was made, if its kind says so."""
    return _MOMENT[BORN[type(record)]](record) if type(record) in BORN else None


def ended(record: Any) -> int | None:
    """When a record ended, closed or expired, if it has."""
    return _MOMENT[ENDED[type(record)]](record) if type(record) in ENDED else None


def key_of(change: Change) -> Key:
    """Which record changes. Raises `Invalid` where it would become another one."""
    was, now = change
    record = now if was is None else was.record
    key = type(record), identity(record)
    if was is not None and now is not None and (type(now), identity(now)) != key:
        raise Invalid(key[1], "a change keeps kind and id; delete the one record and add the other instead")
    return key


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
    exact: bool = False,
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
    if kind is Run and by == "state" and where == Where(where.namespace, where.states):
        return "states"
    queue = where.queue if where.namespace else ""
    if kind is Run and by == "lane" and where == Where(where.namespace, (State.PENDING,), queue=queue):
        return "lanes"
    return "records"


def lanes_start(where: Where) -> str:
    """How the lanes begin that a filter wants: each with its namespace and queue."""
    return "".join(f"{name}/" for name in (where.namespace, where.queue) if name)


async def counted(kind: type, by: str, find: Callable[[str], Awaitable[Page[Any]]]) -> dict[str, int]:
    """Numbers by the value of a field, of what a listing gives page by page."""
    pairs: list[tuple[str, int]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await find(cursor)
        for record, _ in page.items:
            pairs.append((str(getattr(record, by)), record.count if kind is Tally else 1))
        cursor = page.cursor or None
    return summed(pairs)


def all_ended(kind: type, where: Where) -> bool:
    """Whether each record that ended before `ended_until` is what a filter wants."""
    states = not where.states or (kind is Run and {*where.states} >= TERMINAL)
    return states and where._replace(states=()) == Where(ended_until=where.ended_until)


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
        at = born(record)
        if at is None or at < (where.since or at) or (where.until is not None and at >= where.until):
            return False
    if where.ended_until is None and where.open is None:
        return True
    end = ended(record)
    if where.ended_until is not None and (end is None or end >= where.ended_until):
        return False
    return where.open is None or (kind in OPENED and (end is None) == where.open)
