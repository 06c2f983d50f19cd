"""Small steps that the contracts are told in, and the one thing they need of whoever binds them."""

# ruff: noqa: S101 - a contract asserts

from collections.abc import Awaitable, Callable
from enum import Enum
from functools import cache
from time import monotonic
from typing import Any, Protocol, get_type_hints

from rota.domain.lane import lane
from rota.domain.run import Run, State
from rota.ports.store import Change, Claimed, Group, Guard, R, Result, Store, Versioned, Want, Where
from rota.testing.clock import START_AT

LANE = lane("main", "default", "python")
"""The lane of the factories' runs."""
NOW = START_AT + 1_000_000
"""After all that the factories made."""
FOREVER_MS = 3_600_000
"""A term that does not lapse while a test runs."""


class Place(Protocol):
    """Where stores keep data: the fixture `place` of whoever binds a contract."""

    async def open(self) -> Store:
        """Another open store onto the data of this place, which closes it in the end.

        Without `ClusterContract` no test asks twice.
        """
        ...


async def put(store: Store, *records: Any) -> list[Versioned[Any]]:
    """Store new records, each in a group of its own; returns them as held."""
    results = await store.commit([Group((Change(None, record),)) for record in records])
    assert verdicts(results) == ["Applied"] * len(records), results
    found: dict[tuple[type, str], Versioned[Any]] = {}
    for kind in {type(record) for record in records}:
        wanted = [record.id for record in records if type(record) is kind]
        found |= {(kind, item.record.id): item for item in await store.get(kind, wanted) if item}
    return [found[type(record), record.id] for record in records]


async def held(store: Store, record: R) -> Versioned[R]:
    """What the store holds under the id of `record`."""
    known: Any = record
    (found,) = await store.get(type(record), [known.id])
    assert found is not None, f"nothing under {known.id}"
    return found


async def change(store: Store, was: Versioned[Any] | None, now: Any, guard: Guard = None) -> str:
    """One change in a group of its own; returns the name of its result."""
    (verdict,) = verdicts(await store.commit([Group((Change(was, now),))], guard))
    return verdict


def verdicts(results: list[Result]) -> list[str]:
    """The results by name: they are told apart by their class, not by their value."""
    return [type(result).__name__ for result in results]


def want(session: str = "session-1", limit: int = 10, **more: Any) -> Want:
    """A want for the factories' lane."""
    worker = session.replace("session", "worker")
    lanes = () if "runs" in more else (LANE,)
    return Want(**{"session": session, "worker": worker, "token": 7, "limit": limit, "lanes": lanes, **more})


async def claim(store: Store, session: str = "session-1", limit: int = 10, **more: Any) -> Claimed:
    """One want, one answer."""
    (claimed,) = await store.claim([want(session, limit, **more)], NOW)
    return claimed


def ids(claimed: Claimed) -> list[str]:
    """The ids of what was claimed, in order."""
    return [found.record.id for found in claimed.runs]


async def everything(
    store: Store, kind: type[Any], where: Where = Where(), oldest: bool = False, limit: int = 50
) -> list[Any]:
    """All pages of a `find`, as records."""
    found: list[Any] = []
    cursor = ""
    while True:
        page = await store.find(kind, where, cursor, limit, oldest)
        assert len(page.items) <= limit
        found += [item.record for item in page.items]
        if not page.cursor:
            return found
        assert page.cursor != cursor, "a cursor that leads nowhere"
        cursor = page.cursor


async def running(store: Store, session: str) -> list[Run]:
    """The runs that a session holds."""
    return await everything(store, Run, Where(session=session, states=(State.RUNNING,)))


async def eventually(store: Store, probe: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> bool:
    """Whether `probe` comes true within some seconds; asked again after each short moment without a hint."""
    end = monotonic() + seconds
    ear = store.watch(["rota.testing.pace"])
    try:
        while not (true := await probe()) and monotonic() < end:
            await ear.wait(0.025)
        return true
    finally:
        ear.close()


def assert_same(found: Any, wanted: Any) -> None:
    """Equal, of one type, and its enums are enums again: `State.PENDING == "pending"`, but `is` tells them apart."""
    assert type(found) is type(wanted)
    assert found == wanted
    kind: type = type(wanted)
    for name, hint in _enums(kind).items():
        assert isinstance(getattr(found, name), hint), f"{name} is no {hint.__name__}"


@cache
def _enums(kind: type) -> dict[str, type[Enum]]:
    hints = get_type_hints(kind)
    return {name: hint for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, Enum)}
