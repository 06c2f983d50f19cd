"""Histories made up: one in which all is well, and the pieces of which others are made."""

from collections.abc import Iterable
from typing import Any

from rota.domain.ids import occurrence_id
from rota.domain.records import Tally, Unique, Until
from rota.domain.run import Attempt, Run, State
from rota.domain.schedule import CatchUp, Overlap, Policy, Skip
from rota.domain.triggers import Interval
from rota.engine.account import Report
from rota.testing.factories import make_run, make_schedule, make_session
from tests.chaos.history import OK, Effect, Final, History, Lead, Op, Strike, Write

LEASE_MS = 1_500
BEGAN, UNTIL, OVER = 1_000_000, 1_060_000, 1_065_000
OFFSET = 1_767_000_000_000
PERIOD = 10_000
WORKER, OTHER, NODE = 11, 12, 21


def run(number: int = 1, **changes: Any) -> Run:
    """A run of `quick` that has ended well, in its first attempt."""
    plain = make_run(
        number, task="quick", state=State.SUCCESS, attempt=1, token=7, tries=1, result=b"1",
        payload=b'{"op":"k%d"}' % number,
    )  # fmt: skip
    return plain._replace(**changes)


def occurrence(nominal: int, **changes: Any) -> Run:
    """The run of an occurrence of `every`."""
    given: dict[str, Any] = {
        "id": occurrence_id("main/every", nominal), "payload": b"{}", "task": "tick", "schedule": "every",
        "nominal_at": nominal, "cause": "schedule", "created_at": nominal,
    }  # fmt: skip
    return run(1, **{**given, **changes})


def effects(one: Run, at: int, lasts: int = 10, attempt: int = 1, pid: int = WORKER, end: str = "end") -> list[Effect]:
    """An attempt's start and end in the ledger."""
    name = (one.id, attempt, one.token, one.task, one.nominal_at, one.schedule, pid)
    return [Effect("start", *name, at), *([Effect(end, *name, at + lasts)] if end else [])]


def op(verb: str, subject: str, at: int, ended: int | None = None, **changes: Any) -> Op:
    """Something asked at `at`, answered a little later."""
    plain = Op(f"{verb}/{subject}/{at}", verb, subject, at, ended or at + 5, OK)
    return plain._replace(**changes)


def strike(kind: str, pid: int, at: int, lasts: int = 0, ms: int = 0) -> Strike:
    return Strike(kind, "somebody", pid, at, at + lasts, ms)


def history(*runs: Run, **changes: Any) -> History:
    """A history in which `every` fired each ten seconds, somebody led all the time, and these runs went well."""
    moments = range(OFFSET + BEGAN, OFFSET + OVER, PERIOD)
    every = [occurrence(moment) for moment in moments]
    schedule = make_schedule(
        1, name="every", task="tick", trigger=Interval(PERIOD), accounted_from=moments[0] - 1,
        cursor_at=OFFSET + OVER, next_at=None, fired=len(every),
        policy=Policy(catch_up=CatchUp.ALL, overlap=Overlap.ALLOW, misfire_ms=1_000),
    )  # fmt: skip
    made = (*every, *runs)
    told = [one for run in every for one in effects(run, (run.nominal_at or 0) - OFFSET + 20)]
    told += [one for number, run in enumerate(runs) for one in effects(run, BEGAN + 100 * number)]
    final = Final(
        OVER, made, (schedule,), tallies=(Tally(0, "main", "t", "q", "success", 0, "n", len(made)),),
        report=Report(OFFSET + OVER, OFFSET + OVER, 1, len(every)), sessions=(make_session(1, worker="worker1"),),
    )  # fmt: skip
    asked = [op("submit", f"k{number}", BEGAN + 100 * number, run=run.id) for number, run in enumerate(runs, 1)]
    served = [op("look", "x", at, run="nobody", more="gone") for at in range(BEGAN, OVER, 5_000)]
    plain = History(
        BEGAN, UNTIL, OFFSET, LEASE_MS, final, (*asked, *served), tuple(told),
        leads=(Lead(NODE, "node:1", 1, True, BEGAN, BEGAN + 1),),
        writes=tuple(Write(NODE, 1, at, at + 5, "applied") for at in range(BEGAN + 10, OVER, 1_000)),
        workers=frozenset({WORKER}),
    )  # fmt: skip
    return plain._replace(**changes)


def final(h: History, **changes: Any) -> History:
    """With another store in the end."""
    return h._replace(final=h.final._replace(**changes))


def schedule(h: History, **changes: Any) -> History:
    """With another schedule in the end."""
    from dataclasses import replace

    return final(h, schedules=(replace(h.final.schedules[0], **changes),))


def without(h: History, moment: int, *, fired: int = -1) -> History:
    """Without the run of one occurrence."""
    runs = tuple(one for one in h.final.runs if one.nominal_at != moment)
    gone = tuple(one for one in h.effects if one.nominal != moment)
    lesser = schedule(h, fired=h.final.schedules[0].fired + fired)
    return count(final(lesser, runs=runs)._replace(effects=gone))


def count(h: History) -> History:
    """With tallies that fit its runs."""
    return final(h, tallies=(h.final.tallies[0]._replace(count=len(h.final.runs)),))


def more(h: History, *runs: Run, told: Iterable[Effect] = ()) -> History:
    """With these runs beside."""
    return count(final(h, runs=(*h.final.runs, *runs))._replace(effects=(*h.effects, *told)))


def lost(number: int, session: str = "session-1") -> Attempt:
    return Attempt(number, 7, "worker1", session, 0, 0, 0, "lost", "", 0)


def key(owner: str, name: str = "main/unique/1", until: Until = Until.TERMINAL) -> Unique:
    return Unique(name, owner, "", until)


def skip(first: int, last: int, number: int, reason: str = "misfire") -> Skip:
    return Skip("main/every", 1, first, last, number, reason)
