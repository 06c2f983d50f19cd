"""Small steps that the contracts are told in, and the one thing they need of whoever binds them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from enum import Enum
from functools import cache
from itertools import groupby
from time import monotonic
from typing import Any, Protocol, TypeVar, get_type_hints

from rota.domain.lane import lane
from rota.domain.records import Tally
from rota.ports.store import APPLIED, Change, Claimed, Group, Guard, R, Result, Store, Versioned, Want, Where
from rota.testing.clock import START_AT

T = TypeVar("T")

LANE = lane("main", "default", "python")
"""The lane of the factories' runs."""
NOW = START_AT + 1_000_000
"""After all that the factories made."""
FOREVER_MS = 500_000
"""A term that does not lapse while a test runs."""
TALLY = Tally(START_AT, "main", "report", "default", "success", 10, "node", 1, 7)


class Place(Protocol):
    """Where stores keep data: the fixture `place` of whoever binds a contract."""

    async def open(self) -> Store:
        """Another open store onto its data, which it closes in the end. Only a `ClusterContract` asks twice."""
        ...


def new(*records: Any, tally: Tally | None = None) -> Group:
    return Group(tuple(Change(None, record) for record in records), tally)


async def put(store: Store, *records: Any) -> list[Versioned[Any]]:
    """Make records, each in a group of its own; returns them as held."""
    assert await store.commit([new(record) for record in records]) == [APPLIED] * len(records)
    found: list[Versioned[Any] | None] = []
    for kind, some in groupby(records, type):
        found += await store.get(kind, [record.id for record in some])
    return [item for item in found if item]


async def held(store: Store, record: R) -> Versioned[R]:
    """What the store holds under the id of `record`."""
    known: Any = record
    (found,) = await store.get(type(record), [known.id])
    assert found is not None, f"nothing under {known.id}"
    return found


async def change(store: Store, was: Versioned[Any] | None, now: Any, guard: Guard = None) -> Result:
    (result,) = await store.commit([Group((Change(was, now),))], guard)
    return result


async def changed(store: Store, was: Versioned[Any], now: Any, guard: Guard = None) -> Versioned[Any]:
    """The record as held after a change that applies."""
    assert await change(store, was, now, guard) == APPLIED
    return await held(store, now)


def want(session: str = "session-1", limit: int = 10, **more: Any) -> Want:
    """A want for the factories' lane, unless `more` says otherwise."""
    lanes = () if "runs" in more else (LANE,)
    return Want(**{"session": session, "worker": "worker", "token": 7, "limit": limit, "lanes": lanes, **more})


async def claim(store: Store, session: str = "session-1", limit: int = 10, **more: Any) -> Claimed:
    (claimed,) = await store.claim([want(session, limit, **more)], NOW)
    return claimed


async def drain(store: Store, session: str = "session-1", limit: int = 10, **more: Any) -> list[str]:
    """The ids of all that can be had, in order: fewer than asked without contention means that nothing is left."""
    found: list[str] = []
    while True:
        claimed = await claim(store, session, limit, **more)
        found += ids(claimed)
        assert len(claimed.runs) <= limit
        if not claimed.open or (len(claimed.runs) < limit and not claimed.contended):
            return found


def ids(claimed: Claimed) -> list[str]:
    return [found.record.id for found in claimed.runs]


async def pages(
    store: Store, kind: type[Any], where: Where = Where(), oldest: bool = False, limit: int = 50
) -> AsyncIterator[Sequence[Versioned[Any]]]:
    cursor, last = "", None
    while cursor != last:
        page = await store.find(kind, where, cursor, limit, oldest)
        assert len(page.items) <= limit
        yield page.items
        if not page.cursor:
            return
        cursor, last = page.cursor, cursor
    raise AssertionError("a cursor that leads nowhere")


async def everything(
    store: Store, kind: type[Any], where: Where = Where(), oldest: bool = False, limit: int = 50
) -> list[Any]:
    return [item.record async for items in pages(store, kind, where, oldest, limit) for item in items]


async def eventually(
    store: Store, ask: Callable[[], Awaitable[T]], fits: Callable[[T], bool], seconds: float = 10.0
) -> bool:
    """Whether the answer fits within some seconds; asked again after each short moment without a hint."""
    end = monotonic() + seconds
    ear = store.watch(["rota.testing.pace"])
    while not (true := fits(await ask())) and monotonic() < end:
        await ear.wait(0.025)
    ear.close()
    return true


_hints: Callable[[type], dict[str, Any]] = cache(get_type_hints)


def assert_same(found: Any, wanted: Any) -> None:
    """Equal, of one type, and its enums are enums again: `State.PENDING == "pending"`, but `is` tells them apart."""
    assert type(found) is type(wanted)
    assert found == wanted
    for name, hint in _hints(type(wanted)).items():
        if isinstance(hint, type) and issubclass(hint, Enum):
            assert isinstance(getattr(found, name), hint), f"{name} is no {hint.__name__}"
    for name, value in getattr(wanted, "overrides", {}).items():
        # They keep their types, so that a reset works.
        assert_same(found.overrides[name], value)
