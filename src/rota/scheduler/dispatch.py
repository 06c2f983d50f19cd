"""Dispatch: for queues with a strategy the leader claims for the workers that it chooses, all in one call a step.

The workers learn of it by a hint to their session, or by the reply to a beat (see `worker/pulse.py`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from random import Random
from typing import NamedTuple

from rota.domain.facts import RunsClaimed
from rota.domain.lane import queue_of
from rota.domain.records import Pulse, Queue, Session
from rota.domain.run import Reason, Run, State
from rota.engine.engine import Engine, every
from rota.ports.store import LOOK_LIMIT, Hint, Term, Want, Where
from rota.scheduler.placement import STRATEGIES, Memory, Seat, weight_of

EXCLUDE_MS = 60_000
"""How long a session gets no run of a task whose handler it lacks."""
KEYED = "consistent_hash"
"""The strategy that asks which run it is. For all others any run does, so the store gives them out by rank."""
WINDOW = 4
"""So many times the free slots are looked at for it, the oldest first, and given out by rank."""


class _Heard(NamedTuple):
    """A session's beat counter, and since when it has been this."""

    beats: int
    since: int


class Dispatcher:
    """Places runs while this node leads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._memories: dict[str, Memory] = {}
        self._ready: dict[str, Counter[str]] = defaultdict(Counter)
        """By queue and lane how many runs are ready at least: as counted, less those that were placed since."""
        self._heard: dict[str, _Heard] = {}
        self._term = Term("", 0)
        self._lacking: dict[tuple[str, str], int] = {}
        """Session and task that it has no handler of, and until when that is believed."""

    async def place(self, term: Term) -> bool:
        """Place what is ready, as far as there is room; whether to look again at once."""
        if term != self._term:  # others have placed meanwhile
            self._ready.clear()
            self._term = term
        queues = [queue for queue in (await self._engine.placed()).values() if not queue.paused]
        seats = await self._seats() if queues else []
        if not any(seat.free > 0 for seat in seats):
            return False
        wants: list[Want] = []
        for queue in queues:
            wants += await (self._keyed if queue.dispatch == KEYED else self._shared)(queue, seats)
        return bool(wants) and await self._claim(wants, term)

    async def _claim(self, wants: Sequence[Want], term: Term) -> bool:
        claimed = await self._engine.store.claim(wants, self._engine.clock.now())
        runs = [held.record for one in claimed for held in one.runs]
        for run in runs:
            self._ready[queue_of(run.lane)][run.lane] -= 1
        if len(runs) < sum(want.limit for want in wants):
            self._ready.clear()  # some are gone, or somebody else has them: count anew
        if not runs:
            return False
        self._learn(runs)
        self._engine.tell(RunsClaimed(runs))
        told = Counter(run.session for run in runs)
        await self._engine.store.commit((), term, [Hint(f"session:{session}", told[session]) for session in told])
        return True

    def _learn(self, runs: Sequence[Run]) -> None:
        """What a session handed back because it lacks the handler, it is not given again for a while."""
        now = self._engine.clock.monotonic()
        self._lacking = {place: until for place, until in self._lacking.items() if until > now}
        for run in runs:
            for old in run.history:
                if old.reason == Reason.NO_HANDLER:
                    self._lacking[old.session, f"{run.namespace}/{run.task}"] = now + EXCLUDE_MS

    async def _seats(self) -> list[Seat]:
        """Open sessions that beat and are not leaving."""
        sessions = [one.record for one in await every(self._engine, Session, Where(open=True))]
        sessions = [one for one in sessions if one.takes_runs and not one.draining]
        alive = await self._alive(sessions)
        held = await self._engine.store.count(Run, "session", Where(states=(State.RUNNING,))) if alive else {}
        return [_seat(one, held.get(one.id, 0)) for one in alive]

    async def _alive(self, sessions: Sequence[Session]) -> list[Session]:
        """Those whose counter has not stood still for half their ttl. Only `recover` says that one is lost."""
        now, heard = self._engine.clock.monotonic(), {}
        pulses = await self._engine.store.get(Pulse, [one.id for one in sessions])
        for session, pulse in zip(sessions, pulses, strict=True):
            count, before = pulse.record.count if pulse else 0, self._heard.get(session.id)
            heard[session.id] = before if before and before.beats == count else _Heard(count, now)
        self._heard = heard
        return [one for one in sessions if now - heard[one.id].since <= one.ttl_ms // 2]

    async def _shared(self, queue: Queue, seats: Sequence[Seat]) -> list[Want]:
        """How many runs of a queue each session is to get."""
        room = sum(seat.free for seat in _fitting(seats, queue))
        if room and self._ready[queue.id].total() < room:
            where = Where(namespace=queue.namespace, queue=queue.name, states=(State.PENDING,))
            self._ready[queue.id] = Counter(await self._engine.store.count(Run, "lane", where))
        given: Counter[Seat] = Counter()
        for lane, number in self._ready[queue.id].items():
            able = [seat for seat in seats if lane in seat.lanes and seat.free > 0]
            for _ in range(number if able else 0):
                seat = STRATEGIES[queue.dispatch](able, "", self._memory(queue))
                seat.held += 1
                given[seat] += 1
                if not seat.free:
                    able.remove(seat)
                    if not able:
                        break
        return [self._want(seat, queue, number) for seat, number in given.items()]

    async def _keyed(self, queue: Queue, seats: Sequence[Seat]) -> list[Want]:
        """Which runs of a queue each session is to get."""
        room = sum(seat.free for seat in _fitting(seats, queue))
        if not room:
            return []
        where = Where(namespace=queue.namespace, queue=queue.name, states=(State.PENDING,))
        page = await self._engine.store.find(Run, where, "", min(WINDOW * room, LOOK_LIMIT), True)
        given: dict[Seat, list[str]] = defaultdict(list)
        for run in sorted((held.record for held in page.items), key=lambda run: (run.rank, run.id)):
            task = f"{run.namespace}/{run.task}"
            able = [seat for seat in seats if run.lane in seat.lanes and seat.free > 0 and not self._lacks(seat, task)]
            if able:
                seat = STRATEGIES[KEYED](able, task, self._memory(queue))
                seat.held += 1
                given[seat].append(run.id)
        return [self._want(seat, queue, len(runs), tuple(runs)) for seat, runs in given.items()]

    def _want(self, seat: Seat, queue: Queue, number: int, runs: tuple[str, ...] = ()) -> Want:
        lanes = () if runs else tuple(lane for lane in sorted(seat.lanes) if queue_of(lane) == queue.id)
        lacking = tuple(task for session, task in self._lacking if session == seat.session and self._lacks(seat, task))
        return Want(seat.session, seat.worker, self._engine.chance.bits(62), number, lanes, lacking, runs)

    def _lacks(self, seat: Seat, task: str) -> bool:
        return self._lacking.get((seat.session, task), -1) > self._engine.clock.monotonic()

    def _memory(self, queue: Queue) -> Memory:
        if queue.id not in self._memories:
            self._memories[queue.id] = Memory(Random(self._engine.chance.bits(64)))
        return self._memories[queue.id]


def _seat(session: Session, held: int) -> Seat:
    weight = weight_of(session.labels, session.slots)
    return Seat(session.id, session.worker, frozenset(session.lanes), session.slots, held, weight)


def _fitting(seats: Iterable[Seat], queue: Queue) -> list[Seat]:
    """Those that take from the queue and have room."""
    return [seat for seat in seats if seat.free > 0 and any(queue_of(lane) == queue.id for lane in seat.lanes)]
