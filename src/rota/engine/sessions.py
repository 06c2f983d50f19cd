"""Sessions: a worker's life begins and ends by one write each."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

import msgspec

from rota.domain.errors import Refused, StoreError, Unclear
from rota.domain.facts import SessionChanged
from rota.domain.records import Blob, Load, Session
from rota.engine.engine import Engine, applied
from rota.ports.store import BeatReply, Change, Conflict, Group, Guard, Hint

TRIES = 5


async def enter(engine: Engine, session: Session) -> None:
    """Open a session. Its id is minted by the worker for this life alone; raises `Refused` where it is shared."""
    if not applied(await engine.commit_one(Group((Change(None, session),)), None, [Hint("sessions")])):
        raise Refused(f"there is a session {session.id} already; mint a new id for each life")
    engine.tell(SessionChanged(session.id, True, ""))


async def beat(engine: Engine, session: str, load: Load | None = None) -> BeatReply:
    """A sign of life. What the worker says of itself is kept where it has changed, and may be lost."""
    reply = (await engine.store.beat([session]))[0]
    if load and reply.open:
        with suppress(StoreError, Unclear):
            (held,), data = await engine.store.get(Blob, [load_id(session)]), msgspec.json.encode(load)
            if held is None or held.record.data != data:
                kept = Blob(load_id(session), data, engine.clock.now())
                await engine.store.commit([Group((Change(held, kept),))])
    return reply


async def loads(engine: Engine, sessions: Iterable[str]) -> list[Load | None]:
    """What the workers of these sessions said last, if anything."""
    found = await engine.store.get(Blob, [load_id(session) for session in sessions])
    return [msgspec.json.decode(held.record.data, type=Load) if held else None for held in found]


def load_id(session: str) -> str:
    """The record of what a session's worker says."""
    return f"{session}/load"


async def leave(engine: Engine, session: str, reason: str) -> bool:
    """Close a session; False if it was closed or gone already. What it held is `recover`'s."""
    return await close(engine, [session], reason) == 1


async def close(engine: Engine, sessions: Sequence[str], reason: str, guard: Guard = None) -> int:
    """Close sessions, as `leave` one; how many were open."""
    found, closed = await engine.store.get(Session, sessions), 0
    for _ in range(TRIES):
        if not (held := [one for one in found if one and one.record.open]):
            break
        after = [replace(one.record, closed_at=engine.clock.now(), reason=reason) for one in held]
        hints = [Hint("sessions"), *(Hint(f"session:{one.id}") for one in after)]
        groups = [Group((Change(*pair),)) for pair in zip(held, after, strict=True)]
        results = await engine.commit(groups, guard, hints)
        for one in (one for one, result in zip(after, results, strict=True) if applied(result)):
            closed += 1
            engine.tell(SessionChanged(one.id, False, reason))
        found = [result.current[0] for result in results if isinstance(result, Conflict)]
    return closed
