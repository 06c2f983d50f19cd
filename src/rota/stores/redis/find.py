"""`find` and `count`: which indexes serve which listing. What none serves is filtered on the way."""

from functools import partial
from typing import Any, NamedTuple

from rota.domain.run import TERMINAL, Run, State
from rota.domain.schedule import Skip
from rota.ports.store import Page, Versioned, Where
from rota.stores.kinds import BORN, ENDED, OPENED, Entry, all_ended, counted, counted_by, lanes_start, paged, summed
from rota.stores.redis import records
from rota.stores.redis.link import Link
from rota.stores.redis.places import LANES, WORDS, record_key

BULK = 1_000
ALL = 1 << 30


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
        found += [records.held(kind, text) for text in texts]
    return found


async def find(link: Link, kind: type, where: Where, cursor: str, limit: int, oldest: bool) -> Page[Any]:
    """One page. Where it is short, its cursor stands behind the last entry looked at."""
    if kind is Run and where.session:
        return await paged(where, cursor, limit, partial(_held, link, where.session, oldest), partial(get, link, Run))
    walk = await _walk_of(link, kind, where)
    look = partial(_entries, link, walk, oldest)
    return await paged(where, cursor, limit, look, partial(get, link, kind), walk.exact)


async def count(link: Link, kind: type, by: str, where: Where) -> dict[str, int]:
    """Numbers by the value of a field: by the sizes of indexes where they say it, else by all records."""
    how = counted_by(kind, by, where)
    if how == "states":
        indexes = (await _walk_runs(link, where)).indexes
        return summed(zip([index.rpartition("/")[2] for index in indexes], await _sizes(link, indexes), strict=True))
    if how == "lanes":
        lanes = await _lanes(link, lanes_start(where))
        return summed(zip(lanes, await _sizes(link, [f"task:ready:{lane}" for lane in lanes]), strict=True))
    return await counted(kind, by, lambda cursor: find(link, kind, where, cursor, BULK, True))


async def _held(link: Link, session: str, oldest: bool, after: Entry | None, limit: int) -> tuple[list[Entry], bool]:
    """As `_entries`, of the runs that a session holds: they are few, and their index has another order."""
    held, _ = await _entries(link, Walk((f"task:queue:{session}",), True), True, None, ALL)
    runs: list[Run] = [one.record for one in await get(link, Run, [entry.id for entry in held]) if one]
    found = sorted((Entry(run.created_at, run.id) for run in runs), reverse=not oldest)
    if after:
        found = [one for one in found if one != after and (one > after) is oldest]
    return found[:limit], len(found) > limit


async def _entries(link: Link, walk: Walk, oldest: bool, after: Entry | None, limit: int) -> tuple[list[Entry], bool]:
    """The first entries behind one, of all indexes together, and whether there are more."""
    ask = {
        "indexes": [link.prefix + index for index in walk.indexes],
        "low": "" if walk.low is None else str(walk.low),
        "high": "" if walk.high is None else str(walk.high),
        "start": walk.prefix,
        "after": [str(after.at), after.id] if after else [],
        "limit": limit + 1,
        "oldest": oldest,
    }
    found: list[Entry] = []
    for part in await link.run("walk", ask):
        members = iter(part)
        found += [Entry(int(float(score)), member) for member, score in zip(members, members, strict=True)]
    found.sort(reverse=not oldest)
    return found[:limit], len(found) > limit


async def _walk_of(link: Link, kind: type, where: Where) -> Walk:
    word = WORDS[kind]
    prefix = where.prefix or (f"{where.schedule}/" if kind is Skip and where.schedule else "")
    if prefix and kind in (Run, Skip):
        exact = where in (Where(prefix=prefix), Where(schedule=where.schedule))
        return Walk((f"{word}:ids",), exact, prefix=prefix)
    if where.ended_until is not None and kind in ENDED:
        return Walk((f"{word}:ended",), all_ended(kind, where), high=where.ended_until)
    if kind is Run:
        return await _walk_runs(link, where)
    low, high = (where.since, where.until) if kind in BORN else (None, None)
    rest = where._replace(since=None, until=None)
    if where.open and kind in OPENED:
        return Walk((f"{word}:open",), rest == Where(open=True), low, high)
    return Walk((f"{word}:list",), rest == Where(), low, high)


async def _walk_runs(link: Link, where: Where) -> Walk:
    """By the narrowest index that serves one of the fields."""
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


async def _lanes(link: Link, start: str = "") -> list[str]:
    """All lanes that runs ever had and that begin so."""
    return [one.id for one in (await _entries(link, Walk((LANES,), True, prefix=start), True, None, ALL))[0]]


async def _sizes(link: Link, indexes: Any) -> list[int]:
    sizes: list[int] = await link.run("sizes", {"indexes": [link.prefix + index for index in indexes]})
    return sizes
