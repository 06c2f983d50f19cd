"""`find`, `count` and `due`: which keys serve which listing. What none serves is filtered on the way."""

from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from rota.domain.records import Blob, Tally
from rota.domain.run import TERMINAL, Run, State
from rota.domain.schedule import Schedule, Skip
from rota.ports.store import Due, Page, Versioned, Where
from rota.stores.etcd.client.words import Found, Range
from rota.stores.etcd.commit import asked, read
from rota.stores.etcd.keys import BY_ID, CEILING, DIGITS, behind, clamp, falling, rising, word_of
from rota.stores.etcd.link import Link
from rota.stores.kinds import BORN, ENDED, OPENED, Entry, all_ended, counted, counted_by, lanes_start, paged, summed

BULK = 1_000
MOMENT: dict[type, Callable[[Any], int | None]] = {Run: attrgetter("due_at"), Schedule: attrgetter("next_at")}
DUE_STEPS_MS = (60_000, 3_600_000)
"""How far ahead to look for what is due next, before all that is due at any time is looked through."""
SLACK = 4


class Index(NamedTuple):
    """Keys that begin so, by instant, by id, or (`held`) with the instant as their value."""

    start: str
    order: Literal["falling", "rising", "ids", "held", "cells"] = "falling"


class Walk(NamedTuple):
    """The indexes of a listing, the instants in them, and whether all that lies there fits."""

    indexes: tuple[Index, ...]
    exact: bool
    low: int | None = None
    high: int | None = None

    @property
    def falling(self) -> bool:
        return self.indexes == () or self.indexes[0].order in ("falling", "held")


async def get(link: Link, kind: type, ids: Sequence[str]) -> list[Versioned[Any] | None]:
    """Records by id, in the order asked for."""
    return [read(kind, found) for found in await link.ask([asked(link, kind, of) for of in ids])]


async def find(link: Link, kind: type, where: Where, cursor: str, limit: int, oldest: bool) -> Page[Any]:
    """One page. Where it is short, its cursor stands behind the last entry looked at."""
    walk = await _walk_of(link, kind, where)
    look = partial(_entries, link, walk, oldest)
    return await paged(where, cursor, limit, look, partial(get, link, kind), walk.exact)


async def count(link: Link, kind: type, by: str, where: Where) -> dict[str, int]:
    """Numbers by the value of a field: by the numbers of keys where they say it, else by all records."""
    how = counted_by(kind, by, where)
    if how == "states":
        return await _by_state(link, where)
    if how == "lanes":
        lanes = await _lanes(link, lanes_start(where))
        return summed(zip(lanes, await _sizes(link, [f"ready/{lane}/" for lane in lanes]), strict=True))
    oldest = not (await _walk_of(link, kind, where)).falling
    return await counted(kind, by, lambda cursor: find(link, kind, where, cursor, BULK, oldest))


async def due(link: Link, kind: type, now: int, limit: int) -> Due[Any]:
    """What has come, and when the next will."""
    start = f"due/{word_of(kind)}/"
    first, later, end = (link.key(start + name) for name in (rising(0), rising(now + 1), rising(CEILING)))
    steps = [link.key(start + rising(now + 1 + step)) for step in DUE_STEPS_MS]
    come, ahead = await link.ask([Range(first, later, limit), Range(later, steps[0], 1)])
    for former, step in zip(steps, (*steps[1:], behind(end)), strict=True):
        if ahead.items:
            break
        (ahead,) = await link.ask([Range(former, step, 1)])
    found = [_named(Index(start, "rising"), link, item) for item in (*come.items, *ahead.items)]
    held = await get(link, kind, [one.id for one in found[: len(come.items)]])
    # Between the two looks one may have been paused or moved: fired as it stands now, it would skip what it moved past.
    items = tuple(one for one in held if one and (at := MOMENT[kind](one.record)) is not None and at <= now)
    if len(items) < len(held):
        return Due(items, now)
    return Due(items, found[-1].at if ahead.items else None)


async def last(link: Link, start: str, bounds: tuple[int, int], stop: bytes, limit: int) -> list[Found]:
    """The last keys with this beginning and a number within these bounds, ahead of `stop`: as many or somewhat more.

    A server can only read forwards; so the place from which on there are enough is found by counting.
    """

    async def beyond(number: int) -> int:
        (found,) = await link.ask([Range(link.key(f"{start}{number:015d}"), stop, count_only=True)])
        return found.count

    many, few = bounds
    while few - many > 1 and await beyond(many) > SLACK * limit:
        middle = (many + few) // 2
        many, few = (many, middle) if await beyond(middle) < limit else (middle, few)
    (found,) = await link.ask([Range(link.key(f"{start}{many:015d}"), stop, keys_only=True)])
    return list(found.items)


async def _entries(link: Link, walk: Walk, oldest: bool, after: Entry | None, limit: int) -> tuple[list[Entry], bool]:
    """The first entries behind one, of all indexes together, and whether there are more.

    Of one instant the smallest id comes first, whichever way one goes; but downwards in what rises it comes last.
    """
    forward = walk.falling != oldest
    ranges = [_range(link, index, walk, after, limit, forward) for index in walk.indexes]
    # Backwards, those of the same instant are left to the keys behind the one looked at.
    ties = [_ties(link, index, after, limit) for index in walk.indexes if after and not forward]
    replies = await link.ask([*ranges, *(one for one in ties if one)])
    found: set[Entry] = set()
    more = False
    rest = iter(replies[len(ranges) :])
    for place, (index, asks) in enumerate(zip(walk.indexes, ranges, strict=True)):
        items: list[Found] = list(replies[place].items)
        if not forward and replies[place].count > len(items):
            items = await last(link, index.start, _bounds(index, walk), asks.end, limit + 1)
        # Many keys may be parts of one counter.
        more = more or (replies[place].more if forward else len(items) < replies[place].count)
        if ties and ties[place]:
            tied = next(rest)
            items += tied.items
            more = more or tied.more
        found |= {_named(index, link, item) for item in items}

    def order(entry: Entry) -> tuple[int, str]:
        return (-entry.at, entry.id) if walk.falling and forward else entry

    downwards = not walk.falling and not forward
    entries = sorted(found, key=order, reverse=downwards)
    if after:
        entries = [one for one in entries if one != after and (order(one) < order(after)) is downwards]
    return entries[:limit], more or len(entries) > limit


def _ties(link: Link, index: Index, after: Entry | None, limit: int) -> Range | None:
    if after is None or index.order != "falling":
        return None
    same = link.key(f"{index.start}{falling(after.at)}/")
    return Range(same + after.id.encode() + b"\0", behind(same), limit + 1, keys_only=True)


def _range(link: Link, index: Index, walk: Walk, after: Entry | None, limit: int, forward: bool) -> Range:
    """What asks an index for its first entries, or (backwards) for all if they are few."""
    start, end = link.key(index.start), behind(link.key(index.start))
    if index.order == "held":
        return Range(start, end)
    if index.order != "ids":
        low, high = _bounds(index, walk)
        start, end = link.key(f"{index.start}{low:015d}"), link.key(f"{index.start}{high:015d}")
    if after:
        name = link.key(_name(index, after))
        if not forward and index.order == "falling":
            end = min(end, link.key(f"{index.start}{falling(after.at)}"))
        elif forward:
            start = max(start, behind(name) if index.order == "cells" else name + b"\0")
        else:
            end = min(end, name)
    bounded = limit + 1 if forward else 0 if index.order == "ids" else SLACK * limit
    return Range(min(start, end), end, bounded, keys_only=True)


def _bounds(index: Index, walk: Walk) -> tuple[int, int]:
    """The least number in an index, and the one behind the largest."""
    if index.order == "falling":
        low = 0 if walk.high is None else CEILING - clamp(walk.high - 1)
        high = CEILING + 1 if walk.low is None else CEILING - clamp(walk.low) + 1
    else:
        low = clamp(walk.low or 0)
        high = CEILING + 1 if walk.high is None else clamp(walk.high)
    return low, high


def _name(index: Index, entry: Entry) -> str:
    if index.order == "ids":
        # The start holds a part of the id.
        return f"{index.start.partition('/')[0]}/{entry.id}"
    if index.order == "cells":
        return f"{index.start}{entry.id}/"
    at = falling(entry.at) if index.order == "falling" else rising(entry.at)
    return f"{index.start}{at}/{entry.id}"


def _named(index: Index, link: Link, item: Found) -> Entry:
    key = item.key.decode()
    if index.order == "ids":
        return Entry(0, key[len(link.prefix) :].partition("/")[2])
    rest = key[len(link.prefix) + len(index.start) :]
    if index.order == "held":
        return Entry(
            int(item.value.partition(b" ")[0]),
            item.value.decode().split(" ", 4)[4] if index.start.startswith("live/") else rest,
        )
    number = int(rest[:DIGITS])
    if index.order == "cells":
        return Entry(number, rest.rpartition("/")[0])
    return Entry(CEILING - number if index.order == "falling" else number, rest[DIGITS + 1 :])


async def _walk_of(link: Link, kind: type, where: Where) -> Walk:
    word = word_of(kind)
    if (where.prefix or kind in BY_ID or (kind is Skip and where.schedule)) and where.ended_until is None:
        start = where.prefix or (f"{where.schedule}/" if kind is Skip and where.schedule else "")
        rest = where._replace(prefix="", schedule="" if kind is Skip else where.schedule)
        return Walk((Index(f"{word}/{start}", "ids"),), rest == Where())
    if where.ended_until is not None and kind in ENDED:
        return Walk((Index(f"ended/{word}/", "rising"),), all_ended(kind, where), high=where.ended_until)
    if kind is Run:
        return await _walk_runs(link, where)
    rest = where._replace(since=None, until=None)
    low, high = (where.since, where.until) if kind in BORN else (None, None)
    if where.open and kind in OPENED:
        return Walk((Index(f"open/{word}/", "held"),), False)
    if kind is Tally:
        return Walk((Index(f"{word}/", "cells"),), rest == Where(), low, high)
    return Walk((Index(f"list/{word}/", "held" if kind is Blob else "falling"),), rest == Where(), low, high)


async def _walk_runs(link: Link, where: Where) -> Walk:
    """By the narrowest index that serves one of the fields."""
    if where.session:
        return Walk((Index(f"live/{where.session}/", "held"),), False)
    spaces = [where.namespace] if where.namespace else await _spaces(link)
    rest = where._replace(namespace="", since=None, until=None)
    states = [State(one).value for one in dict.fromkeys(where.states or tuple(State))]
    if where.task:
        indexes, served = [Index(f"of/{space}/{where.task}/") for space in spaces], Where(task=where.task)
    elif where.schedule and (not where.states or TERMINAL & {*where.states}):
        indexes = [Index(f"fired/{space}/{where.schedule}/") for space in spaces]
        served = Where(schedule=where.schedule)
    else:
        indexes = [Index(f"state/{space}/{one}/") for space in spaces for one in states if one != State.RUNNING]
        indexes += [Index("live/", "held")] * (State.RUNNING in states)
        served = Where(states=where.states)
    return Walk(
        tuple(indexes), rest == served and not (where.namespace and "live/" in indexes[-1]), where.since, where.until
    )


async def _lanes(link: Link, start: str = "") -> list[str]:
    """All lanes that runs ever had and that begin so."""
    (found,) = await link.ask([link.all_of(f"lane/{start}", keys_only=True)])
    return [item.key.decode()[len(link.prefix) + 5 :] for item in found.items]


async def _spaces(link: Link) -> list[str]:
    return sorted({lane.partition("/")[0] for lane in await _lanes(link)})


async def _by_state(link: Link, where: Where) -> dict[str, int]:
    states = [State(one).value for one in dict.fromkeys(where.states or tuple(State))]
    spaces = [where.namespace] if where.namespace else await _spaces(link)
    resting = [(state, f"state/{space}/{state}/") for space in spaces for state in states if state != State.RUNNING]
    sizes = await _sizes(link, [start for _, start in resting])
    pairs = [(state, size) for (state, _), size in zip(resting, sizes, strict=True)]
    if State.RUNNING in states:
        (live,) = await link.ask([link.all_of("live/")])
        held = [item.value.decode().split(" ")[2] for item in live.items]
        pairs += [(State.RUNNING.value, 1) for space in held if where.namespace in (space, "")]
    return summed(pairs)


async def _sizes(link: Link, starts: Sequence[str]) -> list[int]:
    return [found.count for found in await link.ask([link.all_of(start, count_only=True) for start in starts])]
