"""The client: what a store asks of an etcd cluster."""

from collections.abc import AsyncGenerator
from time import monotonic

from rota.domain.errors import Unavailable
from rota.stores.etcd.address import Address
from rota.stores.etcd.client import coding, messages
from rota.stores.etcd.client.faults import Compacted
from rota.stores.etcd.client.link import Link
from rota.stores.etcd.client.messages import CLASSES
from rota.stores.etcd.client.watch import Watcher
from rota.stores.etcd.client.words import Alarm, Delete, Done, Event, Member, Op, Put, Range, Ranged, Status, Txn

LONG_S = 120.0
"""How long to wait for what takes as long as the database is large."""
ALARMS = {1: "NOSPACE", 2: "CORRUPT"}
_EMPTY = CLASSES["Empty"]()


class Client:
    """One cluster, on the loop that opened it. Reads raise `Unavailable`; so do writes that changed nothing."""

    def __init__(self, address: Address) -> None:
        self._link = Link(address)
        self.place = self._link.place
        self._mine = f"{address.prefix}/".encode()
        self.endpoints = self._link.names

    async def open(self) -> None:
        """Raises `Unavailable` if no member answers, or none lets us in."""
        self._link.open()
        try:
            await self.range(Range(self._mine, count_only=True))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let the calls under way end; watches end."""
        await self._link.close()

    async def range(self, ask: Range) -> Ranged:
        """Raises `Compacted` where the revision asked for is kept no more."""
        return coding.ranged(await self._link.call(messages.RANGE, coding.range_message(ask)))

    async def txn(self, txn: Txn) -> Done:
        """Raises `Unclear` where it may have been applied: it is never sent twice."""
        return coding.done(await self._link.call(messages.TXN, coding.txn_message(txn), writes=_writes(txn)))

    def watch(self, key: bytes, end: bytes = b"", since: int = 0) -> AsyncGenerator[tuple[Event, ...], None]:
        """Changes from revision `since` on (0: those to come), each once and in order, those of a revision together.

        After a gap it goes on with what is still kept. It ends when the client is closed.
        """
        return Watcher(self._link, key, end, since).events()

    async def grant(self, ttl_s: int) -> int:
        """A new lease."""
        # Repeated where unclear: one that nobody knows of runs out.
        lease: int = (await self._link.call(messages.GRANT, CLASSES["GrantRequest"](ttl=ttl_s))).id
        return lease

    async def keep(self, lease: int) -> float:
        """Renew it; for how many seconds from now it surely lasts, 0 where it is gone."""
        # Counted from before it was sent: the server cannot have renewed it earlier than that.
        sent = monotonic()
        ttl_s: int = (await self._link.call(messages.KEEP, CLASSES["Lease"](id=lease))).ttl
        return max(0.0, ttl_s - (monotonic() - sent))

    async def revoke(self, lease: int) -> None:
        """End it, and delete its keys; harmless twice."""
        try:
            await self._link.call(messages.REVOKE, CLASSES["Lease"](id=lease))
        except Unavailable as error:
            if "lease not found" not in str(error):
                raise

    async def compact(self, revision: int) -> None:
        """Forget what was before this revision, and wait until it is done; harmless twice."""
        try:
            asked = CLASSES["CompactRequest"](revision=revision, physical=True)
            await self._link.call(messages.COMPACT, asked, answer_s=LONG_S)
        except Compacted:
            pass

    async def status(self, endpoint: int | None = None) -> Status:
        """How the member is that is used, or that of this number in the URL."""
        number = self._link.current if endpoint is None else endpoint
        said = await self._link.call(messages.STATUS, _EMPTY, at=number)
        name, header, errors = self.endpoints[number], said.header, tuple(said.errors)
        known = header.member_id, said.version, said.size, said.in_use, said.leader, said.raft_term, header.revision
        return Status(name, *known, errors)

    async def alarms(self) -> tuple[Alarm, ...]:
        """Those that are raised."""
        said = await self._link.call(messages.ALARM, CLASSES["AlarmRequest"](action=0))
        return tuple(Alarm(one.member_id, ALARMS.get(one.alarm, str(one.alarm))) for one in said.alarms)

    async def disarm(self) -> None:
        """Take back all alarms; what has not got better raises them again."""
        for alarm in await self.alarms():
            kind = next(number for number, name in ALARMS.items() if name == alarm.kind)
            asked = CLASSES["AlarmRequest"](action=2, member_id=alarm.member, alarm=kind)
            await self._link.call(messages.ALARM, asked)

    async def defragment(self, endpoint: int) -> None:
        """Give a member's free space back to its disk; it takes no writes meanwhile."""
        await self._link.call(messages.DEFRAGMENT, _EMPTY, at=endpoint, answer_s=LONG_S)

    async def members(self) -> tuple[Member, ...]:
        """Members of the cluster."""
        said = await self._link.call(messages.MEMBERS, _EMPTY)
        return tuple(Member(one.id, one.name, tuple(one.client_urls)) for one in said.members)


def _writes(txn: Txn) -> bool:
    return any(map(_changes, txn.then)) or any(map(_changes, txn.otherwise))


def _changes(one: Op) -> bool:
    return isinstance(one, (Put, Delete)) or (isinstance(one, Txn) and _writes(one))
