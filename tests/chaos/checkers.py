"""All invariants by the numbers of docs/chaos.md, and what a campaign must have met to have shown anything.

Times are ms. A clock that the nemesis set wrong explains as much as it was set wrong by, and nothing else is explained
but by a strike in the nemesis log.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import NamedTuple

from tests.chaos import checkers_runs, checkers_time
from tests.chaos.history import FAILED, OK, UNCLEAR, History
from tests.chaos.reading import Violations

Checker = Callable[[History], Violations]


INVARIANTS: dict[str, Checker] = {
    "I1": checkers_time.single_leader,
    "I2": checkers_time.leader_liveness,
    "I3": checkers_time.one_disposition,
    "I4": checkers_time.in_time,
    "I5": checkers_runs.durable,
    "I6": checkers_runs.idempotent,
    "I7": checkers_runs.terminal,
    "I8": checkers_runs.fenced,
    "I9": checkers_runs.bounded,
    "I10": checkers_runs.in_order,
    "I11": checkers_runs.cancelled,
    "I12": checkers_time.edits_obeyed,
    "I16": checkers_runs.self_recovery,
    "I19": checkers_time.catch_up,
    "I22": checkers_runs.whole,
    "I24": checkers_runs.refusal,
    "I27": checkers_runs.planned_restart,
}


def violations(h: History) -> dict[str, Violations]:
    """By invariant, where there are any."""
    return {name: found for name, check in INVARIANTS.items() if (found := check(h))}


class Count(NamedTuple):
    """How often a campaign met something, and how often it must, each minute, to have shown anything."""

    met: int
    least: float = 0.0


def counts(h: History) -> dict[str, Count]:
    """What the history holds. Below the least of any, the campaign is vacuous."""
    starts = [one for one in h.effects if one.event == "start"]
    terms = {one.number for one in h.leads if one.mine}
    kinds = Counter(one.kind for one in h.strikes if one.hit)
    ops = Counter((op.verb, op.answer) for op in h.ops)
    submits = sum(ops["submit", answer] for answer in (OK, FAILED, UNCLEAR))
    scheduled = [run for run in h.final.runs if run.schedule]
    skips = sum(one.skipped for one in h.final.schedules)
    hands = defaultdict(set)
    for op in h.ops:
        if op.verb in ("create", "edit", "pause", "resume", "delete") and op.answer == OK:
            hands[op.subject].add(op.id.partition("/")[0])
    cancels = [op.more for op in h.ops if op.verb == "cancel" and op.answer == OK]
    return {
        "faults that hit": Count(sum(kinds.values()), 8),
        **{f"faults: {kind}": Count(number, 0.5) for kind, number in sorted(kinds.items())},
        "submissions": Count(submits, 200),
        "submissions acknowledged": Count(ops["submit", OK], 150),
        "submissions with an unknown outcome": Count(ops["submit", UNCLEAR], 1),
        "occurrences": Count(len(scheduled) + skips, 200),
        "occurrences skipped": Count(skips, 1),
        "runs": Count(len(h.final.runs), 300),
        "starts": Count(len(starts), 300),
        "attempts after the first": Count(sum(one.attempt > 1 for one in starts), 20),
        "attempts lost": Count(sum(run.lost for run in h.final.runs), 4),
        "leaders": Count(len(terms), 3),
        "leaders' writes": Count(sum(one.result == "applied" for one in h.writes), 50),
        "leaders' writes refused by their term": Count(sum(one.result == "stale" for one in h.writes), 1),
        "late reports refused": Count(sum(len(one.runs) for one in h.refusals), 1),
        "cancels that are absolute": Count(cancels.count("cancelled"), 2),
        "cancels of what ran": Count(cancels.count("cancelling"), 1),
        "edits, pauses and deletions": Count(sum(ops[verb, OK] for verb in ("edit", "pause", "delete")), 10),
        "schedules changed by several processes": Count(sum(len(one) > 1 for one in hands.values()), 2),
        "processes asked to leave": Count(len(h.exits), 1),
    }


def vacuous(h: History) -> list[str]:
    """What the campaign met too seldom to have shown anything."""
    minutes = (h.until - h.began) / 60_000
    return [
        f"{name}: {count.met}, at least {count.least * minutes:.0f}"
        for name, count in counts(h).items()
        if count.met < int(count.least * minutes)
    ]
