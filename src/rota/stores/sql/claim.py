"""`claim`: ready runs in rank order, made running by the state machine, in one transaction for all wants."""

from collections.abc import Sequence
from operator import itemgetter
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

VERSION = len(Run._fields)
SEQ = VERSION + 1
"""Where these stand in a whole row, behind the columns of the run."""
FIRST = itemgetter(Run._fields.index("rank"), SEQ)
"""The order in which runs are taken."""


def claim(db: Db, wants: Sequence[Want], now: int) -> list[Claimed]:
    """Answer each want in turn; its session stays open meanwhile."""
    check([(want.session, want.worker) for want in wants], [want.session for want in wants])
    return [_answer(db, want, now) for want in wants]


def _answer(db: Db, want: Want, now: int) -> Claimed:
    rows, stock, is_open = (_at_once if db.flavour.locks and not want.runs else _in_turn)(db, want)
    event = Claim(want.session, want.worker, want.token)
    writes = Writes(own="seq")
    taken = []
    for row in rows:
        before = run_of(row)
        after = advance(before, event, now)
        writes.change(row[SEQ], before, row[VERSION], after)
        taken.append(Versioned(after, db.stamp))
    if writes.flush(db) != len(taken):
        raise AssertionError("a run changed between two statements of one transaction")
    return Claimed(tuple(taken), len(taken) < min(stock, want.limit), is_open)


def _at_once(db: Db, want: Want) -> tuple[list[Row], int, bool]:
    """Whole rows of the first ready runs; how many there were, with those that somebody else is about to take, and
    perhaps will not; and whether the session is open. All by one statement where it is.
    """
    lanes = list(dict.fromkeys(want.lanes))
    statement = statements.taken(db.flavour, bool(want.exclude))
    found = db.rows(statement, (want.session, lanes, [*map(queue_of, lanes)], *_excluded(db, want), max(want.limit, 0)))
    if not found:
        return [], 0, bool(opened(db, [want.session]))
    rows = [row for row in found if row[SEQ] is not None]
    return (rows if len(lanes) == 1 else sorted(rows, key=FIRST)[: want.limit]), found[0][-1], True


def _in_turn(db: Db, want: Want) -> tuple[list[Row], int, bool]:
    """The same, where nobody else takes any meanwhile, or the runs are named."""
    is_open = bool(opened(db, [want.session]))
    if not is_open or want.limit <= 0:
        return [], 0, is_open
    return _named(db, want) if want.runs else _first(db, want), 0, True


def _first(db: Db, want: Want) -> list[Row]:
    """Whole rows of the first ready runs, in rank order."""
    lanes = list(dict.fromkeys(want.lanes))
    if len(lanes) > 1:
        lanes = [row[0] for row in db.rows_among(statements.stocked(db.flavour), lanes)]
    if len(lanes) <= 1:
        return [row for lane in lanes for row in _ready(db, want, lane, whole=True)]
    first = sorted([tuple(row) for lane in lanes for row in _ready(db, want, lane)])[: want.limit]
    rows = {row[SEQ]: row for row in _read(db, "seq", [seq for _, seq in first])}
    return [rows[seq] for _, seq in first]


def _ready(db: Db, want: Want, lane: str, whole: bool = False) -> list[Row]:
    statement = statements.ready(db.flavour, bool(want.exclude), whole)
    return db.rows(statement, (lane, queue_of(lane), *_excluded(db, want), want.limit))


def _excluded(db: Db, want: Want) -> tuple[Any, ...]:
    return (db.flavour.pack(want.exclude),) if want.exclude else ()


def _named(db: Db, want: Want) -> list[Row]:
    """As `_first`, of the runs that are named, with their seq behind them."""
    found = _read(db, "id", list(dict.fromkeys(want.runs)))
    # Asked only now, so that none is given that was submitted after its queue was paused.
    paused = {row[0] for row in db.rows(statements.paused(db.flavour))}
    suitable = []
    for row in found:
        run = run_of(row)
        task, queue = f"{run.namespace}/{run.task}", queue_of(run.lane)
        if run.state is State.PENDING and queue not in paused and task not in want.exclude:
            suitable.append((run.rank, run.id, row))
    return [row for _, _, row in sorted(suitable, key=lambda one: one[:2])[: want.limit]]


def _read(db: Db, own: str, values: Sequence[Any]) -> list[Row]:
    return db.rows_among(statements.placed(db.flavour, own), values)
