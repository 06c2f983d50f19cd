"""The time policy against a slow twin that walks every occurrence, one by one, and books each by itself."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rota.domain.ids import occurrence_id
from rota.domain.schedule import BUFFER_LIMIT, CatchUp, Overlap, Policy, Schedule, Skip, SkipReason
from rota.domain.timing import FIRE_LIMIT, edited, paused, plan, resumed, started
from rota.domain.triggers import AnyOf, Cron, Interval, Once
from rota.testing.clock import START_AT

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000

intervals = st.builds(Interval, st.sampled_from([1, 7, 10, 60]).map(lambda one: one * SECOND), st.just(START_AT))
crons = st.builds(
    Cron, st.sampled_from(["* * * * *", "*/20 * * * * *", "7,8 * * * *"]), st.sampled_from(["UTC", "Europe/Berlin"])
)
combined = st.builds(lambda *two: AnyOf(two), intervals, crons)
endings = st.integers(1, 10_000).map(lambda second: Once(START_AT + second * SECOND))
triggers = st.one_of(intervals, intervals, crons, combined, endings)
YEAR = 365 * 24 * HOUR
policies = st.builds(
    Policy,
    catch_up=st.sampled_from(CatchUp),
    window_ms=st.sampled_from([YEAR, YEAR, YEAR, MINUTE, 0]),
    max_runs=st.sampled_from([1, 2, 19, 20, 21, 100]),
    start_deadline_ms=st.sampled_from([None, None, None, SECOND, 10 * MINUTE]),
    overlap=st.sampled_from(Overlap),
    misfire_ms=st.sampled_from([5 * SECOND, 5 * SECOND, 1, 5 * MINUTE]),
)
gaps = st.one_of(
    st.integers(0, 20).map(lambda one: one * SECOND), st.integers(0, 300 * SECOND), st.integers(0, 2_000 * SECOND)
)
looks = st.tuples(st.just("look"), gaps, st.integers(0, 3))
deeds = st.one_of(
    looks,
    looks,
    looks,
    st.tuples(st.sampled_from(["pause", "resume", "catch up"]), gaps, st.integers(0, 3)),
    st.tuples(st.tuples(triggers, policies), gaps, st.just(0)),
)


def walk(trigger, start, end):
    moment = trigger.after(start)
    while moment is not None and moment <= end:
        yield moment
        moment = trigger.after(moment)


class Twin:
    """What became of each occurrence: a reason to skip it, or `fire` (and, `waiting`, behind whom)."""

    def __init__(self, trigger, policy):
        self.trigger, self.policy = trigger, policy
        self.cursor, self.paused = START_AT, False
        self.booked, self.waiting = {}, {}

    def rest(self, now, reason):
        self.booked |= dict.fromkeys(walk(self.trigger, self.cursor, now), reason)
        self.cursor = now

    def look(self, now, live):
        """The instants that fire; looks no further than the last of FIRE_LIMIT wanted ones."""
        verdicts = self.judged(now)
        wanted = [moment for moment, verdict in verdicts.items() if verdict == "fire"]
        cut, wanted = wanted[FIRE_LIMIT - 1] if len(wanted) > FIRE_LIMIT else now, wanted[:FIRE_LIMIT]
        fires = []
        for moment, verdict in verdicts.items():
            if moment > cut:
                break
            booked = self.judged_by_overlap(live, moment == wanted[-1]) if verdict == "fire" else verdict
            if booked == "fire":
                self.waiting[moment] = live[-1] if live and self.policy.overlap is not Overlap.ALLOW else ""
                live = [*live, occurrence_id("main/s", moment)]
                fires.append(moment)
            self.booked[moment] = booked
        self.cursor = cut
        return fires

    def judged(self, now):
        policy, verdicts = self.policy, {}
        occurrences = list(walk(self.trigger, self.cursor, now))
        missed = [moment for moment in occurrences if moment <= now - policy.misfire_ms]
        young = []
        deadline = policy.start_deadline_ms if policy.start_deadline_ms is not None else 10**15
        for moment in missed:
            if moment > now - policy.window_ms and moment > now - deadline:
                young.append(moment)
            else:
                verdicts[moment] = SkipReason.WINDOW if policy.window_ms <= deadline else SkipReason.MISSED_START
        chosen: list[int] = {
            CatchUp.ALL: young[-policy.max_runs :],
            CatchUp.EARLIEST: young[:1],
            CatchUp.LATEST: young[-1:] if missed == occurrences else [],
            CatchUp.SKIP: [],
        }[policy.catch_up]
        reason = SkipReason.MAXIMUM if policy.catch_up is CatchUp.ALL else SkipReason.MISFIRE
        verdicts |= {moment: "fire" if moment in set(chosen) else reason for moment in young}
        return verdicts | dict.fromkeys(occurrences[len(missed) :], "fire")

    def judged_by_overlap(self, live, newest):
        match self.policy.overlap:
            case Overlap.SKIP if live:
                return SkipReason.OVERLAP
            case Overlap.BUFFER_ONE if len(live) > 1:
                return SkipReason.BUFFER_FULL
            case Overlap.BUFFER_ALL if len(live) > BUFFER_LIMIT:
                return SkipReason.BUFFER_FULL
            case Overlap.CANCEL_OTHER if not newest:
                return SkipReason.OVERLAP
        return "fire"


class Pair:
    """A schedule and its twin, told the same."""

    def __init__(self, trigger, policy):
        self.now = START_AT
        self.schedule = started(Schedule("main", "s", "t", trigger, policy=policy), self.now)
        self.twin = Twin(trigger, policy)
        self.ranges, self.fired = [], []

    def look(self):
        """As often as it is due now."""
        while self.schedule.next_at is not None and self.schedule.next_at <= self.now:
            before = self.schedule.cursor_at
            made = plan(self.schedule, self.now, self.schedule.open)
            assert [fire.nominal_at for fire in made.fires] == self.twin.look(self.now, list(self.schedule.open))
            if self.schedule.policy.overlap is not Overlap.ALLOW:
                assert all(fire.waits_for == self.twin.waiting[fire.nominal_at] for fire in made.fires)
            replaced = self.schedule.policy.overlap is Overlap.CANCEL_OTHER and made.fires
            assert made.cancels == (self.schedule.open if replaced else ())
            assert made.schedule.cursor_at > before or made.schedule.next_at is None or made.fires
            self.fired += [fire.nominal_at for fire in made.fires]
            self.ranges += made.skips
            self.schedule = made.schedule
        left = walk(self.twin.trigger, self.schedule.cursor_at, self.now)
        assert self.schedule.paused or not list(left)

    def do(self, deed, gap, ended):
        self.now += gap
        self.schedule = replace(self.schedule, open=self.schedule.open[ended:])
        skips: tuple[Skip, ...] = ()
        if deed == "pause" and not self.schedule.paused:
            self.schedule, self.twin.paused = paused(self.schedule, "why", self.now), True
        elif deed in ("resume", "catch up") and self.schedule.paused:
            self.schedule, skips = resumed(self.schedule, self.now, deed == "catch up")
            self.twin.paused = False
            if deed == "resume":
                self.twin.rest(self.now, SkipReason.PAUSED)
        elif isinstance(deed, tuple) and deed[0].after(self.now) is not None:
            trigger, policy = deed
            wanted = replace(self.schedule, trigger=trigger, policy=policy)
            self.schedule, skips = edited(self.schedule, wanted, self.now)
            self.twin.rest(self.now, SkipReason.PAUSED if self.twin.paused else SkipReason.EDITED)
            self.twin.trigger, self.twin.policy = trigger, policy
        self.ranges += skips
        self.look()


def dispositions(pair):
    """Each occurrence as the ranges and fires have it, checked to be there once."""
    growing = [pair.schedule.skip] if pair.schedule.skip else []
    booked = dict.fromkeys(pair.fired, "fire")
    assert len(booked) == len(pair.fired)
    for skip in pair.ranges + growing:
        inside = [moment for moment in pair.twin.booked if skip.first_at <= moment <= skip.last_at]
        assert len(inside) == skip.count
        assert (inside[0], inside[-1]) == (skip.first_at, skip.last_at)
        assert not booked.keys() & set(inside)
        booked |= dict.fromkeys(inside, skip.reason)
    return booked


def told(trigger, policy, story):
    pair = Pair(trigger, policy)
    for deed in story:
        pair.do(*deed)
    assert dispositions(pair) == pair.twin.booked
    assert all(one < other for one, other in pairwise(pair.fired))
    ranges = sorted(pair.ranges + ([pair.schedule.skip] if pair.schedule.skip else []), key=lambda one: one.first_at)
    assert all(one.last_at < other.first_at for one, other in pairwise(ranges))
    assert len({skip.id for skip in ranges}) == len(ranges)
    assert pair.schedule.fired == len(pair.fired)
    counted = Counter(verdict == "fire" for verdict in pair.twin.booked.values())
    assert pair.schedule.skipped == counted[False]
    assert pair.schedule.cursor_at == pair.twin.cursor
    assert pair.schedule.next_at == (None if pair.twin.paused else pair.twin.trigger.after(pair.twin.cursor))
    return pair


@settings(max_examples=200)
@given(triggers, policies, st.lists(deeds, min_size=4, max_size=12))
def test_every_occurrence_has_the_one_disposition_that_the_twin_finds(trigger, policy, story):
    told(trigger, policy, story)


def drawn(random):
    """As the strategies, but drawn evenly: shrinking loves short gaps, in which nothing happens."""
    every = random.choice([1, 7, 10, 60]) * SECOND
    trigger = random.choice([Interval(every, START_AT), Cron("* * * * *"), Cron("*/20 * * * * *", "Europe/Berlin")])
    policy = Policy(
        random.choice(list(CatchUp)),
        window_ms=random.choice([YEAR, YEAR, YEAR, MINUTE, 0]),
        max_runs=random.choice([1, 2, 19, 20, 21, 100]),
        start_deadline_ms=random.choice([None, None, None, SECOND, 10 * MINUTE]),
        overlap=random.choice(list(Overlap)),
        misfire_ms=random.choice([5 * SECOND, 5 * SECOND, 1, 5 * MINUTE]),
    )
    return trigger, policy


def drawn_story(random):
    story = []
    for _ in range(random.randint(4, 12)):
        deed = random.choice(["look", "look", "look", "look", "pause", "resume", "catch up", drawn(random)])
        periods, every = random.choice([1, 2, 20, 200]), random.choice([SECOND, 10 * SECOND, MINUTE])
        gap = random.choice([0, random.randint(0, 20) * SECOND, random.randint(0, periods * every)])
        story.append((deed, gap, random.choice([0, 0, 1, 3])))
    return story


@pytest.mark.parametrize("batch", range(4))
def test_stories_drawn_evenly_have_the_dispositions_of_the_twin(batch):
    fires = 0
    reasons: Counter[str] = Counter()
    for seed in range(batch * 100, batch * 100 + 100):
        random = Random(seed)
        trigger, policy = drawn(random)
        pair = told(trigger, policy, drawn_story(random))
        fires += len(pair.fired)
        reasons.update(pair.twin.booked.values())
    assert fires > 200
    assert not set(SkipReason) - set(reasons)
