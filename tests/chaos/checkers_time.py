"""The invariants of leaders and schedules, each a pure function from a history to its violations."""

from collections import Counter, defaultdict
from itertools import pairwise

from rota.domain.schedule import CatchUp
from tests.chaos.history import OK, History, Op
from tests.chaos.reading import SLACK_MS, Violations, fixed, occurrences, skipped, uncovered


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
