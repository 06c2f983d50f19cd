"""The invariants of submissions and runs, each a pure function from a history to its violations."""

import json
from collections import Counter, defaultdict
from itertools import pairwise

from rota.domain.records import Until
from rota.domain.run import LOST_LIMIT, TERMINAL, Reason, Run, State
from rota.domain.schedule import Overlap
from tests.chaos.history import FAILED, OK, REFUSED, UNCLEAR, Effect, History
from tests.chaos.reading import SLACK_MS, Violations, by_id, frozen, marked, struck, uncovered

PATIENCE_MS = 10_000
PLANNED_TRIES = {"quick": 1, "slow": 1, "flaky": 3, "doomed": 3, "once": 1, "tick": 1, "link": 1, "poison": 1}
BACKOFF_MS = 300
RETURNS = ("returned", "no_handler", "snoozed")


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
            # Who failed may have been taken for lost meanwhile; then nobody pauses.
            if _lost(runs.get(one.run), before.attempt):
                continue
            if pause < BACKOFF_MS - 5 - h.skew(one.at):
                found.append(f"attempt {one.attempt} of run {one.run} came {pause} ms after its failure")
        last[one.run] = one
    return found


def _lost(run: Run | None, attempt: int) -> bool:
    return run is not None and any(one.number == attempt and one.reason == Reason.LOST for one in run.history)


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


def self_recovery(h: History) -> Violations:
    """I16: after the last fault every worker does useful work, without a restart."""
    seen = {one.pid for one in h.effects if one.event == "start" and one.at >= h.until}
    return [f"worker {pid} took nothing after the last fault" for pid in sorted(h.workers - seen)]


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
