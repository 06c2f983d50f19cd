"""`claim`: what is ready is read, and then taken by one transaction a run, so that each is given once.

Who reads the same head at the same time takes the same runs, and all but one in vain. So those who have met others
begin somewhere among the first few times as many as they want.
"""

from collections.abc import Mapping, Sequence
from random import randrange
from time import monotonic
from typing import NamedTuple

from rota.domain.errors import Stale
from rota.domain.lane import queue_of
from rota.domain.run import Run, State
from rota.domain.states import Claim, advance
from rota.ports.store import Change, Claimed, Versioned, Want
from rota.stores.etcd import find
from rota.stores.etcd.client.words import Range, Ranged, Txn
from rota.stores.etcd.commit import group_of
from rota.stores.etcd.keys import is_open, is_unpaused
from rota.stores.etcd.link import Link, together

STEP = 500
SPREAD = 4
RIVALS_S = 5.0
"""How long to reckon with others after having met some."""
RANK_DIGITS = 20
MOST = 1_000
"""Runs that one want gets at once, at most."""
MANY = 1_000
"""Runs claimed from a lane by which it is a busy one, where the next look begins where the last one did."""
MARK_S = 1.0
"""For how long: a run of high priority that comes late lies ahead of it."""
MARGIN_MS = 100
WIDER = 64
"""How many times as far to look where a window holds too little, before all of the lane is looked through."""
END = 1 << 64
"""Behind all ranks, as keys have them."""


class Ready(NamedTuple):
    """A run that waits."""

    rank: str
    id: str


class Mark(NamedTuple):
    """Between which ranks of a lane the last look found what it did."""

    low: int = 0
    end: int = END
    """As far as the next look need go; END where the lane held no more."""
    since: float = 0.0
    """When all that is ahead was last looked at."""
    taken: int = 0
    """How many were claimed from there since."""


Looks = list[list[Range]]
"""Where to look in a lane: what is asked together, and one after the other for as long as too little was found."""


class Claimer:
    """Claims, and what it knows of others who do."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._rivals_until = 0.0
        self._marks: dict[str, Mark] = {}

    async def claim(self, wants: Sequence[Want], now: int) -> list[Claimed]:
        """Raises `Unclear` where some may have been given."""
        if not wants:
            return []
        link = self._link
        sessions = [Range(is_open(want.session, link.prefix).key, count_only=True) for want in wants]
        need = sum(_limit(want) for want in wants) * (SPREAD if self._rivals else 1)
        lanes = list(dict.fromkeys(lane for want in wants if _limit(want) and not want.runs for lane in want.lanes))
        looks = [self._looks(lane, need) for lane in lanes]
        found = await link.ask([*sessions, link.all_of("paused/", keys_only=True), *(one[0][0] for one in looks)])
        open_now, closed_queues = [bool(one.count) for one in found[: len(wants)]], found[len(wants)]
        first = dict(zip(lanes, zip(looks, found[len(wants) + 1 :], strict=True), strict=True))
        start = len(link.prefix) + len("paused/")
        paused = {item.key.decode()[start:] for item in closed_queues.items}
        taken: set[str] = set()
        chosen: list[tuple[list[Versioned[Run]], bool]] = []
        for want, opened in zip(wants, open_now, strict=True):
            some = await self._chosen(want, paused, taken, first) if opened and _limit(want) else ([], False)
            chosen.append(some)
        asked = [self._taken(want, some, now) for want, (some, _) in zip(wants, chosen, strict=True)]
        answers = []
        for (got, lost, stays), (_, missed), opened in zip(await together(asked), chosen, open_now, strict=True):
            if lost or missed:
                self._rivals_until = monotonic() + RIVALS_S
            answers.append(Claimed(tuple(got), lost or missed, opened and stays))
        return answers

    @property
    def _rivals(self) -> bool:
        return monotonic() < self._rivals_until

    async def _chosen(
        self, want: Want, paused: set[str], taken: set[str], first: Mapping[str, tuple[Looks, Ranged]]
    ) -> tuple[list[Versioned[Run]], bool]:
        """Runs to try, in order; and whether some went to others meanwhile."""
        if want.runs:
            ids = [of for of in dict.fromkeys(want.runs) if of not in taken]
        else:
            ids = await self._ready(want, paused, taken, first)
        held = await find.get(self._link, Run, ids)
        found = [
            one
            for one in held
            if one
            and one.record.state is State.PENDING
            and queue_of(one.record.lane) not in paused
            and f"{one.record.namespace}/{one.record.task}" not in want.exclude
        ]
        lost = not want.runs and len(found) < len(ids)
        found = sorted(found, key=_order)[: _limit(want)]
        taken |= {one.record.id for one in found}
        return found, lost

    async def _ready(
        self, want: Want, paused: set[str], taken: set[str], first: Mapping[str, tuple[Looks, Ranged]]
    ) -> list[str]:
        """The first that are ready in the wanted lanes, or some behind them where others are at work."""
        limit, rivals = _limit(want), self._rivals
        need = limit * SPREAD if rivals else limit
        found: list[Ready] = []
        for lane in dict.fromkeys(want.lanes):
            if queue_of(lane) not in paused:
                found += await self._look(lane, need, frozenset(want.exclude), taken, *first[lane])
        found = sorted(found)[:need]
        place = randrange(len(found) - limit + 1) if rivals and len(found) > limit else 0
        return [one.id for one in found[place : place + limit]]

    def _looks(self, lane: str, need: int) -> Looks:
        """From the start of a lane; of one from which much was taken, for a moment, from where its start was then.

        A server steps over each key that was deleted since it was compacted, and counts to the end of what is asked. So
        every look ends a little behind where the last one found enough, and goes on where that holds too little: to the
        end, but in a lane from which much was taken only so far at first.
        """
        mark = self._marks.get(lane, Mark())
        busy = mark.taken >= MANY
        low = mark.low if busy and monotonic() - mark.since < MARK_S else 0
        far = min(mark.end + WIDER * (mark.end - mark.low), END) if busy else END
        steps = ([(low, mark.end)], [(0, low), (mark.end, far)], [(far, END)])
        looks = [[self._between(lane, *bounds, need) for bounds in step if bounds[0] < bounds[1]] for step in steps]
        return [step for step in looks if step]

    def _between(self, lane: str, low: int, end: int, limit: int) -> Range:
        return Range(self._from(lane, low), self._from(lane, end), limit)

    def _from(self, lane: str, rank: int) -> bytes:
        return self._link.key(f"ready/{lane}/{rank:0{RANK_DIGITS}d}")

    async def _look(
        self, lane: str, need: int, exclude: frozenset[str], taken: set[str], looks: Looks, reply: Ranged
    ) -> list[Ready]:
        """The first that may be had of a lane, with what the first look found."""
        found: list[Ready] = []
        start = len(self._link.key(f"ready/{lane}/"))
        asked, *wider = looks
        replies = [reply]
        while True:
            for item in (item for reply in replies for item in reply.items):
                rest = item.key[start:].decode()
                one = Ready(rest[:RANK_DIGITS], rest[RANK_DIGITS + 1 :])
                if one.id not in taken and item.value.decode() not in exclude:
                    found.append(one)
            rest_of = [
                one._replace(key=reply.items[-1].key + b"\0", limit=max(one.limit, STEP if exclude else 0))
                for one, reply in zip(asked, replies, strict=True)
                if reply.more
            ]
            if len(found) >= need or not (rest_of or wider):
                break
            asked = rest_of or wider.pop(0)
            replies = await self._link.ask(asked)
        found = sorted(found)[:need]
        self._remember(lane, found, len(found) == need, looks[0][0].key == self._from(lane, 0))
        return found

    def _remember(self, lane: str, found: list[Ready], enough: bool, whole: bool) -> None:
        """Where the next look may begin, and end: some times as far as this one went. `whole`: it left out none."""
        former = self._marks.pop(lane, Mark())
        if not found:
            return
        low, high = int(found[0].rank), int(found[-1].rank)
        end = min(high + SPREAD * (high - low) + MARGIN_MS, END) if enough else END
        since = monotonic() if whole else former.since
        self._marks[lane] = Mark(low, end, since, min(former.taken + len(found), 2 * MANY))

    async def _taken(self, want: Want, some: list[Versioned[Run]], now: int) -> tuple[list[Versioned[Run]], bool, bool]:
        """What it got of some runs, whether others got some, and whether the session was open then."""
        link = self._link
        minted = [advance(was.record, Claim(want.session, want.worker, want.token), now) for was in some]
        groups: list[Txn] = []
        for was, run in zip(some, minted, strict=True):
            compares, ops = group_of(link, Change(was, run))
            groups.append(Txn((*compares, is_unpaused(queue_of(run.lane), link.prefix)), tuple(ops)))
        try:
            sent = await link.send(groups, (is_open(want.session, link.prefix),)) if groups else []
        except Stale:
            return [], True, False
        got = [Versioned(run, one.revision) for run, one in zip(minted, sent, strict=True) if one.done.succeeded]
        return got, len(got) < len(minted), True


def _order(one: Versioned[Run]) -> tuple[int, str]:
    return one.record.rank, one.record.id


def _limit(want: Want) -> int:
    return min(max(want.limit, 0), MOST)
