"""The invariants of leaders and schedules, each a pure function from a history to its violations."""

from collections import Counter, defaultdict
from itertools import pairwise

from rota.domain.schedule import CatchUp
from tests.chaos.history import FAILED, OK, REFUSED, History, Op
from tests.chaos.load import PERIOD_MS
from tests.chaos.reading import SLACK_MS, Violations, fixed, occurrences, skipped, uncovered

PHASED, STIRRED = ("create", "edit"), ("create", "pause", "resume", "delete")
"""What says when a schedule fires, and what whether it does."""


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


def edits_obeyed(h: History) -> Violations:
    """I12: what fires is what the newest answer says, whichever process asked: to a pause, delete, edit or another."""
    found = []
    acts: dict[str, list[Op]] = defaultdict(list)
    for op in h.ops:
        if op.verb in PHASED + STIRRED and op.answer not in (FAILED, REFUSED):
            acts[op.subject].append(op)
    unchanged = {schedule.id for schedule in fixed(h)}
    for run in h.final.runs:
        subject, moment = f"main/{run.schedule}", run.nominal_at
        if not run.schedule or moment is None or subject in unchanged:
            continue
        phased = _newest(h, [op for op in acts[subject] if op.verb in PHASED], moment)
        stirred = _newest(h, [op for op in acts[subject] if op.verb in STIRRED], moment)
        if phased and all(op.answer == OK and (moment - int(op.more)) % PERIOD_MS for op in phased):
            found.append(f"{subject} fired at {moment}, its phase was {sorted({op.more for op in phased})}")
        if stirred and all(op.verb in ("pause", "delete") for op in stirred):
            found.append(f"{subject} fired at {moment}, after {sorted({op.verb for op in stirred})}")
    return found


def _newest(h: History, acts: list[Op], moment: int) -> list[Op]:
    """Those of which any may be the newest at that instant, by the wall clock: begun by then, and answered after the
    last one began that was answered by then. What stays without an answer may happen at any time.
    """
    begun = [op for op in acts if h.wall(op.began) - h.skew(op.began) <= moment]
    known = [op for op in begun if op.answer == OK and op.ended is not None]
    over = [op.began for op in known if h.wall(op.ended or 0) + h.skew(op.ended or 0) < moment]
    return [op for op in begun if op not in known or (op.ended or 0) >= max(over, default=0)]


def catch_up(h: History) -> Violations:
    """I19: what a schedule missed is made up for exactly as its policy says."""
    found = []
    for schedule in fixed(h):
        policy = schedule.policy
        ranges = [one for one in h.final.skips if one.schedule == schedule.id] + (
            [schedule.skip] if schedule.skip else []
        )
        reasons = {one.reason for one in ranges}
        for one in ranges:
            quiet = uncovered(h.strikes, one.first_at - h.offset, one.last_at - h.offset)
            if one.reason == "misfire" and quiet > h.lease_ms + SLACK_MS:
                found.append(f"{schedule.id} passed over {one.count} as missed, {quiet} ms of them without a fault")
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
