"""The verbs of the port but `commit`, `claim` and `find`, as plain functions inside a transaction."""

from collections.abc import Sequence
from typing import Any

from rota.domain.records import Session
from rota.domain.run import Run
from rota.domain.schedule import Schedule
from rota.ports.store import BeatReply, Due, Lead, Versioned
from rota.stores.sql import statements, tables
from rota.stores.sql.db import Db
from rota.stores.sql.rows import KINDS, Row

FURTHEST_MS = 600_000
"""No lease reaches further ahead."""
_DUE = {Run: tables.runs_due, Schedule: tables.schedules_due}


def get(db: Db, kind: type, ids: Sequence[str]) -> list[Versioned[Any] | None]:
    """Records by id, in the order asked for."""
    shape = KINDS[kind]
    found = {row[0]: row for row in db.rows_among(statements.read(db.flavour, shape.table), ids)}
    return [shape.versioned(found[one]) if one in found else None for one in ids]


def due(db: Db, kind: type, now: int, limit: int) -> Due[Any]:
    """What the time index holds up to `now`, and its next instant."""
    index, shape = _DUE[kind], KINDS[kind]
    rows = db.rows(statements.due(db.flavour, index), (now, limit))
    later = db.rows(statements.next_due(db.flavour, index), (now,))
    return Due(tuple(map(shape.versioned, rows)), later[0][0] if later else None)


def opened(db: Db, sessions: Sequence[str]) -> set[str]:
    """Those sessions that are open, and stay open until the end of the transaction."""
    return {row[0] for row in db.rows_among(statements.open_sessions(db.flavour), sessions)}


def beat(db: Db, sessions: Sequence[str], now: int) -> list[BeatReply]:
    """Raise the pulses of the open ones, and tell each what is known of it."""
    alive = opened(db, sessions)
    if alive:
        db.write_all(statements.count_beat(db.flavour), [(session, now, db.stamp) for session in sorted(alive)])
    held = {row[0]: row for row in db.rows_among(statements.held(db.flavour), list(alive))}
    records = {found.record.id: found.record for found in get(db, Session, list(alive)) if found}
    return [_reply(records.get(session), held.get(session)) for session in sessions]


def _reply(session: Session | None, held: Row | None) -> BeatReply:
    if session is None:
        return BeatReply(False, 0, 0, (), 0, False)
    _, number, digest, cancels = held or ("", 0, 0, None)
    cancelled = tuple(cancels.split(",")) if cancels else ()
    return BeatReply(True, number, int(digest), cancelled, session.slots, session.draining, session.labels)


def lead(db: Db, name: str, holder: str, ttl_ms: int, now: int) -> Lead:
    """Take, keep or resign a term. A term that ended is never taken up again: its next one has a new number."""
    known = statements.term(db.flavour, share=False)
    if not (found := db.rows(known, (name,))):
        if ttl_ms <= 0:
            return Lead(0, "", False)
        db.write(statements.begin_term(db.flavour), (name,))
        found = db.rows(known, (name,))
    ((number, current, expires_at),) = found
    if not now < expires_at <= now + max(ttl_ms, FURTHEST_MS):
        # Over, or from a wall clock that was set back since: then nobody would lead until it has caught up.
        current = ""
    if current == holder or (ttl_ms > 0 and not current):
        number += not current
        current, ends_at = (holder, now + ttl_ms) if ttl_ms > 0 else ("", 0)
        db.write(statements.grant(db.flavour), (number, current, ends_at, name))
    return Lead(number, current, current == holder)
