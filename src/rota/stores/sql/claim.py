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
    """Answer each want in turn; its session stays open meanwhile."""
    check([(want.session, want.worker) for want in wants], [want.session for want in wants])
    alive = opened(db, sorted({want.session for want in wants}))
    return [_answer(db, want, now) if want.session in alive else Claimed((), False, False) for want in wants]


def _answer(db: Db, want: Want, now: int) -> Claimed:
    event = Claim(want.session, want.worker, want.token)
    writes = Writes(own="seq")
    taken = []
    lanes = list(dict.fromkeys(want.lanes))
    for row in (_named(db, want) if want.runs else _first(db, want, lanes)) if want.limit > 0 else []:
        before = run_of(row)
        after = advance(before, event, now)
        version, seq = row[-2:]
        writes.change(seq, before, version, after)
        taken.append(Versioned(after, db.stamp))
    if writes.flush(db) != len(taken):
        raise AssertionError("a run changed between two statements of one transaction")
    contended = db.flavour.locks and len(taken) < want.limit and not want.runs and _is_left(db, want, lanes)
    return Claimed(tuple(taken), contended, open=True)


def _first(db: Db, want: Want, lanes: list[str]) -> list[Row]:
    """Whole rows of the first ready runs, in rank order, with their seq behind them."""
    if len(lanes) > 1:
        lanes = [row[0] for row in db.rows_among(statements.stocked(db.flavour), lanes)]
    if len(lanes) <= 1:
        return [row for lane in lanes for row in _ready(db, want, lane, want.limit, whole=True)]
    first = sorted([tuple(row) for lane in lanes for row in _ready(db, want, lane, want.limit)])[: want.limit]
    rows = {row[-1]: row for row in _read(db, "seq", [seq for _, seq in first])}
    return [rows[seq] for _, seq in first]


def _ready(db: Db, want: Want, lane: str, limit: int, whole: bool = False, take: bool = True) -> list[Row]:
    statement = statements.ready(db.flavour, bool(want.exclude), whole, take)
    excluded = (db.flavour.pack(want.exclude),) if want.exclude else ()
    return db.rows(statement, (lane, queue_of(lane), *excluded, limit))


def _is_left(db: Db, want: Want, lanes: list[str]) -> bool:
    """Whether something is ready that somebody else is about to take, and perhaps will not."""
    if len(lanes) > 1:
        lanes = [row[0] for row in db.rows_among(statements.stocked(db.flavour), lanes)]
    return any(_ready(db, want, lane, 1, take=False) for lane in lanes)


def _named(db: Db, want: Want) -> list[Row]:
    """As `_first`, of the runs that are named."""
    found = _read(db, "id", list(dict.fromkeys(want.runs)))
    # Asked only now, so that none is given that was submitted after its queue was paused.
    paused = {row[0] for row in db.rows(statements.paused(db.flavour))}
    suitable = []
    for row in found:
        run = run_of(row)
        if run.state is State.PENDING and queue_of(run.lane) not in paused and not _is_excluded(run, want):
            suitable.append((run.rank, run.id, row))
    return [row for _, _, row in sorted(suitable, key=lambda one: one[:2])[: want.limit]]


def _is_excluded(run: Run, want: Want) -> bool:
    return f"{run.namespace}/{run.task}" in want.exclude


def _read(db: Db, own: str, values: Sequence[Any]) -> list[Row]:
    return db.rows_among(statements.placed(db.flavour, own), values)
