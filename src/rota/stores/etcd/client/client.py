"""The client: what a store asks of an etcd cluster."""

from collections.abc import AsyncGenerator
from typing import Any

import grpc.aio

from rota.stores.etcd.client import coding, messages
from rota.stores.etcd.client.faults import Compacted
from rota.stores.etcd.client.link import Link
from rota.stores.etcd.client.messages import CLASSES
from rota.stores.etcd.client.words import Alarm, Delete, Done, Put, Range, Ranged, Status, Txn, has

LONG_S = 120.0
"""How long to wait for what takes as long as the database is large."""
ALARMS = {1: "NOSPACE", 2: "CORRUPT"}
PUT = 0
"""An event of a watch; the other kind is a deletion."""
_EMPTY = CLASSES["Empty"]()


class Client(Link):
    """One cluster, on the loop that opened it. Reads raise `Unavailable`; so do writes that changed nothing."""

    async def open(self) -> None:
        """Raises `Unavailable` if no member answers, or none lets us in."""
        self.connect()
        try:
            await self.range(Range(f"{self.address.path}/".encode(), count_only=True))
        except BaseException:
            await self.close()
            raise

    async def range(self, ask: Range) -> Ranged:
        """Raises `Compacted` where the revision asked for is kept no more."""
        return coding.ranged(await self.call(messages.RANGE, coding.range_message(ask)))

    async def txn(self, txn: Txn) -> Done:
        """Raises `Unclear` where it may have been applied: it is never sent twice."""
        writes = has((*txn.then, *txn.otherwise), Put, Delete)
        return coding.done(await self.call(messages.TXN, coding.txn_message(txn), writes))

    async def watch(self, key: bytes, since: int) -> AsyncGenerator[bytes, None]:
        """What is written to a key from revision `since` on, for as long as the member that is used tells of it."""
        number = self.current
        asked = CLASSES["WatchRequest"](create={"key": key, "start_revision": since})
        stream: Any = self.stream(number, messages.WATCH, asked)
        try:
            while (reply := await stream.read()) is not grpc.aio.EOF and not reply.canceled:
                for event in reply.events:
                    if event.type == PUT:
                        yield event.kv.value
        except grpc.aio.AioRpcError:
            self.leave(number)
        finally:
            stream.cancel()

    async def grant(self, ttl_s: int) -> int:
        """A new lease."""
        # Repeated where unclear: one that nobody knows of runs out.
        lease: int = (await self.call(messages.GRANT, CLASSES["GrantRequest"](ttl=ttl_s))).id
        return lease

    async def compact(self, revision: int) -> None:
        """Forget what was before this revision, and wait until it is done; harmless twice."""
        try:
            asked = CLASSES["CompactRequest"](revision=revision, physical=True)
            await self.call(messages.COMPACT, asked, answer_s=LONG_S)
        except Compacted:
            pass

    async def status(self, endpoint: int | None = None) -> Status:
        """How the member is that is used, or that of this number in the URL."""
        number = self.current if endpoint is None else endpoint
        said = await self.call(messages.STATUS, _EMPTY, at=number)
        return Status(said.header.member_id, said.version, said.size, said.in_use, said.leader, tuple(said.errors))

    async def alarms(self) -> tuple[Alarm, ...]:
        """Those that are raised."""
        raised = await self.call(messages.ALARM, CLASSES["AlarmRequest"]())
        return tuple(Alarm(one.member_id, ALARMS.get(one.alarm, str(one.alarm))) for one in raised.alarms)

    async def disarm(self) -> None:
        """Take back all alarms; what has not got better raises them again."""
        raised = await self.call(messages.ALARM, CLASSES["AlarmRequest"]())
        for one in raised.alarms:
            asked = CLASSES["AlarmRequest"](action=2, member_id=one.member_id, alarm=one.alarm)
            await self.call(messages.ALARM, asked)

    async def defragment(self, endpoint: int) -> None:
        """Give a member's free space back to its disk; it takes no writes meanwhile."""
        await self.call(messages.DEFRAGMENT, _EMPTY, at=endpoint, answer_s=LONG_S)

    async def members(self) -> int:
        """How many the cluster has."""
        return len((await self.call(messages.MEMBERS, _EMPTY)).members)
