"""`EtcdStore`: the port on etcd."""

from collections.abc import Sequence
from functools import partial
from time import time_ns
from typing import Any

from rota.domain.errors import Incompatible
from rota.domain.names import without_password
from rota.domain.records import Pulse, Session
from rota.ports.store import (
    BeatReply,
    Change,
    Claimed,
    Due,
    Group,
    Guard,
    Hint,
    Lead,
    Logs,
    Page,
    R,
    Record,
    Result,
    Versioned,
    Want,
    Watch,
    Where,
)
from rota.stores.etcd import find
from rota.stores.etcd.address import read_url
from rota.stores.etcd.claim import Claimer
from rota.stores.etcd.client.words import Compare, Put, Range, Ranged, Txn
from rota.stores.etcd.commit import asked, commit, group_of, read
from rota.stores.etcd.health import diagnose
from rota.stores.etcd.hints import Hints
from rota.stores.etcd.keys import is_open
from rota.stores.etcd.link import Link
from rota.stores.etcd.logs import EtcdLogs
from rota.stores.etcd.terms import Terms
from rota.stores.hub import Hub
from rota.stores.kinds import summed

FORMAT = 1
OLDEST = (3, 4)


class EtcdStore:
    """A `rota.ports.store.Store` on the cluster that a URL names."""

    shared = False

    def __init__(self, url: str) -> None:
        self.place = without_password(url.partition("?")[0])
        self._link = Link(read_url(url), self.place)
        self._hub = Hub()
        self._hints = Hints(self._link, self._hub)
        self._terms = Terms(self._link)
        self._claimer = Claimer(self._link)
        self.logs: Logs = EtcdLogs(self._link)

    @property
    def late(self) -> "EtcdStore":
        return self

    async def open(self) -> None:
        await self._link.open()
        try:
            await self._link.at_home(self._check)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        self._hub.close()
        await self._link.leave(self._hints.close, self._terms.close)

    async def diagnose(self) -> list[tuple[str, str]]:
        """Levels and findings for `rota doctor`. Raises `StoreError`."""
        return await self._link.at_home(partial(diagnose, self._link))

    async def get(self, kind: type[R], ids: Sequence[str]) -> list[Versioned[R] | None]:
        return await self._link.at_home(partial(find.get, self._link, kind, list(ids)))

    async def find(
        self, kind: type[R], where: Where = Where(), cursor: str = "", limit: int = 50, oldest: bool = False
    ) -> Page[R]:
        return await self._link.at_home(partial(find.find, self._link, kind, where, cursor, limit, oldest))

    async def count(self, kind: type[Record], by: str, where: Where = Where()) -> dict[str, int]:
        return await self._link.at_home(partial(find.count, self._link, kind, by, where))

    async def due(self, kind: type[R], now: int, limit: int) -> Due[R]:
        return await self._link.at_home(partial(find.due, self._link, kind, now, limit))

    async def commit(self, groups: Sequence[Group], guard: Guard = None, hints: Sequence[Hint] = ()) -> list[Result]:
        told = summed(hints)
        results = await self._link.at_home(partial(commit, self._link, groups, guard, self._hints.message(told)))
        if told:
            self._hub.tell(told)
        return results

    async def claim(self, wants: Sequence[Want], now: int) -> list[Claimed]:
        return await self._link.at_home(partial(self._claimer.claim, wants, now))

    async def beat(self, sessions: Sequence[str]) -> list[BeatReply]:
        return await self._link.at_home(partial(self._beat, sessions))

    async def lead(self, name: str, holder: str, ttl_ms: int) -> Lead:
        return await self._link.at_home(partial(self._terms.lead, name, holder, ttl_ms))

    def watch(self, topics: Sequence[str]) -> Watch:
        self._link.soon(self._hints.listen)
        return self._hub.watch(topics)

    async def _check(self) -> None:
        """That the server is new enough, and what it keeps ours."""
        link = self._link
        version = (await link.client.status()).version
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
            raise Incompatible(f"{self.place} is etcd {version}; install {'.'.join(map(str, OLDEST))} or newer")
        key = link.key("format")
        (found,) = await link.ask([Range(key)])
        if not found.items:
            await link.client.txn(Txn((Compare(key, "created", "=", 0),), (Put(key, str(FORMAT).encode()),)))
        elif not found.items[0].value.isdigit():
            raise Incompatible(f"{self.place} holds keys of somebody else; choose another prefix in the URL")
        elif int(found.items[0].value) > FORMAT:
            raise Incompatible(f"{self.place} was made by a newer version of Rota; install that one")

    async def _beat(self, sessions: Sequence[str]) -> list[BeatReply]:
        link, now = self._link, time_ns() // 1_000_000
        names = list(dict.fromkeys(sessions))
        ranges: list[Range] = []
        for name in names:
            ranges += asked(link, Session, name), link.all_of(f"live/{name}/"), asked(link, Pulse, name)
        found = iter(await link.ask(ranges))
        replies: dict[str, BeatReply] = {}
        raised: dict[str, Txn] = {}
        for name, session, live, pulse in zip(names, found, found, found, strict=True):
            held, last = read(Session, session), read(Pulse, pulse)
            replies[name] = _CLOSED
            if held and held.record.open:
                replies[name] = _reply(held.record, live)
                count = max(now, last.record.count + 1 if last else 0)
                compares, ops = group_of(link, Change(last, Pulse(name, count)))
                raised[name] = Txn((is_open(name, link.prefix),), (Txn(tuple(compares), tuple(ops)),))
        if raised:
            for name, (done, _) in zip(raised, await link.send(list(raised.values())), strict=True):
                if not done.succeeded:
                    replies[name] = _CLOSED
        # One that was raised meanwhile was raised by another's beat of the same session.
        return [replies[name] for name in sessions]


_CLOSED = BeatReply(False, 0, 0, (), 0, False)


def _reply(session: Session, live: Ranged) -> BeatReply:
    held: list[Any] = [item.value.decode().split(" ", 4) for item in live.items]
    digest = sum(int(one[1]) for one in held)
    cancels = tuple(one[4] for one in held if one[3] == "cancel")
    return BeatReply(True, len(held), digest, cancels, session.slots, session.draining, session.labels)
