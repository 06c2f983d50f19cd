"""`RedisStore`: the port on Redis."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import count as counted
from secrets import randbits
from typing import Any

import msgspec

from rota.domain.errors import Incompatible, Stale
from rota.domain.lane import queue_of
from rota.domain.records import Blob, Pulse, Session, Tally
from rota.domain.run import GRACE_MS, TERMINAL, Run, State
from rota.domain.schedule import Schedule
from rota.domain.states import Claim, advance
from rota.ports.store import (
    APPLIED,
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
from rota.stores.codec import identity
from rota.stores.hub import Hub
from rota.stores.kinds import check_groups, key_of, summed, verdict
from rota.stores.redis import find, records
from rota.stores.redis.health import diagnose
from rota.stores.redis.hints import Hints
from rota.stores.redis.link import Link
from rota.stores.redis.logs import RedisLogs
from rota.stores.redis.places import guarded, moves, places, record_key, term_keys

FORMAT = 1
OLDEST = 7
FURTHEST_MS = 600_000
"""No lease reaches further ahead."""
_PROBE = Run("", "", "", 0, "", "", 1, State.PENDING, "", "", 0, None, 0, None, None)
_DUE = '"due_at":null'


class RedisStore:
    """A `rota.ports.store.Store` on the server that a URL names."""

    shared = False

    def __init__(self, url: str) -> None:
        self._link = Link(url)
        self.place = self._link.place
        self._hub = Hub()
        self._hints = Hints(self._link, self._hub)
        self.logs: Logs = RedisLogs(self._link)
        # Versions mean nothing but equality. Counted up from chance, they never meet those of another process.
        self._versions = counted(randbits(62))

    @property
    def late(self) -> "RedisStore":
        return self

    async def open(self) -> None:
        self._link.open()
        try:
            server = (await self._link.ask("INFO", "server")).decode()
            version = server.partition("redis_version:")[2].partition("\r")[0]
            if int(version.partition(".")[0] or 0) < OLDEST:
                raise Incompatible(f"{self.place} is Redis {version}; install {OLDEST}.0 or newer")
            if "redis_mode:cluster" in server and not self._link.prefix:
                remedy = "give one in the URL, such as prefix=rota, or use a server of its own"
                raise Incompatible(
                    f"{self.place} is a Redis Cluster, whose nodes share keys without a prefix; {remedy}"
                )
            found = await self._link.ask("GET", f"{self._link.prefix}format")
            if found is None:
                await self._link.ask("SET", f"{self._link.prefix}format", FORMAT, "NX")
            elif not found.isdigit():
                raise Incompatible(f"{self.place} holds keys of somebody else; choose another prefix= in the URL")
            elif int(found) > FORMAT:
                raise Incompatible(f"{self.place} was made by a newer version of Rota; install that one")
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        self._hub.close()
        await self._link.leave(self._hints.close)

    async def diagnose(self) -> list[tuple[str, str]]:
        """Levels and findings for `rota doctor`. Raises `StoreError`."""
        return await diagnose(self._link)

    async def get(self, kind: type[R], ids: Sequence[str]) -> list[Versioned[R] | None]:
        return await find.get(self._link, kind, list(ids))

    async def find(
        self, kind: type[R], where: Where = Where(), cursor: str = "", limit: int = 50, oldest: bool = False
    ) -> Page[R]:
        return await find.find(self._link, kind, where, cursor, limit, oldest)

    async def count(self, kind: type[Record], by: str, where: Where = Where()) -> dict[str, int]:
        return await find.count(self._link, kind, by, where)

    async def due(self, kind: type[R], now: int, limit: int) -> Due[R]:
        word = {Run: "task", Schedule: "schedule"}[kind]
        start = self._link.prefix + record_key(kind, "")
        ask = {"index": f"{self._link.prefix}{word}:due", "now": now, "limit": limit, "records": start}
        texts, later = await self._link.run("due", ask)
        return Due(tuple(records.read(kind, text) for text in texts), int(float(later)) if later else None)

    async def commit(self, groups: Sequence[Group], guard: Guard = None, hints: Sequence[Hint] = ()) -> list[Result]:
        prefix, version = self._link.prefix, next(self._versions)
        keys: list[str] = []
        asked = [
            ([self._change(one, version, keys) for one in changes], _tally(tally, prefix)) for changes, tally in groups
        ]
        check_groups(groups, keys)
        told = summed(hints)
        said = [self._hints.channel, self._hints.said(told)] if told else False
        ask = {"keys": keys, "groups": asked, "guard": guarded(guard, prefix), "hints": said}
        # A full server must let what was begun end, with its result, and the leader prune: so what is there may change.
        spare = all(was is not None or type(now) is Blob for changes, _ in groups for was, now in changes)
        answers = await self._link.run("commit", ask, writes=True, spare=spare)
        if answers is False:
            raise Stale(f"{guard} does not hold any more; nothing was written")
        if told:
            self._hub.tell(told)
        return [_verdict(group.changes, answer) for group, answer in zip(groups, answers, strict=True)]

    async def claim(self, wants: Sequence[Want], now: int) -> list[Claimed]:
        version = f"{next(self._versions):016x}"
        ask = {"wants": [_want(want, now) for want in wants], "version": version, "now": now, "grace": GRACE_MS}
        answers = await self._link.run("claim", ask, writes=True)
        return [
            Claimed(tuple(records.read(Run, text) for text in texts), False, is_open) for is_open, *texts in answers
        ]

    async def beat(self, sessions: Sequence[str]) -> list[BeatReply]:
        ask = [(session, records.body(Pulse(session, 0))[1:-2]) for session in sessions]
        answers = await self._link.run("beat", {"sessions": ask}, writes=True, spare=True)
        return [_reply(*answer) if answer else _CLOSED for answer in answers]

    async def lead(self, name: str, holder: str, ttl_ms: int) -> Lead:
        number, leader = (self._link.prefix + key for key in term_keys(name))
        ask = {"number": number, "leader": leader, "holder": holder, "ttl": max(ttl_ms, 0), "furthest": FURTHEST_MS}
        found, current = await self._link.run("lead", ask, writes=True, spare=True)
        return Lead(int(found), current, current == holder)

    def watch(self, topics: Sequence[str]) -> Watch:
        self._link.soon(self._hints.listen)
        return self._hub.watch(topics)

    def _change(self, change: Change, version: int, keys: list[str]) -> list[Any]:
        """What the script is told of a change; its key goes to the others. Raises `Invalid`."""
        was, now = change
        kind, of = key_of(change)
        text = "" if now is None else records.write(now, version, was and was.record)
        before = {} if was is None else places(was.record)
        expected = "" if was is None else f"{was.version:016x}"
        keys.append(self._link.prefix + record_key(kind, of))
        forgotten = of if kind is Run and now is None else ""
        beside = ("", "")
        if kind is Run and now is not None and now.state in TERMINAL and not now.spilled:
            beside = f"{self._link.prefix}task:result:{of}", records.result(now)
        return [expected, text, forgotten, *moves(before, {} if now is None else places(now)), *beside]


_CLOSED = BeatReply(False, 0, 0, (), 0, False)


def _reply(text: str, held: int, digest: int, cancels: list[str]) -> BeatReply:
    if not text:
        return _CLOSED
    session: Session = records.read(Session, text).record
    return BeatReply(True, held, digest, tuple(cancels), session.slots, session.draining, session.labels)


def _tally(tally: Tally | None, prefix: str) -> Any:
    """Its key, what is added, the text behind that, and its place in the index."""
    if tally is None:
        return False
    of, rest = _cell(*tally[:7])
    return [prefix + record_key(Tally, of), tally.count, tally.total_ms, rest, tally.minute, of]


@lru_cache(maxsize=256)
def _cell(*cell: Any) -> tuple[str, str]:
    """The id of a counter, and its text behind the numbers."""
    tally = Tally._make((*cell, 0, 0))
    return identity(tally), records.body(tally).removeprefix('{"count":0,"total_ms":0')


def _want(want: Want, now: int) -> list[Any]:
    """What the script is told: the head of a run is what the state machine makes of one, but for what depends on it."""
    if not want.runs and not want.lanes:
        want = want._replace(limit=0)
    text = records.body(advance(_PROBE, Claim(want.session, want.worker, want.token), now))
    before, _, behind = text[text.index(',"state":') : text.index(',"id":')].partition(_DUE)
    excluded = []
    for name in want.exclude:
        space, _, task = name.partition("/")
        excluded.append(
            f',"namespace":{msgspec.json.encode(space).decode()},"task":{msgspec.json.encode(task).decode()},'
        )
    low = want.token & 0x7FFFFFFF
    lanes = [one for lane in dict.fromkeys(want.lanes) for one in (lane, queue_of(lane))]
    return [want.session, max(want.limit, 0), lanes, excluded, list(want.runs), before + _DUE[:-4], behind, low]


def _verdict(changes: Sequence[Change], answer: Any) -> Result:
    if answer is True:
        return APPLIED
    texts = zip(changes, answer, strict=True)
    return verdict(changes, [records.held(key_of(change)[0], text) for change, text in texts])
