"""Sessions: a worker's life begins and ends by one write each."""

from dataclasses import replace

from rota.domain.errors import Refused
from rota.domain.facts import SessionChanged
from rota.domain.records import Session
from rota.engine.engine import Engine, applied
from rota.ports.store import Change, Conflict, Group, Guard, Hint

TRIES = 5


async def enter(engine: Engine, session: Session) -> None:
    """Open a session. Its id is minted by the worker for this life alone; raises `Refused` where it is shared."""
    if not applied(await engine.commit_one(Group((Change(None, session),)), None, [Hint("sessions")])):
        raise Refused(f"there is a session {session.id} already; mint a new id for each life")
    engine.tell(SessionChanged(session.id, True, ""))


async def leave(engine: Engine, session: str, reason: str, guard: Guard = None) -> bool:
    """Close a session; False if it was closed or gone already. What it held is `recover`'s."""
    found = (await engine.store.get(Session, [session]))[0]
    for _ in range(TRIES):
        if found is None or not found.record.open:
            return False
        closed = replace(found.record, closed_at=engine.clock.now(), reason=reason)
        hints = [Hint("sessions"), Hint(f"session:{session}")]
        result = await engine.commit_one(Group((Change(found, closed),)), guard, hints)
        if applied(result):
            engine.tell(SessionChanged(session, False, reason))
            return True
        found = result.current[0] if isinstance(result, Conflict) else None
    return False
