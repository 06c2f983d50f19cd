"""`claim`: ready runs in rank order, made running by the state machine, in one transaction for all wants."""

from collections.abc import Sequence
from typing import Any

from rota.domain.lane import queue_of
from rota.domain.run import Run, State
from rota.domain.states import Claim, advance
from rota.ports.store import Claimed, Versioned, Want
from rota.stores.sql import statements
from rota.stores.sql.core import opened
from rota.stores.sql.db import Db
from rota.stores.sql.rows import Row, check, run_of
from rota.stores.sql.writes import Writes


def claim(db: Db, wants: Sequence[Want], now: int) -> list[Claimed]:
    """Answer each want in turn. One writer at a time, so nothing is contended."""
    check([(want.session, want.worker) for want in wants], [want.session for want in wants])
    alive = opened(db, sorted({want.session for want in wants}))
    paused = {row[0] for row in db.rows(statements.paused(db.flavour))} if alive else set()
    return [_answer(db, want, now, paused) if want.session in alive else Claimed((), False, False) for want in wants]


def _answer(db: Db, want: Want, now: int, paused: set[str]) -> Claimed:
    event = Claim(want.session, want.worker, want.token)
    writes = Writes(own="seq")
    taken = []
    for row in _found(db, want, paused) if want.limit > 0 else []:
        before = run_of(row)
        after = advance(before, event, now)
        version, seq = row[-2:]
        writes.change(seq, before, version, after)
        taken.append(Versioned(after, db.stamp))
    if writes.flush(db) != len(taken):
        raise AssertionError("a run changed between two statements of one transaction")
    return Claimed(tuple(taken), contended=False, open=True)


def _found(db: Db, want: Want, paused: set[str]) -> list[Row]:
    """Whole rows, in rank order, with their seq behind them."""
    if want.runs:
        return _named(db, want, paused)
    lanes = [lane for lane in dict.fromkeys(want.lanes) if queue_of(lane) not in paused]
    if len(lanes) > 1:
        lanes = [row[0] for row in db.rows_among(statements.stocked(db.flavour), lanes)]
    if len(lanes) <= 1:
        return [row for lane in lanes for row in _first(db, want, lane, whole=True)]
    first = sorted(row for lane in lanes for row in _first(db, want, lane, whole=False))[: want.limit]
    rows = {row[-1]: row for row in _read(db, "seq", [seq for _, seq in first])}
    return [rows[seq] for _, seq in first]


def _first(db: Db, want: Want, lane: str, whole: bool) -> list[Row]:
    statement = statements.ready(db.flavour, bool(want.exclude), whole)
    excluded = (db.flavour.pack(want.exclude),) if want.exclude else ()
    return db.rows(statement, (lane, *excluded, want.limit))


def _named(db: Db, want: Want, paused: set[str]) -> list[Row]:
    suitable = []
    for row in _read(db, "id", list(dict.fromkeys(want.runs))):
        run = run_of(row)
        if run.state is State.PENDING and queue_of(run.lane) not in paused and not _is_excluded(run, want):
            suitable.append((run.rank, run.id, row))
    return [row for _, _, row in sorted(suitable, key=lambda one: one[:2])[: want.limit]]


def _is_excluded(run: Run, want: Want) -> bool:
    return f"{run.namespace}/{run.task}" in want.exclude


def _read(db: Db, own: str, values: Sequence[Any]) -> list[Row]:
    return db.rows_among(statements.placed(db.flavour, own), values)
