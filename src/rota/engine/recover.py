"""Recover: what a vanished worker held goes back; what nobody ended is ended.

Two separate steps. `Watch` closes sessions that lapsed, by this process's monotonic clock alone. `recover` works from
"running runs whose session is not open", read afresh each time, never from the closing event: whoever closed a session,
and whatever died right after, its runs are found.
"""

from dataclasses import dataclass

from rota.domain.records import Pulse, Session
from rota.domain.run import End, Outcome, Reason, Run, State
from rota.engine.engine import PAGE, Engine, every
from rota.engine.sessions import leave
from rota.engine.settle import settle
from rota.ports.desk import Settlement
from rota.ports.store import Term, Versioned, Where

TICKS = 10
"""Looks at the pulses in one ttl."""
GAP = 3
"""A gap of more than ttl / GAP between looks restarts the watch: the watcher itself may have been away."""


@dataclass(slots=True)
class Seen:
    """A counter as last seen, since when it has not changed, and when it was last looked at (monotonic ms)."""

    count: int
    since: int
    looked: int


class Watch:
    """Watches the pulses of open sessions during one term. A new term needs a new watch."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._seen: dict[str, Seen] = {}

    async def look(self, term: Term) -> int:
        """Close sessions whose counter stood still for their whole ttl; ms until the next look is wanted."""
        clock = self._engine.clock
        sessions, asked = await open_sessions(self._engine), clock.monotonic()
        pulses = await self._engine.store.get(Pulse, [session.id for session in sessions])
        lapsed = [
            session
            for session, pulse in zip(sessions, pulses, strict=True)
            if self._lapsed(session, pulse.record.count if pulse else 0, asked, clock.monotonic())
        ]
        for session in lapsed:
            await leave(self._engine, session.id, "lapsed: no beat for its whole ttl", term)
        alive = {session.id for session in sessions}
        self._seen = {name: seen for name, seen in self._seen.items() if name in alive}
        return min((session.ttl_ms for session in sessions), default=10_000) // TICKS

    def forget(self) -> None:
        """A look failed: what was seen before proves nothing any more."""
        self._seen.clear()

    def _lapsed(self, session: Session, count: int, asked: int, answered: int) -> bool:
        """A slow answer proves only that the counter stood still until it was asked for."""
        seen = self._seen.get(session.id)
        if seen is None or seen.count != count or answered - seen.looked > session.ttl_ms // GAP:
            self._seen[session.id] = Seen(count, answered, answered)
            return False
        seen.looked = asked
        return asked - seen.since >= session.ttl_ms


async def open_sessions(engine: Engine) -> list[Session]:
    """All open sessions."""
    return [held.record for held in await every(engine, Session, Where(open=True))]


async def vanished(engine: Engine) -> list[str]:
    """Sessions that hold running runs and are not open."""
    names = list(await engine.store.count(Run, "session", Where(states=(State.RUNNING,))))
    sessions = await engine.store.get(Session, names) if names else []
    return [name for name, found in zip(names, sessions, strict=True) if found is None or not found.record.open]


async def recover(engine: Engine, term: Term) -> int:
    """Take back running runs whose session is not open; how many."""
    total = 0
    for name in await vanished(engine):
        while page := (await engine.store.find(Run, Where(session=name), "", PAGE)).items:
            await settle(engine, [_lost(run, name) for run in page], term)
            total += len(page)
            if len(page) < PAGE:
                break
    return total


def _lost(held: Versioned[Run], session: str) -> Settlement:
    outcome = Outcome(End.LOST, reason=f"session {session} ended", error="its worker vanished or left")
    return Settlement(held.record.fence, outcome, held)


def overdue(held: Versioned[Run]) -> Settlement:
    """The end of an attempt whose deadline and grace are over although its worker lives."""
    end_by, due_at = held.record.end_by, held.record.due_at
    total = end_by is not None and due_at is not None and end_by < due_at
    reason = Reason.TOTAL_TIMEOUT if total else Reason.TIMEOUT
    error = "its time was over and its worker did not end it; the limit is the task's timeout"
    return Settlement(held.record.fence, Outcome(End.FAILURE, reason=reason, error=error, final=total), held)
