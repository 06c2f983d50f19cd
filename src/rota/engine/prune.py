"""Prune: what is old enough goes, in small steps, oldest first. A run takes its lines and large values with it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rota.domain.ids import definition_id
from rota.domain.records import Audit, Session, Tally, Unique
from rota.domain.run import TERMINAL, Run
from rota.domain.schedule import DAY_MS, Schedule, Skip
from rota.engine.engine import Engine
from rota.ports.store import Change, Group, Record, Term, Versioned, Where

STEP = 500
ENDED = tuple(sorted(TERMINAL))


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept, ms; `runs` bounds their number as well."""

    runs_ms: int = 7 * DAY_MS
    runs: int = 10_000_000
    audit_ms: int = 365 * DAY_MS
    tallies_ms: int = 90 * DAY_MS
    sessions_ms: int = DAY_MS


async def prune(engine: Engine, retention: Retention, term: Term, counting: bool = False) -> int:
    """One small step of each kind; how many records went. Call again at once while that is not 0.

    Only a `counting` step bounds the number of runs: counting them costs more than pruning them.
    """
    now = engine.clock.now()
    gone = await _runs(engine, retention, now, term, counting)
    gone += await _old(engine, Unique, Where(ended_until=now), term)
    gone += await _old(engine, Session, Where(ended_until=now - retention.sessions_ms), term)
    gone += await _old(engine, Skip, Where(until=now - retention.runs_ms), term)
    gone += await _old(engine, Audit, Where(until=now - retention.audit_ms), term)
    gone += await _old(engine, Tally, Where(until=now - retention.tallies_ms), term)
    return gone


async def _runs(engine: Engine, retention: Retention, now: int, term: Term, counting: bool) -> int:
    gone = await _run_step(engine, now - retention.runs_ms, term)
    if counting:
        ended = sum((await engine.store.count(Run, "state", Where(states=ENDED))).values())
        while ended > retention.runs:
            step = await _run_step(engine, now, term)
            ended, gone = ended - max(step, 1), gone + step
    return gone


async def _run_step(engine: Engine, until: int, term: Term) -> int:
    page = await engine.store.find(Run, Where(states=ENDED, ended_until=until), "", STEP, oldest=True)
    if page.items:
        await _raise_accounts(engine, page.items, term)
        await engine.commit([Group((Change(held, None),)) for held in page.items], term)
    return len(page.items)


async def _raise_accounts(engine: Engine, runs: Sequence[Versioned[Run]], term: Term) -> None:
    """First the schedules say that they answer only for what comes later, then the runs go."""
    newest: dict[str, int] = {}
    for held in runs:
        run = held.record
        if run.schedule and run.nominal_at is not None:
            name = definition_id(run.namespace, run.schedule)
            newest[name] = max(newest.get(name, 0), run.nominal_at)
    found = await engine.store.get(Schedule, list(newest))
    groups = [
        Group((Change(held, replace(held.record, accounted_from=newest[held.record.id])),))
        for held in found
        if held and held.record.accounted_from < newest[held.record.id]
    ]
    await engine.commit(groups, term)


async def _old(engine: Engine, kind: type[Record], where: Where, term: Term) -> int:
    page: Any = await engine.store.find(kind, where, "", STEP, oldest=True)
    if page.items:
        await engine.commit([Group((Change(held, None),)) for held in page.items], term)
    return len(page.items)
