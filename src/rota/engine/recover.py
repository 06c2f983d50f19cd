"""Recover: what a vanished worker held goes back; what nobody ended is ended.

Two separate steps. `Watch` closes sessions that lapsed, by this process's monotonic clock alone. `recover` works from
"running runs whose session is not open", read afresh each time, never from the closing event: whoever closed a session,
and whatever died right after, its runs are found.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rota.domain.records import Pulse, Session
from rota.domain.run import End, Outcome, Reason, Run, State
from rota.engine.engine import PAGE, Engine, every
from rota.engine.sessions import close
from rota.engine.settle import settle
from rota.ports.desk import LEFT, Settlement
from rota.ports.store import Term, Versioned, Where

TICKS = 10
"""Looks at the pulses in one ttl."""
GAP = 3
"""A gap of more than ttl / GAP between looks restarts the watch: the watcher itself may have been away."""
CANARY_MS = 2_000
"""A canary that is heard less often sings no more, see `api/carried.py`."""
RUNNING = Where(states=(State.RUNNING,))
PATIENCE_MS = 600_000
"""So long, at most, a worker's silence is taken for that of the broker between."""


@dataclass(slots=True)
class Seen:
    """A counter as last seen, since when its standing still counts, when it was last looked at, and since when it has
    stood still (monotonic ms); and for how long its last move shows that somebody lives, 0: none was seen.
    """

    count: int
    since: int
    looked: int
    still: int
    vouched_ms: int = 0


class Watch:
    """Watches the pulses of open sessions during one term, until a look fails: then, too, a new watch is needed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._seen: dict[str, Seen] = {}

    async def look(self, term: Term) -> int:
        """Close sessions whose counter stood still for their whole ttl; ms until the next look is wanted."""
        clock = self._engine.clock
        sessions, asked = await open_sessions(self._engine), clock.monotonic()
        pulses = await self._engine.store.get(Pulse, [session.id for session in sessions])
        answered = clock.monotonic()
        for session, pulse in zip(sessions, pulses, strict=True):
            self._note(session, pulse.record.count if pulse else 0, asked, answered)
        self._spare(sessions, answered)
        if lapsed := [session.id for session in sessions if self._lapsed(session, asked)]:
            await close(self._engine, lapsed, "lapsed: no beat for its whole ttl", term)
        alive = {session.id for session in sessions}
        self._seen = {name: seen for name, seen in self._seen.items() if name in alive}
        return min((session.ttl_ms for session in sessions), default=10_000) // TICKS

    def vouched(self, session: str) -> bool:
        """Whether a beat of the session was heard of late. Where none was, it may have died while nobody watched."""
        seen = self._seen.get(session)
        return seen is not None and self._engine.clock.monotonic() - seen.since < seen.vouched_ms

    def _note(self, session: Session, count: int, asked: int, answered: int) -> None:
        """A slow answer proves only that the counter stood still until it was asked for."""
        seen = self._seen.get(session.id)
        if seen is None or seen.count != count:
            self._seen[session.id] = Seen(count, answered, answered, answered, session.ttl_ms if seen else 0)
        elif answered - seen.looked > session.ttl_ms // GAP:
            self._seen[session.id] = Seen(count, answered, answered, seen.still)
        else:
            seen.looked = asked

    def _lapsed(self, session: Session, asked: int) -> bool:
        return asked - self._seen[session.id].since >= session.ttl_ms

    def _spare(self, sessions: Sequence[Session], now: int) -> None:
        """A broker by which not even a scheduler reaches itself proves nothing of the workers behind it."""
        heard: dict[str, int] = {}
        for canary in (one for one in sessions if one.carrier and not one.takes_runs):
            heard[canary.carrier] = max(heard.get(canary.carrier, 0), self._seen[canary.id].since)
        for one in sessions:
            seen, quiet = self._seen[one.id], max(one.ttl_ms // GAP, CANARY_MS)
            unheard = one.carrier not in heard or now - heard[one.carrier] > quiet
            if one.carrier and one.takes_runs and unheard and now - seen.still < PATIENCE_MS:
                seen.since = now


async def open_sessions(engine: Engine) -> list[Session]:
    """All open sessions."""
    return [held.record for held in await every(engine, Session, Where(open=True))]


async def vanished(engine: Engine) -> dict[str, str]:
    """Sessions that hold running runs and are not open, and why they ended."""
    names = list(await engine.store.count(Run, "session", RUNNING))
    sessions = await engine.store.get(Session, names) if names else []
    ended = {name: found and found.record for name, found in zip(names, sessions, strict=True)}
    return {name: one.reason if one else "" for name, one in ended.items() if one is None or not one.open}


async def recover(engine: Engine, term: Term) -> int:
    """Take back running runs whose session is not open; how many."""
    total, names = 0, await vanished(engine)
    for where in await _shortest(engine, names):
        cursor, more = "", True
        while more:
            page = await engine.store.find(Run, where, cursor, PAGE)
            lost = [_lost(run, names[run.record.session]) for run in page.items if run.record.session in names]
            await settle(engine, lost, term)
            total, cursor, more = total + len(lost), page.cursor, bool(page.cursor)
    return total


async def _shortest(engine: Engine, sessions: Collection[str]) -> list[Where]:
    """By which listings the runs of these sessions are found in the fewest reads: theirs, or that of all that run."""
    running = sum((await engine.store.count(Run, "state", RUNNING)).values()) if len(sessions) > 1 else 0
    return [RUNNING] if len(sessions) > 1 + running // PAGE else [Where(session=name) for name in sessions]


def _lost(held: Versioned[Run], why: str) -> Settlement:
    if why == LEFT and held.record.started_at is None:
        # Placed there in its last moment.
        return Settlement(held.record.fence, Outcome(End.RETURNED, reason="its worker left before it knew"), held)
    outcome = Outcome(End.LOST, reason=f"session {held.record.session} ended", error="its worker vanished or left")
    return Settlement(held.record.fence, outcome, held)


def overdue(held: Versioned[Run]) -> Settlement:
    """The end of an attempt whose deadline and grace are over although its worker lives."""
    end_by, due_at = held.record.end_by, held.record.due_at
    total = end_by is not None and due_at is not None and end_by < due_at
    reason = Reason.TOTAL_TIMEOUT if total else Reason.TIMEOUT
    error = "its time was over and its worker did not end it; the limit is the task's timeout"
    return Settlement(held.record.fence, Outcome(End.FAILURE, reason=reason, error=error, final=total), held)
