"""One cluster as the store uses it: reads as of one moment, and groups of writes packed into few requests."""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from rota.domain.errors import RotaError, Stale, Unavailable, Unclear
from rota.servers.address import Address
from rota.stores.etcd.client.client import Client
from rota.stores.etcd.client.faults import Full
from rota.stores.etcd.client.words import Compare, Done, Op, Put, Range, Ranged, Txn, has
from rota.stores.etcd.keys import ROOM, behind
from rota.stores.home import Home

T = TypeVar("T")
MOST_OPS = 120
"""Operations of a request and of its largest group together; a server allows 128."""
MOST_GROUPS = 100
MOST_BYTES = 1_000_000
"""Of a request; a server allows half as much again."""
IN_FLIGHT = 8
PART = 40
"""Operations of a larger group that are wrapped together."""
KEY_BYTES = 150
"""Of an operation beside the value that it writes, more or less."""


class Sent(NamedTuple):
    """What became of one group, and the revision of what it wrote."""

    done: Done
    revision: int


class Link(Home):
    """Reads and writes below one prefix."""

    patience_s = 10.0

    def __init__(self, address: Address, place: str) -> None:
        super().__init__(place)
        self.client = Client(address)
        self.prefix = f"{address.path}/"
        self.lanes: dict[str, float] = {}
        """Lanes that are marked as known."""
        self._room = asyncio.Semaphore(IN_FLIGHT)

    async def open(self) -> None:
        """Connect. Raises `Unavailable`."""
        if self.move_in():
            self._room = asyncio.Semaphore(IN_FLIGHT)
            try:
                await self.client.open()
            except BaseException:
                self._home = None
                raise

    def key(self, name: str) -> bytes:
        """The whole key."""
        return (self.prefix + name).encode()

    def all_of(self, start: str, **how: Any) -> Range:
        """What asks for all keys that begin so."""
        key = self.key(start)
        return Range(key, behind(key), **how)

    async def ask(self, ranges: Sequence[Range]) -> list[Ranged]:
        """What lies there, all as of one moment."""
        found: list[Any] = []
        revision = 0
        for start in range(0, len(ranges), MOST_GROUPS):
            some = ranges[start : start + MOST_GROUPS]
            done = await self.client.txn(Txn((), tuple(one._replace(revision=revision) for one in some)))
            found += done.replies
            revision = revision or done.revision
        return found

    async def send(self, groups: Sequence[Txn], guard: tuple[Compare, ...] = (), say: Put | None = None) -> list[Sent]:
        """What became of each group. Raises `Stale` if the guard does not hold, `Unclear` if some may have happened.

        What takes space takes along what the server weighs; what only deletes passes even if there is none left.
        What there is to `say` goes with the only request, or behind all of them.
        """
        room = Put(self.key(ROOM), b"")
        # Asked about a guard alone, a member would answer without looking whether it is up to date.
        requests = [(some, has(some, Put)) for some in _packed(groups, len(guard))] or [([], True)]

        async def one(number: int) -> list[Sent]:
            some, brings = requests[number]
            first = (say if say and len(requests) == 1 else room,) if brings else ()
            async with self._room:
                try:
                    done = await self.client.txn(Txn(guard, (*first, *some)))
                except Full as full:
                    first, done = (), await self._counted(some, full)
            if not done.succeeded:
                raise Stale("the guard does not hold any more; nothing was written")
            replies: Any = done.replies[len(first) :]
            return [Sent(reply, done.revision) for reply in replies]

        answers = await together(map(one, range(len(requests))))
        if say and len(requests) > 1:
            with suppress(RotaError):  # a hint may be lost
                await self.client.txn(Txn((), (say,)))
        return [sent for some in answers for sent in some]

    async def _counted(self, groups: Sequence[Txn], full: Full) -> Done:
        """What a request came to that took up the last room: it counts, and yet the answer is that there was none.

        Then no group's compares hold any more, and each is told what is there now. Else raises what was said.
        """
        try:
            done = await self.client.txn(Txn((), tuple(one._replace(then=()) for one in groups)))
        except Unavailable as error:
            raise Unclear(f"{full}; some of it may count: {error}") from error
        replies: Any = done.replies
        if not groups or any(reply.succeeded for reply in replies):
            raise full
        return done

    async def disconnect(self) -> None:
        await self.client.close()


def wrapped(ops: Sequence[Op]) -> tuple[Op, ...]:
    """The operations of one group; many of them in parts, since a server counts along the deepest path."""
    if len(ops) <= PART:
        return tuple(ops)
    return tuple(Txn((), tuple(ops[start : start + PART])) for start in range(0, len(ops), PART))


def _packed(groups: Sequence[Txn], guards: int) -> Iterator[list[Txn]]:
    """As many of them as a request may hold that has so many guards."""
    some: list[Txn] = []
    most = weight = 0
    for group in groups:
        size, heavy = _size(group), _weight(group)
        full = len(some) >= min(MOST_GROUPS, MOST_OPS - max(most, size, guards)) or weight + heavy > MOST_BYTES
        if some and full:
            yield some
            some, most, weight = [], 0, 0
        some.append(group)
        most, weight = max(most, size), weight + heavy
    if some:
        yield some


def _size(group: Txn) -> int:
    """Operations along its deepest path."""
    deeper = PART if group.then and type(group.then[0]) is Txn else 0
    return max(len(group.compares), len(group.then), len(group.otherwise)) + deeper


def _weight(group: Txn) -> int:
    """Its bytes, more or less."""
    return KEY_BYTES * (len(group.compares) + len(group.then) + len(group.otherwise)) + sum(
        PART * KEY_BYTES + _weight(one) if type(one) is Txn else len(one.value) if type(one) is Put else 0
        for one in group.then
    )


async def together(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What parts of one call come to. Raises `Unclear` where only some of them happened."""
    answers: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
    errors = [one for one in answers if isinstance(one, BaseException)]
    if not errors:
        return answers
    for error in errors:
        if not isinstance(error, RotaError) or isinstance(error, Unclear):
            raise error
    if len(errors) == len(answers):
        raise errors[0]
    raise Unclear(f"only a part of the call was written, ask again: {errors[0]}")
