"""`find` and `count`: which indexes serve which listing. What none serves is filtered on the way."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, NamedTuple, get_type_hints

from rota.domain.errors import Invalid
from rota.domain.lane import queue_of
from rota.domain.records import Queue, Tally, Unique
from rota.domain.run import TERMINAL, Run, State
from rota.domain.schedule import Skip
from rota.ports.store import LOOK_LIMIT, Page, Versioned, Where
from rota.stores.kinds import BORN, ENDED, OPENED, after_of, cursor_of, fits, summed
from rota.stores.redis import records
from rota.stores.redis.link import Link
from rota.stores.redis.places import BY_ID, LANES, WORDS, record_key

STEP = 500
"""Records read at once where only some of them fit."""
BULK = 1_000
ALL = 1 << 30

Entry = tuple[float, bytes, str, str]
"""Score and id as they are ordered, and as they are written."""


class Walk(NamedTuple):
    """The indexes of a listing, the bounds in them, and whether all that lies there fits."""

    indexes: tuple[str, ...]
    exact: bool
    low: int | None = None
    high: int | None = None
    prefix: str = ""


async def get(link: Link, kind: type, ids: list[str]) -> list[Versioned[Any] | None]:
    """Records by id, in the order asked for."""
    found: list[Versioned[Any] | None] = []
    for start in range(0, len(ids), BULK):
        keys = [link.prefix + record_key(kind, of) for of in ids[start : start + BULK]]
        texts = await link.run("read", {"keys": keys})
        found += [records.read(kind, text) if text else None for text in texts]
    return found


async def find(link: Link, kind: type, where: Where, cursor: str, limit: int, oldest: bool) -> Page[Any]:
    """One page. Where it is short, its cursor stands behind the last entry looked at."""
    if kind is Run and where.session:
        return await _held(link, where, cursor, limit, oldest)
    walk = await _walk_of(link, kind, where)
    after, looked = after_of(cursor), 0
    items: list[Versioned[Any]] = []
    while len(items) < limit and looked < LOOK_LIMIT:
        step = limit - len(items) if walk.exact else STEP
        entries = await _entries(link, walk, after, step + 1, oldest)
        more, entries = len(entries) > step, entries[:step]
        for entry, held in zip(entries, await get(link, kind, [one[3] for one in entries]), strict=True):
            after, looked = (entry[2], entry[3]), looked + 1
            if held and fits(held.record, where):
                items.append(held)
                if len(items) == limit:
                    more = more or entry is not entries[-1]
                    break
        if not more:
            return Page(tuple(items), "")
    return Page(tuple(items), cursor_of(after))


async def count(link: Link, kind: type, by: str, where: Where) -> dict[str, int]:
    """Numbers by the value of a field: by the sizes of indexes where they say it, else by all records."""
    if by not in get_type_hints(kind):
        raise Invalid("by", f"{by!r} is no field of a {kind.__name__}")
    plain = where == Where(namespace=where.namespace, states=where.states)
    if kind is Run and plain and by in ("state", "namespace"):
        return await _sized(link, by, where)
    waiting = where == Where(namespace=where.namespace, queue=where.queue, states=(State.PENDING,))
    if kind is Run and waiting and by in ("lane", "queue") and (where.namespace or not where.queue):
        start = f"{where.namespace}/" if where.namespace else ""
        start += f"{where.queue}/" if where.queue else ""
        lanes = [lane for lane in await _lanes(link) if lane.startswith(start)]
        sizes = await _sizes(link, [f"task:ready:{lane}" for lane in lanes])
        names = lanes if by == "lane" else [queue_of(lane).partition("/")[2] for lane in lanes]
        return summed(zip(names, sizes, strict=True))
    total: Counter[str] = Counter()
    async for held in _all(link, kind, where):
        number = held.record.count if kind is Tally and by != "count" else 1
        total[str(getattr(held.record, by))] += number
    return dict(total)


async def _all(link: Link, kind: type, where: Where) -> AsyncIterator[Versioned[Any]]:
    cursor: str | None = ""
    while cursor is not None:
        page = await find(link, kind, where, cursor, BULK, True)
        for item in page.items:
            yield item
        cursor = page.cursor or None


async def _held(link: Link, where: Where, cursor: str, limit: int, oldest: bool) -> Page[Any]:
    """The runs that a session holds: they are few, and their index has another order."""

    def place(held: Versioned[Run]) -> tuple[float, str]:
        return held.record.created_at, held.record.id

    entries = await _entries(link, Walk((f"task:queue:{where.session}",), True), (), ALL, True)
    found = [one for one in await get(link, Run, [entry[3] for entry in entries]) if one and fits(one.record, where)]
    found.sort(key=place, reverse=not oldest)
    if after := after_of(cursor):
        behind = float(after[0]), after[1]
        found = [one for one in found if (place(one) > behind if oldest else place(one) < behind)]
    page = found[:limit]
    if page:
        after = str(page[-1].record.created_at), page[-1].record.id
    return Page(tuple(page), cursor_of(after) if len(found) > limit else "")


async def _entries(link: Link, walk: Walk, after: tuple[str, ...], limit: int, oldest: bool) -> list[Entry]:
    """The first entries behind the cursor, of all indexes together."""
    ask = {
        "indexes": [link.prefix + index for index in walk.indexes],
        "low": "" if walk.low is None else str(walk.low),
        "high": "" if walk.high is None else str(walk.high),
        "start": walk.prefix,
        "after": after,
        "limit": limit,
        "oldest": oldest,
    }
    found: list[Entry] = []
    for part in await link.run("walk", ask):
        members = iter(part)
        found += [
            (float(score), member.encode(), score, member) for member, score in zip(members, members, strict=True)
        ]
    return sorted(found, reverse=not oldest)[:limit]


async def _walk_of(link: Link, kind: type, where: Where) -> Walk:
    word = WORDS[kind]
    if kind is Run:
        return await _walk_runs(link, where)
    prefix = where.prefix or (f"{where.schedule}/" if kind is Skip and where.schedule else "")
    if prefix and kind in (*BY_ID, Queue, Unique):
        index = "ids" if kind in BY_ID else "list"
        return Walk(
            (f"{word}:{index}",), where in (Where(prefix=prefix), Where(schedule=where.schedule)), prefix=prefix
        )
    if where.ended_until is not None and kind in ENDED:
        exact = where == Where(ended_until=where.ended_until)
        return Walk((f"{word}:ended",), exact, high=where.ended_until)
    low, high = (where.since, where.until) if kind in BORN else (None, None)
    rest = where._replace(since=None, until=None)
    if where.open and kind in OPENED:
        return Walk((f"{word}:open",), rest == Where(open=True), low, high)
    return Walk((f"{word}:list",), rest == Where(), low, high)


async def _walk_runs(link: Link, where: Where) -> Walk:
    """By the narrowest index that serves one of the fields."""
    if where.prefix:
        return Walk(("task:ids",), where == Where(prefix=where.prefix), prefix=where.prefix)
    if where.ended_until is not None:
        exact = where._replace(states=()) == Where(ended_until=where.ended_until)
        return Walk(
            ("task:ended",), exact and (not where.states or {*where.states} >= TERMINAL), high=where.ended_until
        )
    spaces = [where.namespace] if where.namespace else sorted({one.partition("/")[0] for one in await _lanes(link)})
    rest = where._replace(namespace="", since=None, until=None)
    states = where.states or tuple(State)
    if where.task:
        indexes, served = [f"task:of:{space}/{where.task}" for space in spaces], Where(task=where.task)
    elif where.schedule and (not where.states or TERMINAL & {*where.states}):
        indexes, served = [f"task:fired:{space}/{where.schedule}" for space in spaces], Where(schedule=where.schedule)
    else:
        indexes = [f"task:list:{space}/{State(state).value}" for space in spaces for state in dict.fromkeys(states)]
        served = Where(states=where.states)
    return Walk(tuple(indexes), rest == served, where.since, where.until)


async def _lanes(link: Link) -> list[str]:
    """All lanes that runs ever had; each begins with its namespace."""
    return [one[3] for one in await _entries(link, Walk((LANES,), True), (), ALL, True)]


async def _sized(link: Link, by: str, where: Where) -> dict[str, int]:
    walk = await _walk_runs(link, where)
    names = [index.removeprefix("task:list:").rpartition("/") for index in walk.indexes]
    place = 2 if by == "state" else 0
    return summed(zip([name[place] for name in names], await _sizes(link, walk.indexes), strict=True))


async def _sizes(link: Link, indexes: Any) -> list[int]:
    sizes: list[int] = await link.run("sizes", {"indexes": [link.prefix + index for index in indexes]})
    return sizes
