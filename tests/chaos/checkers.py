"""The invariants of a campaign, each a pure function from a history to its violations.

The numbers are those of docs/chaos.md. Times are ms; a clock that the nemesis set wrong explains as much as it was set
wrong by, and nothing else is explained but by a strike in the nemesis log.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import NamedTuple

from rota.domain.records import Until
from rota.domain.run import LOST_LIMIT, TERMINAL, Run, State
from rota.domain.schedule import CatchUp, Overlap, Schedule
from tests.chaos.history import FAILED, OK, REFUSED, UNCLEAR, Effect, History, Op, Strike

SLACK_MS = 12_000
"""What a crowded machine may add to the time that taking over, taking back or starting takes."""
PATIENCE_MS = 10_000
PLANNED_TRIES = {"quick": 1, "slow": 1, "flaky": 3, "doomed": 3, "once": 1, "tick": 1, "link": 1, "poison": 1}
BACKOFF_MS = 300
RETURNS = ("returned", "no_handler", "snoozed")

Violations = list[str]
Checker = Callable[[History], Violations]


def single_leader(h: History) -> Violations:
    """I1: a term belongs to one process, numbers rise, and nothing of an old term is written after a new one began."""
    found, owners = [], defaultdict(set)
    granted = sorted((one for one in h.leads if one.mine), key=lambda one: one.ended)
    for one in granted:
        owners[one.number].add((one.holder, one.pid))
    found += [f"term {number} belongs to {sorted(who)}" for number, who in owners.items() if len(who) > 1]
    first: dict[int, int] = {}
    for one in granted:
        first.setdefault(one.number, one.ended)
    newest = 0
    for one in sorted(granted, key=lambda one: one.began):
        later = [number for number, ended in first.items() if number > one.number and ended < one.began]
        if later:
            found.append(f"term {one.number} was granted at {one.began}, after term {min(later)}")
        newest = max(newest, one.number)
    for write in h.writes:
        over = [number for number, ended in first.items() if number > write.number and ended < write.began]
        if over and write.result in ("applied", "conflict"):
            found.append(f"a write of term {write.number} was judged at {write.began}, after term {min(over)} began")
    return found


def leader_liveness(h: History) -> Violations:
    """I2: while no fault lasts, no more than a lease passes without a leader's write."""
    times = sorted(one.ended for one in h.writes if one.result == "applied")
    found = []
    for before, after in pairwise([h.began, *times, h.final.at]):
        quiet = uncovered(h.strikes, before, after)
        if quiet > h.lease_ms + SLACK_MS:
            found.append(f"nobody led from {before} to {after}, {quiet} ms of it without a fault")
    return found


def uncovered(strikes: Iterable[Strike], start: int, end: int) -> int:
    """How much of (start, end) no fault covers; a fault set wrong clocks covers as much again as they were wrong."""
    free, at = 0, start
    for one in sorted(strikes, key=lambda one: one.began):
        until = one.ended + (abs(one.ms) if one.kind == "clock" else 0)
        free += max(min(one.began, end) - at, 0)
        at = max(at, min(until, end))
    return free + max(end - at, 0)


def one_disposition(h: History) -> Violations:
    """I3: every occurrence is one run or lies in one skip, and nothing else was made."""
    found = []
    for schedule in fixed(h):
        runs = Counter(run.nominal_at for run in h.final.runs if run.schedule == schedule.name)
        expected = set(occurrences(schedule, schedule.accounted_from, schedule.cursor_at))
        covered = Counter(
            moment for moment in expected for first, last in skipped(h, schedule) if first <= moment <= last
        )
        found += [
            f"{schedule.id} at {moment}: runs: {runs[moment]}, skips: {covered[moment]}"
            for moment in sorted(expected)
            if runs[moment] + covered[moment] != 1
        ]
        found += [f"{schedule.id} at {moment}: nobody expected it" for moment in runs if moment not in expected]
        for op in h.ops:
            if op.verb == "create" and op.subject == schedule.id and op.answer == OK and op.ended:
                made = h.wall(op.ended) + h.skew(op.ended)
                if schedule.accounted_from > made:
                    found.append(
                        f"{schedule.id} was acknowledged at {made}, and answers from {schedule.accounted_from} on"
                    )
        behind = h.wall(h.until) - schedule.cursor_at
        if behind > 0:
            found.append(f"{schedule.id} is {behind} ms behind")
    return found


def fixed(h: History) -> list[Schedule]:
    """Schedules that nobody changed."""
    changed = {op.subject for op in h.ops if op.verb in ("edit", "pause", "resume", "delete")}
    return [one for one in h.final.schedules if one.id not in changed]


def occurrences(schedule: Schedule, start: int, end: int) -> Iterable[int]:
    """By arithmetic of our own: all schedules of a campaign are intervals, or each second by cron."""
    period = getattr(schedule.trigger, "every_ms", 1_000)
    anchor = getattr(schedule.trigger, "anchor_at", 0)
    first = start - (start - anchor) % period + period
    return range(first, end + 1, period)


def skipped(h: History, schedule: Schedule) -> list[tuple[int, int]]:
    ranges = [one for one in h.final.skips if one.schedule == schedule.id] + ([schedule.skip] if schedule.skip else [])
    return [(one.first_at, one.last_at) for one in ranges]


def in_time(h: History) -> Violations:
    """I4: never before the nominal time, and late only while there are faults."""
    found = []
    seen: set[str] = set()
    for one in h.effects:
        if one.event != "start" or one.nominal is None:
            continue
        early = one.nominal - h.wall(one.at)
        if early > h.skew(one.at):
            found.append(f"run {one.run} started {early} ms before its nominal time")
        late = uncovered(h.strikes, one.nominal - h.offset, one.at)
        if one.task == "tick" and one.run not in seen and late > h.lease_ms + SLACK_MS:
            found.append(f"run {one.run} started {late} quiet ms after its nominal time")
        seen.add(one.run)
    return found


def durable(h: History) -> Violations:
    """I5: what was acknowledged is there, what was refused is not."""
    found = []
    runs = by_id(h)
    marks = marked(h)
    hoped = {op.subject for op in h.ops if op.verb in ("submit", "other") and op.answer in (OK, UNCLEAR)}
    schedules = {one.id for one in h.final.schedules}
    gone = {op.subject for op in h.ops if op.verb == "delete" and op.answer != FAILED}
    for op in h.ops:
        if op.verb in ("submit", "other", "cancel") and op.answer == OK and op.run not in runs:
            found.append(f"{op.verb} {op.subject} was acknowledged, and run {op.run} is not there")
        if op.verb == "submit" and op.answer == FAILED and op.subject in marks and op.subject not in hoped:
            found.append(f"submission {op.subject} was said not to have happened, and has")
        if op.verb == "create" and op.answer == OK and op.subject not in schedules | gone:
            found.append(f"schedule {op.subject} was acknowledged, and is not there")
        if op.verb == "delete" and op.answer == OK and op.subject in schedules:
            found.append(f"the end of schedule {op.subject} was acknowledged, and it is there")
    return found


def by_id(h: History) -> dict[str, Run]:
    return {run.id: run for run in h.final.runs}


def marked(h: History) -> dict[str, list[Run]]:
    """Runs by the mark that their submission put into the payload; large payloads are elsewhere, and not looked at."""
    found = defaultdict(list)
    for run in h.final.runs:
        if run.payload and not run.schedule:
            found[json.loads(run.payload).get("op", "")].append(run)
    return found


def idempotent(h: History) -> Violations:
    """I6: one key, one run, and the same key with another body is refused."""
    found, runs = [], defaultdict(set)
    for op in h.ops:
        if op.verb in ("submit", "other") and op.answer == OK:
            runs[op.subject].add(op.run)
    found += [f"key {key} led to runs {sorted(ids)}" for key, ids in runs.items() if len(ids) > 1]
    found += [f"key {key} made {len(made)} runs" for key, made in marked(h).items() if key and len(made) > 1]
    firsts = {op.subject: op.began for op in h.ops if op.verb == "submit" and op.answer == OK}
    for op in h.ops:
        if op.verb == "other" and op.answer == OK and firsts.get(op.subject, op.began) < op.began:
            found.append(f"key {op.subject} was taken with another body")
    return found


def terminal(h: History) -> Violations:
    """I7: everything ends, and what has ended stays as it was."""
    found = [f"run {run.id} of {run.task} is {run.state}" for run in h.final.runs if run.state not in TERMINAL]
    runs = by_id(h)
    for op in h.ops:
        if op.verb == "look" and op.answer == OK and op.run in runs:
            state, _, attempt = op.more.partition(":")
            now = runs[op.run]
            if state in TERMINAL and (state, attempt) != (now.state, str(now.attempt)):
                found.append(f"run {op.run} was {op.more} at {op.ended}, and is {now.state}:{now.attempt}")
    return found


def fenced(h: History) -> Violations:
    """I8: each attempt is one, its successor starts only where a fault explains it, and only the newest one counts."""
    found = []
    starts: dict[str, list[Effect]] = defaultdict(list)
    ends = {(one.run, one.attempt, one.token): one.at for one in h.effects if one.event != "start"}
    for one in h.effects:
        if one.event == "start":
            starts[one.run].append(one)
    runs = by_id(h)
    for run, attempts in starts.items():
        numbers = Counter(one.attempt for one in attempts)
        found += [f"attempt {number} of run {run} started {n} times" for number, n in numbers.items() if n > 1]
        for before, after in pairwise(sorted(attempts, key=lambda one: one.attempt)):
            end = ends.get((run, before.attempt, before.token), h.final.at)
            if end > after.at and not struck(h, before.pid, before.at, after.at):
                found.append(
                    f"attempt {after.attempt} of run {run} started while {before.attempt} was running unharmed"
                )
        if run in runs and runs[run].state is State.SUCCESS:
            final = runs[run]
            if final.result is not None and json.loads(final.result) != final.attempt:
                found.append(f"run {run} has the result of attempt {final.result!r}, its newest is {final.attempt}")
    return found


def struck(h: History, pid: int, start: int, end: int) -> bool:
    """Whether a fault befell this process, or the store as a whole, so that its session may have lapsed."""
    return any(
        one.pid in (pid, 0) and one.kind != "clock" and one.began <= end and one.ended >= start - 2 * h.lease_ms
        for one in h.strikes
    )


def bounded(h: History) -> Violations:
    """I9: starts ≤ tries + lost + returned, tries ≤ the policy's, pauses ≥ the policy's, on_lost=fail starts once."""
    found = []
    starts = Counter(one.run for one in h.effects if one.event == "start")
    runs = by_id(h)
    for name, count in starts.items():
        run = runs.get(name)
        if run is None:
            found.append(f"run {name} started, and is not there")
            continue
        tries = PLANNED_TRIES[run.task]
        returned = sum(one.reason in RETURNS for one in run.history)
        unended = run.state not in TERMINAL or run.state is State.CANCELLED
        if count > run.tries + run.lost + returned + unended or run.tries > tries:
            found.append(f"run {name} of {run.task} started {count} times: tries {run.tries}, returned {returned}")
        if run.lost > LOST_LIMIT + 1 or (run.task == "once" and count > 1):
            found.append(f"run {name} of {run.task} started {count} times, lost {run.lost} times")
    last: dict[str, Effect] = {}
    for one in h.effects:
        before = last.get(one.run)
        if one.event == "start" and before and before.event == "fail" and before.attempt + 1 == one.attempt:
            pause = one.at - before.at
            if pause < BACKOFF_MS - 5 - h.skew(one.at):
                found.append(f"attempt {one.attempt} of run {one.run} came {pause} ms after its failure")
        last[one.run] = one
    return found


def in_order(h: History) -> Violations:
    """I10: who waits for an earlier one starts after its end. A zombie's end is none: the newest attempt's counts."""
    found = []
    runs = by_id(h)
    starts: dict[str, int] = {}
    ends: dict[str, int] = {}
    for one in h.effects:
        if one.event == "start":
            starts.setdefault(one.run, one.at)
        elif one.run in runs and one.attempt == runs[one.run].attempt:
            ends[one.run] = one.at
    for schedule in h.final.schedules:
        if schedule.policy.overlap not in (Overlap.BUFFER_ALL, Overlap.BUFFER_ONE):
            continue
        chain = sorted(
            (run for run in runs.values() if run.schedule == schedule.name), key=lambda run: run.nominal_at or 0
        )
        for before, after in pairwise(chain):
            if before.state is State.SUCCESS and starts.get(after.id, h.final.at) < ends.get(before.id, 0):
                found.append(f"run {after.id} started before {before.id}, which it waits for, had ended")
    return found


def cancelled(h: History) -> Violations:
    """I11: after `cancelled` nothing starts, and after either answer the run ends so."""
    found = []
    runs = by_id(h)
    starts = defaultdict(list)
    for one in h.effects:
        if one.event == "start":
            starts[one.run].append(one)
    for op in h.ops:
        if op.verb != "cancel" or op.answer != OK or op.run not in runs or op.ended is None:
            continue
        if runs[op.run].state is not State.CANCELLED:
            found.append(f"run {op.run} was {op.more} at {op.ended}, and is {runs[op.run].state}")
        late = [one for one in starts[op.run] if op.more == "cancelled" and one.at > op.ended]
        found += [
            f"attempt {one.attempt} of run {op.run} started at {one.at}, cancelled at {op.ended}"
            for one in late
            if not frozen(h, one.pid, op.ended, one.at)
        ]
    return found


def frozen(h: History, pid: int, start: int, end: int) -> bool:
    """Whether this process was frozen then: what it was about to do, it does when it wakes, and is refused for."""
    return any(
        one.pid == pid and ("freeze" in one.kind or "stops" in one.kind) and one.began <= end and one.ended >= start
        for one in h.strikes
    )


def edits_obeyed(h: History) -> Violations:
    """I12: after the answer to a pause, delete or edit no occurrence is one of before."""
    found = []
    acts: dict[str, list[Op]] = defaultdict(list)
    for op in h.ops:
        if op.verb in ("create", "edit", "pause", "resume", "delete"):
            acts[op.subject].append(op)
    fired: dict[str, list[int]] = defaultdict(list)
    for run in h.final.runs:
        if run.schedule and run.nominal_at is not None:
            fired[f"main/{run.schedule}"].append(run.nominal_at)
    unchanged = {schedule.id for schedule in fixed(h)}
    for subject, ops in acts.items():
        for before, after in () if subject in unchanged else pairwise([*ops, None]):
            if before is None or before.answer != OK or before.ended is None:
                continue
            start = h.wall(before.ended) + h.skew(before.ended)
            end = h.wall(after.began) - h.skew(after.began) if after else None
            within = [moment for moment in fired[subject] if moment > start and (end is None or moment < end)]
            wrong = within
            if before.verb in ("create", "edit"):
                wrong = [moment for moment in within if (moment - int(before.more)) % 500]
            elif before.verb == "resume":
                wrong = []
            found += [f"{subject} fired at {moment}, {before.verb} was acknowledged at {start}" for moment in wrong]
    return found


def self_recovery(h: History) -> Violations:
    """I16: after the last fault every worker does useful work, without a restart."""
    seen = {one.pid for one in h.effects if one.event == "start" and one.at >= h.until}
    return [f"worker {pid} took nothing after the last fault" for pid in sorted(h.workers - seen)]


def catch_up(h: History) -> Violations:
    """I19: what a schedule missed is made up for exactly as its policy says."""
    found = []
    for schedule in fixed(h):
        policy = schedule.policy
        ranges = [one for one in h.final.skips if one.schedule == schedule.id] + (
            [schedule.skip] if schedule.skip else []
        )
        reasons = {one.reason for one in ranges}
        late: dict[int, list[int]] = defaultdict(list)
        for run in h.final.runs:
            nominal = run.nominal_at if run.schedule == schedule.name else None
            if nominal is not None and run.created_at - nominal > policy.misfire_ms:
                late[run.created_at].append(nominal)
        if policy.catch_up is CatchUp.ALL and reasons & {"misfire", "maximum", "window"}:
            found.append(f"{schedule.id} makes up for all, and skipped some: {sorted(reasons)}")
        if policy.catch_up is CatchUp.SKIP:
            found += [f"{schedule.id} skips what it missed, and made up for {moments}" for moments in late.values()]
        if policy.catch_up is CatchUp.LATEST:
            many = [moments for moments in late.values() if len(moments) > 1]
            found += [f"{schedule.id} makes up for the latest, and made up for {moments}" for moments in many]
    return found


def whole(h: History) -> Violations:
    """I22: what belongs together is there together: runs with their keys, large values and counts."""
    found = []
    runs = by_id(h)
    keys = {one.id: one for one in h.final.uniques}
    for run in h.final.runs:
        found += [f"run {run.id} has lost its key {key}" for key in run.keys if key not in keys]
        if run.payload is None and f"{run.id}/payload" not in h.final.blobs:
            found.append(f"run {run.id} has lost its payload")
    for key in h.final.uniques:
        owner = runs.get(key.run)
        if owner is None or (key.until is Until.TERMINAL and owner.state in TERMINAL):
            found.append(f"key {key.id} belongs to run {key.run}, which {'has ended' if owner else 'is not there'}")
    fired = Counter(run.schedule for run in h.final.runs if run.schedule and run.cause == "schedule")
    for schedule in h.final.schedules:
        if schedule.fired != fired[schedule.name]:
            found.append(f"{schedule.id} says it fired {schedule.fired}, its runs are {fired[schedule.name]}")
    counted = sum(one.count for one in h.final.tallies)
    ended = sum(run.state in TERMINAL for run in h.final.runs)
    if counted != ended:
        found.append(f"{ended} runs have ended, {counted} were counted")
    if h.final.report is None or h.final.report.unaccounted:
        found.append(f"the house's own account: {h.final.report}")
    return found


def refusal(h: History) -> Violations:
    """I24: whoever asks is told `ok`, `failed`, `unclear` or `refused`, and is served again when the fault is over."""
    usual = {OK, FAILED, UNCLEAR, REFUSED}
    found = [f"{op.verb} {op.subject} met {op.answer}: {op.more}" for op in h.ops if op.answer not in usual]
    served = sorted(op.ended for op in h.ops if op.answer == OK and op.ended)
    for before, after in pairwise([h.began, *served, max(h.until, *served[-1:], h.began)]):
        quiet = uncovered(h.strikes, before, after)
        if quiet > PATIENCE_MS + SLACK_MS:
            found.append(f"nobody was served from {before} to {after}, {quiet} ms of it without a fault")
    return found


def planned_restart(h: History) -> Violations:
    """I27: who is asked to leave leaves in order and loses nothing; only who meets a fault as it begins may give up."""
    whole = h._replace(strikes=tuple(one for one in h.strikes if one.kind != "death"))
    found = [
        f"{one.name} ended with {one.code}"
        for one in h.exits
        if one.code and not struck(whole, one.pid, one.began, one.ended)
    ]
    healthy = {one.name for one in h.exits if not struck(h, one.pid, one.began - 4 * h.lease_ms, one.ended)}
    names = {one.id: one.worker for one in h.final.sessions if not one.reason.startswith("lapsed")}
    for run in h.final.runs:
        losers = [names.get(attempt.session) for attempt in run.history if attempt.reason == "lost"]
        found += [f"run {run.id} was lost by {name}, which left in order" for name in losers if name in healthy]
    return found


INVARIANTS: dict[str, Checker] = {
    "I1": single_leader,
    "I2": leader_liveness,
    "I3": one_disposition,
    "I4": in_time,
    "I5": durable,
    "I6": idempotent,
    "I7": terminal,
    "I8": fenced,
    "I9": bounded,
    "I10": in_order,
    "I11": cancelled,
    "I12": edits_obeyed,
    "I16": self_recovery,
    "I19": catch_up,
    "I22": whole,
    "I24": refusal,
    "I27": planned_restart,
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
        "leaders' writes refused by their term": Count(sum(one.result == "stale" for one in h.writes), 0.7),
        "late reports refused": Count(sum(len(one.runs) for one in h.refusals), 1),
        "cancels that are absolute": Count(cancels.count("cancelled"), 2),
        "cancels of what ran": Count(cancels.count("cancelling"), 1),
        "edits, pauses and deletions": Count(sum(ops[verb, OK] for verb in ("edit", "pause", "delete")), 10),
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
