"""`lead`: a term's number, which guards compare, and apart from it its holder, who renews it.

No two clocks are compared: who wants a term that another holds watches whether it is renewed, for as long as its holder
asked, by the own clock.
"""

from time import monotonic, time_ns

import msgspec

from rota.domain.errors import Unavailable
from rota.ports.store import Lead
from rota.stores.etcd.client.words import Compare, Put, Range, Txn
from rota.stores.etcd.link import Link
from rota.stores.etcd.upkeep import Upkeep

TRIES = 8


class _Held(msgspec.Struct):
    holder: str = ""
    ttl_ms: int = 0


_DECODE = msgspec.json.Decoder(_Held).decode
_ENCODE = msgspec.json.Encoder().encode


class Terms:
    """Leaderships. Whoever holds one keeps the cluster small on the way."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._upkeep = Upkeep(link)
        self.close = self._upkeep.close
        self._seen: dict[str, tuple[int, float]] = {}
        """At which revision each was last renewed, and since when that is known."""

    async def lead(self, name: str, holder: str, ttl_ms: int) -> Lead:
        try:
            lead = await self._lead(name, holder, ttl_ms)
        except Unavailable:
            if ttl_ms > 0:
                self._upkeep.relieve()
            raise
        if lead.mine:
            self._upkeep.tick()
        return lead

    async def _lead(self, name: str, holder: str, ttl_ms: int) -> Lead:
        link = self._link
        keys = link.key(f"lead/{name}"), link.key(f"term/{name}")
        for _ in range(TRIES):
            leader, term = await link.ask([Range(key) for key in keys])
            number = int(term.items[0].value) if term.items else 0
            held = _DECODE(leader.items[0].value) if leader.items else _Held()
            revision = leader.items[0].modified if leader.items else 0
            if held.holder and held.holder != holder and self._lapsed(name, revision, held.ttl_ms):
                held = _Held()
            if held.holder not in ("", holder) or (not held.holder and ttl_ms <= 0):
                return Lead(number, held.holder, False)
            ops = [Put(keys[0], _ENCODE(_Held(holder if ttl_ms > 0 else "", max(ttl_ms, 0))))]
            if not held.holder:
                # Later than any that was, even if the newest were lost with their servers.
                number = max(number + 1, time_ns() // 1_000_000)
                ops.append(Put(keys[1], str(number).encode()))
            asked = monotonic()
            done = await link.client.txn(Txn((Compare(keys[0], "modified", "=", revision),), tuple(ops)))
            if done.succeeded:
                self._seen[name] = done.revision, asked
                return Lead(number, holder, True) if ttl_ms > 0 else Lead(number, "", False)
        raise Unavailable(f"{link.place}: too many contend for the term of {name}; try again")

    def _lapsed(self, name: str, revision: int, ttl_ms: int) -> bool:
        seen = self._seen.get(name)
        if seen is None or seen[0] != revision:
            seen = self._seen[name] = revision, monotonic()
        return monotonic() - seen[1] >= ttl_ms / 1_000
