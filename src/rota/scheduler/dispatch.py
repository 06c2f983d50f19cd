"""Dispatch: for queues with a strategy the leader claims for the workers that it chooses, all in one call a step.

The workers learn of it by a hint to their session, or by the reply to a beat (see `worker/pulse.py`); those at a URL by
a post of the runs themselves.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from random import Random
from typing import NamedTuple

from rota.domain.facts import RunsClaimed
from rota.domain.records import Load, Pulse, Queue, Session
from rota.domain.run import Reason, Run, State
from rota.engine.engine import Engine, every
from rota.engine.recover import open_sessions
from rota.engine.sessions import loads
from rota.ports.store import LOOK_LIMIT, Hint, Term, Versioned, Want, Where
from rota.scheduler.breaker import Breaker
from rota.scheduler.placement import STRATEGIES, Memory, Seat, weight_of

EXCLUDE_MS = 60_000
"""How long a session gets no run of a task whose handler it lacks."""
REST_MS = 1_000
"""How long a session gets nothing after it could take nothing of what it was meant to."""
LATE_MS = 10_000
"""What a worker that cannot ask was posted so long ago, and has not said that it began, is posted again."""
KEYED = "consistent_hash"
"""The strategy that asks which run it is. For all others any run does, so the store gives them out by rank."""
WINDOW = 4
"""So many times the free slots are looked at for it, the oldest first, and given out by rank."""

Deliver = Callable[[Session, Sequence[Versioned[Run]]], bool]
"""Posts runs to the URL of the session that holds them, later and not here; False: it does not."""


class _Heard(NamedTuple):
    """A session's beat counter, and since when it has been this."""

    beats: int
    since: int


class Dispatcher:
    """Places runs while this node leads."""

    def __init__(self, engine: Engine, deliver: Deliver | None = None) -> None:
        self._engine = engine
        self._deliver = deliver
        self._reached: dict[str, Session] = {}
        """Sessions with a URL."""
        self._again_at = 0
        self._breaker = Breaker()
        self._memories: dict[str, Memory] = defaultdict(lambda: Memory(Random(engine.chance.bits(64))))
        """By queue."""
        self._heard: dict[str, _Heard] = {}
        self._resting: dict[str, int] = {}
        """Session, and until when it gets nothing."""
        self._lacking: dict[tuple[str, str], int] = {}
        """Session and task that it has no handler of, and until when that is believed."""
        self._turn = 0
        self._further: dict[str, str] = {}
        """By queue: the cursor from which to look where nobody can be given any of its oldest runs."""

    async def place(self, term: Term) -> bool:
        """Place what is ready, as far as there is room; whether to look again at once."""
        now = self._engine.clock.monotonic()
        self._resting = {session: until for session, until in self._resting.items() if until > now}
        self._lacking = {place: until for place, until in self._lacking.items() if until > now}
        if self._deliver and self._again_at <= now:
            await self._deliver_again(self._deliver)
        queues = [queue for queue in (await self._engine.placed()).values() if not queue.paused]
        ready = {queue.id: lanes for queue in queues if (lanes := await self._ready(queue))}
        seats = await self._seats() if ready else []
        if not any(seat.free > 0 for seat in seats):
            return False
        shared = [queue for queue in queues if queue.id in ready and queue.dispatch != KEYED]
        lines = [[queue] for queue in queues if queue.id in ready and queue.dispatch == KEYED]
        lines += [shared] if shared else []
        # Who comes first takes what room there is, so they take turns at it.
        self._turn = (self._turn + 1) % len(lines)
        wants: list[Want] = []
        for line in lines[self._turn :] + lines[: self._turn]:
            wants += self._shared(line, ready, seats) if line is shared else await self._keyed(line[0], seats)
        return bool(wants) and await self._claim(wants, term)

    async def _ready(self, queue: Queue) -> dict[str, int]:
        """How many runs are ready in each lane of a queue."""
        where = Where(namespace=queue.namespace, queue=queue.name, states=(State.PENDING,))
        return await self._engine.store.count(Run, "lane", where)

    async def _claim(self, wants: Sequence[Want], term: Term) -> bool:
        claimed = await self._engine.store.claim(wants, self._engine.clock.now())
        now = self._engine.clock.monotonic()
        # They lack the handlers of what there is: others may have them.
        vain = [want.session for want, one in zip(wants, claimed, strict=True) if want.exclude and not one.runs]
        self._resting |= dict.fromkeys(vain, now + REST_MS)
        runs = [held.record for one in claimed for held in one.runs]
        if runs:
            self._learn(runs, now)
            self._engine.tell(RunsClaimed(runs))
            told: Counter[str] = Counter()
            for one in claimed:
                if one.runs and not self._posted(one.runs):
                    told[one.runs[0].record.session] += len(one.runs)
            await self._engine.store.commit((), term, [Hint(f"session:{session}", told[session]) for session in told])
        return bool(runs or vain)

    def _posted(self, held: Sequence[Versioned[Run]]) -> bool:
        """Whether nobody has to be told of these by a hint."""
        session = self._reached.get(held[0].record.session)
        return bool(session and self._deliver and self._deliver(session, held))

    async def _deliver_again(self, deliver: Deliver) -> None:
        """A post may be lost, or its leader; workers of ours find that by their beats, others cannot."""
        now, engine = self._engine.clock.now(), self._engine
        self._again_at = engine.clock.monotonic() + LATE_MS
        for session in await open_sessions(engine):
            if session.address and not session.asks:
                held = await every(engine, Run, Where(session=session.id))
                late = [one for one in held if one.record.started_at is None]
                # One of a clock that was set back since, or is another leader's, is late as well: twice does no harm.
                if late := [one for one in late if abs(now - (one.record.claimed_at or now)) >= LATE_MS]:
                    deliver(session, late)

    def _learn(self, runs: Sequence[Run], now: int) -> None:
        """What a session handed back because it lacks the handler, it is not given again for a while; and if it was for
        any other reason, nothing for a while.
        """
        for run in runs:
            for old in run.history:
                if old.reason == Reason.NO_HANDLER:
                    self._lacking[old.session, f"{run.namespace}/{run.task}"] = now + EXCLUDE_MS
            # What lies further back was looked at when the run was placed after it.
            if run.history and run.history[-1].reason == Reason.RETURNED:
                self._breaker.handed_back(run.history[-1].session, now)
            self._breaker.given(run, now)

    async def _seats(self) -> list[Seat]:
        """Open sessions that beat and are not leaving."""
        sessions = await open_sessions(self._engine)
        now = self._engine.clock.monotonic()
        await self._judge([one.id for one in sessions], now)
        sessions = [one for one in sessions if one.takes_runs and not one.draining and one.id not in self._resting]
        room = {one.id: self._breaker.room(one.id, now) for one in sessions}
        sessions = [one for one in sessions if room[one.id] != 0]
        self._reached = {one.id: one for one in sessions if one.address and not one.carrier}
        alive = await self._alive(sessions)
        held = await self._engine.store.count(Run, "session", Where(states=(State.RUNNING,))) if alive else {}
        said = await loads(self._engine, [one.id for one in alive])
        return [_seat(one, held.get(one.id, 0), load, room[one.id]) for one, load in zip(alive, said, strict=True)]

    async def _judge(self, sessions: Sequence[str], now: int) -> None:
        """Look who has kept what it is tried by."""
        self._breaker.keep(sessions)
        if probes := self._breaker.probes():
            found = await self._engine.store.get(Run, [one.run for one in probes.values()])
            self._breaker.judge({one.record.id: one.record for one in found if one}, now)

    async def _alive(self, sessions: Sequence[Session]) -> list[Session]:
        """Those whose counter has not stood still for half their ttl. Only `recover` says that one is lost.

        Who is met for the first time, by a new leader, is judged by how far its last beat lies behind the others'.
        """
        now, heard = self._engine.clock.monotonic(), {}
        pulses = await self._engine.store.get(Pulse, [one.id for one in sessions])
        counts = [pulse.record.count if pulse else 0 for pulse in pulses]
        newest = max(counts, default=0)
        for session, count in zip(sessions, counts, strict=True):
            before, behind = self._heard.get(session.id), newest - count if count else 0
            fresh = _Heard(count, now if before else now - behind)
            heard[session.id] = before if before and before.beats == count else fresh
        self._heard = heard
        return [one for one in sessions if now - heard[one.id].since <= one.ttl_ms // 2]

    def _shared(
        self, queues: Sequence[Queue], ready: Mapping[str, Mapping[str, int]], seats: Sequence[Seat]
    ) -> list[Want]:
        """How many runs of all of these queues each session is to get: which ones, their rank says."""
        given: Counter[Seat] = Counter()
        for queue in queues:
            for lane, number in ready[queue.id].items():
                able = [seat for seat in seats if lane in seat.lanes and seat.free > 0]
                for seat in islice(STRATEGIES[queue.dispatch](able, "", self._memories[queue.id]), number):
                    seat.held += 1
                    given[seat] += 1
        lanes = [lane for queue in queues for lane in ready[queue.id]]
        return [
            self._want(seat, number, tuple(lane for lane in lanes if lane in seat.lanes))
            for seat, number in given.items()
        ]

    async def _keyed(self, queue: Queue, seats: Sequence[Seat]) -> list[Want]:
        """Which runs of a queue each session is to get."""
        given: dict[Seat, list[str]] = defaultdict(list)
        chosen: dict[tuple[str, str], Iterator[Seat]] = {}
        for run in sorted(await self._oldest(queue, seats), key=lambda run: (run.rank, run.id)):
            alike = f"{run.namespace}/{run.task}", run.lane
            if alike not in chosen:
                able = [seat for seat in seats if seat.free > 0 and self._suits(seat, run)]
                chosen[alike] = STRATEGIES[KEYED](able, alike[0], self._memories[queue.id])
            if seat := next(chosen[alike], None):
                seat.held += 1
                given[seat].append(run.id)
        return [self._want(seat, len(runs), runs=tuple(runs)) for seat, runs in given.items()]

    async def _oldest(self, queue: Queue, seats: Sequence[Seat]) -> list[Run]:
        """The oldest runs of a queue that somebody may be given, of as many as one listing looks at.

        Where none of these is, they hold up nobody: it is looked at as many further on, each time further.
        """
        roomy = [seat for seat in seats if seat.free > 0]
        found, behind = await self._looked(queue, roomy, "")
        if not found and behind:
            start = self._further.get(queue.id) or behind
            found, behind = await self._looked(queue, roomy, start)
            self._further[queue.id] = start if found else behind
        return found

    async def _looked(self, queue: Queue, roomy: Sequence[Seat], cursor: str) -> tuple[list[Run], str]:
        """Of the runs from a cursor on those that somebody may be given, and the cursor behind all of them."""
        enough, looked = WINDOW * sum(seat.free for seat in roomy), 0
        where = Where(namespace=queue.namespace, queue=queue.name, states=(State.PENDING,))
        found: list[Run] = []
        while len(found) < enough and looked < LOOK_LIMIT:
            page = await self._engine.store.find(Run, where, cursor, min(enough, LOOK_LIMIT - looked), oldest=True)
            looked, cursor = looked + len(page.items), page.cursor
            found += [run for run, _ in page.items if any(self._suits(seat, run) for seat in roomy)]
            if not cursor:
                break
        return found[:enough], cursor

    def _suits(self, seat: Seat, run: Run) -> bool:
        return run.lane in seat.lanes and (seat.session, f"{run.namespace}/{run.task}") not in self._lacking

    def _want(self, seat: Seat, number: int, lanes: tuple[str, ...] = (), runs: tuple[str, ...] = ()) -> Want:
        lacking = tuple(task for session, task in self._lacking if session == seat.session)
        return Want(seat.session, seat.worker, self._engine.chance.bits(62), number, lanes, lacking, runs)


def _seat(session: Session, held: int, load: Load | None, room: int | None) -> Seat:
    weight, busy = weight_of(session.labels, session.slots), load.busy_percent / 100 if load else 0.0
    slots = session.slots if room is None else min(session.slots, held + room)
    return Seat(session.id, session.worker, frozenset(session.lanes), slots, held, weight, busy)
