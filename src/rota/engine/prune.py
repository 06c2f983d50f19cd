"""Prune: what is old enough goes, in small steps, oldest first. A run takes its lines and large values with it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rota.domain.ids import definition_id
from rota.domain.people import Token
from rota.domain.records import Audit, Blob, Pulse, Session, Tally, Unique
from rota.domain.run import TERMINAL, Run
from rota.domain.schedule import DAY_MS, Schedule, Skip
from rota.domain.triggers.base import RANGE_END
from rota.engine.engine import Engine, applied
from rota.engine.seal import move_anchor
from rota.engine.sessions import load_id
from rota.ports.store import Change, Group, Record, Term, Versioned, Where

STEP = 500
ENDED = tuple(sorted(TERMINAL))


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept, ms; `runs` bounds their number as well, None: does not."""

    runs_ms: int = 7 * DAY_MS
    runs: int | None = None
    audit_ms: int = 365 * DAY_MS
    tallies_ms: int = 90 * DAY_MS
    sessions_ms: int = DAY_MS
    tokens_ms: int = 30 * DAY_MS
    """After they expired or were revoked."""


async def prune(engine: Engine, retention: Retention, term: Term, counting: bool = False) -> int:
    """One small step of each kind; how many records went. Call again at once while that is not 0.

    Only a `counting` step bounds the number of runs: counting them costs more than pruning them.
    """
    now = engine.clock.now()
    gone = await _runs(engine, retention, now, term, counting)
    gone += await _old(engine, Unique, Where(ended_until=now), term)
    gone += await _sessions(engine, now - retention.sessions_ms, term)
    gone += await _skips(engine, now - retention.runs_ms, term)
    # First the chain says that it begins later, then what it answers for no more may go.
    anchor_at = await move_anchor(engine, now - retention.audit_ms, term)
    gone += await _old(engine, Audit, Where(ended_until=anchor_at + 1), term)
    gone += await _old(engine, Token, Where(ended_until=now - retention.tokens_ms), term)
    gone += await _old(engine, Tally, Where(until=now - retention.tallies_ms), term)
    return gone


async def _runs(engine: Engine, retention: Retention, now: int, term: Term, counting: bool) -> int:
    gone = await _run_step(engine, now - retention.runs_ms, term)
    if counting and retention.runs is not None:
        ended = sum((await engine.store.count(Run, "state", Where(states=ENDED))).values())
        while ended > retention.runs:
            # Whatever the clock says by now: it may have been set back since they ended.
            step = await _run_step(engine, RANGE_END, term, min(STEP, ended - retention.runs))
            ended, gone = ended - step, gone + step
            if not step:
                break
    return gone


async def _run_step(engine: Engine, until: int, term: Term, limit: int = STEP) -> int:
    page = await engine.store.find(Run, Where(states=ENDED, ended_until=until), "", limit, oldest=True)
    return await _accounted(engine, [(held, *_occurrence(held.record)) for held in page.items], term)


async def _skips(engine: Engine, until: int, term: Term) -> int:
    page = await engine.store.find(Skip, Where(until=until), "", STEP, oldest=True)
    past = [held for held in page.items if held.record.last_at < until]
    return await _accounted(engine, [(held, held.record.schedule, held.record.last_at) for held in past], term)


def _occurrence(run: Run) -> tuple[str, int]:
    if run.schedule and run.nominal_at is not None:
        return definition_id(run.namespace, run.schedule), run.nominal_at
    return "", 0


async def _accounted(engine: Engine, old: Sequence[tuple[Versioned[Any], str, int]], term: Term) -> int:
    """First the schedules say that they answer only for what comes later, then runs and skips go; how many."""
    newest: dict[str, int] = {}
    for _, name, moment in old:
        newest[name] = max(newest.get(name, 0), moment)
    found = await engine.store.get(Schedule, [name for name in newest if name])
    late = [held for held in found if held and held.record.accounted_from < newest[held.record.id]]
    after = [replace(held.record, accounted_from=newest[held.record.id]) for held in late]
    results = await engine.commit([Group((Change(*pair),)) for pair in zip(late, after, strict=True)], term)
    # What a schedule that has just changed still answers for stays until the next step.
    busy = {one.id for one, result in zip(after, results, strict=True) if not applied(result)}
    gone = [Group((Change(held, None),)) for held, name, _ in old if name not in busy]
    await engine.commit(gone, term)
    return len(gone)


async def _sessions(engine: Engine, until: int, term: Term) -> int:
    page = await engine.store.find(Session, Where(ended_until=until), "", STEP, oldest=True)
    pulses = await engine.store.get(Pulse, [held.record.id for held in page.items])
    said = await engine.store.get(Blob, [load_id(held.record.id) for held in page.items])
    pairs = zip(page.items, pulses, said, strict=True)
    await engine.commit([Group(tuple(Change(held, None) for held in pair if held)) for pair in pairs], term)
    return len(page.items)


async def _old(engine: Engine, kind: type[Record], where: Where, term: Term) -> int:
    page: Any = await engine.store.find(kind, where, "", STEP, oldest=True)
    if page.items:
        await engine.commit([Group((Change(held, None),)) for held in page.items], term)
    return len(page.items)
