from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import pytest

from rota.domain.errors import Invalid
from rota.domain.ids import occurrence_id
from rota.domain.schedule import BUFFER_LIMIT, CatchUp, Overlap, Policy, Schedule, Skip, SkipReason
from rota.domain.timing import (
    FIRE_LIMIT,
    Fire,
    edited,
    overlap,
    paused,
    plan,
    preview,
    resumed,
    started,
    upcoming,
)
from rota.domain.triggers import AnyOf, Cron, Interval, Once
from rota.testing.clock import START_AT

MINUTE, HOUR, YEAR = 60_000, 3_600_000, 365 * 86_400_000
HALF = MINUTE // 2


@dataclass
class Counted:
    """A trigger that counts what it is asked."""

    trigger: Any
    questions: int = 0

    def after(self, moment):
        self.questions += 1
        return self.trigger.after(moment)

    def last(self, start, end):
        self.questions += 1
        return self.trigger.last(start, end)

    def count(self, start, end):
        self.questions += 1
        return self.trigger.count(start, end)

    def to_json(self):
        return self.trigger.to_json()


EACH_MINUTE = Interval(MINUTE)


def schedule(trigger=EACH_MINUTE, **policy):
    return started(Schedule("main", "s", "t", trigger, policy=Policy(**policy)), START_AT)


def minute(number):
    return START_AT + number * MINUTE


def nominal(made):
    return [fire.nominal_at for fire in made.fires]


def caught_up(one, now):
    """Looks until nothing is due: the instants fired, the ranges skipped, the schedule then, and the slowest look."""
    fired: list[int] = []
    skips: list[Skip] = []
    slowest = 0.0
    while one.next_at is not None and one.next_at <= now:
        began = perf_counter()
        made = plan(one, now, ())
        slowest = max(slowest, perf_counter() - began)
        fired, skips, one = fired + nominal(made), [*skips, *made.skips], made.schedule
    return fired, [*skips, *([one.skip] if one.skip else [])], one, slowest


EVERY_MINUTE: dict[str, Any] = {
    "interval": Interval(MINUTE),
    "cron": Cron("* * * * *", "Europe/Berlin"),
    "combined": AnyOf([Interval(MINUTE), Cron("0 * * * *")]),
}
POLICIES = {
    CatchUp.SKIP: lambda missed: [],
    CatchUp.LATEST: lambda missed: missed[-1:],
    CatchUp.EARLIEST: lambda missed: missed[:1],
    CatchUp.ALL: lambda missed: missed[-100:],
}


@pytest.mark.parametrize("kind", EVERY_MINUTE)
@pytest.mark.parametrize("catch_up", CatchUp)
@pytest.mark.parametrize("periods", [0, 1, 99, 100, 101, 1_000, 100_000])
def test_an_outage_of_any_length_is_caught_up_exactly_and_without_walking(kind, catch_up, periods):
    trigger = Counted(EVERY_MINUTE[kind])
    one = schedule(trigger, catch_up=catch_up, overlap=Overlap.ALLOW)
    trigger.questions = 0
    fired, skips, after, slowest = caught_up(one, minute(periods) + HALF)
    assert trigger.questions < 300
    assert slowest < 0.05 or caught_up(one, minute(periods) + HALF)[3] < 0.05
    assert fired == POLICIES[catch_up]([minute(number) for number in range(1, periods + 1)])
    assert sum(skip.count for skip in skips) == periods - len(fired) == after.skipped
    assert after.fired == len(fired)
    assert after.next_at == minute(periods + 1)
    normal = plan(after, minute(periods + 1) + 3, ())
    assert nominal(normal) == [minute(periods + 1)]
    assert normal.schedule.next_at == minute(periods + 2)


def test_an_occurrence_on_time_asks_its_trigger_no_more_than_it_must():
    """For itself, whether there is another one by now, and for the next look."""
    trigger = Counted(EACH_MINUTE)
    one = schedule(trigger)
    trigger.questions = 0
    assert nominal(plan(one, minute(1) + 3, ())) == [minute(1)]
    assert trigger.questions == 3


def test_an_occurrence_on_time_is_fired_whatever_catch_up_says():
    for catch_up in CatchUp:
        one = schedule(catch_up=catch_up)
        assert nominal(plan(one, minute(1), ())) == [minute(1)]
        assert nominal(plan(one, minute(1) + 4_999, ())) == [minute(1)]


def test_nothing_is_due_before_its_time_and_the_look_changes_nothing_but_the_cursor():
    one = schedule()
    made = plan(one, minute(1) - 1, ())
    assert made == (replace(one, cursor_at=minute(1) - 1), (), (), ())


def test_one_at_rest_stays_as_it_is():
    resting = paused(schedule(), "by hand", minute(1))
    assert plan(resting, minute(3), ()) == (resting, (), (), ())


def test_a_clock_set_back_does_not_set_the_cursor_back():
    one = plan(schedule(), minute(1), ()).schedule
    made = plan(one, minute(0), one.open)
    assert made.schedule == one
    assert not made.fires


def test_the_newest_that_is_on_time_makes_up_for_the_missed_ones_under_latest():
    made = plan(schedule(catch_up=CatchUp.LATEST), minute(10), ())
    assert nominal(made) == [minute(10)]
    assert made.skips == (Skip("main/s", 1, minute(1), minute(9), 9, SkipReason.MISFIRE),)


def test_the_earliest_missed_one_runs_before_those_that_are_skipped_and_those_on_time():
    made = plan(schedule(catch_up=CatchUp.EARLIEST, overlap=Overlap.ALLOW), minute(10), ())
    assert nominal(made) == [minute(1), minute(10)]
    assert made.skips == (Skip("main/s", 1, minute(2), minute(9), 8, SkipReason.MISFIRE),)


def test_the_earliest_missed_one_is_the_only_one_however_few_one_look_may_fire():
    one = schedule(catch_up=CatchUp.EARLIEST, overlap=Overlap.ALLOW)
    fired: list[int] = []
    while one.next_at is not None and one.next_at <= minute(10) + HALF:
        made = plan(one, minute(10) + HALF, (), limit=1)
        fired, one = fired + nominal(made), made.schedule
    assert fired == [minute(1)]
    assert one.skip == Skip("main/s", 1, minute(2), minute(10), 9, SkipReason.MISFIRE)


@pytest.mark.parametrize("catch_up", CatchUp)
def test_one_that_is_missed_by_nothing_is_disposed_of_like_those_before(catch_up):
    """At the very instant from which on an occurrence is on time."""
    made = plan(schedule(catch_up=catch_up, misfire_ms=HALF), minute(1) + HALF, ())
    assert (len(made.fires), made.schedule.skipped) == ((0, 1) if catch_up is CatchUp.SKIP else (1, 0))


def test_an_earliest_one_that_overlaps_is_booked_before_those_behind_it():
    made = plan(schedule(catch_up=CatchUp.EARLIEST), minute(10), ("earlier",))
    assert [(skip.first_at, skip.last_at, skip.reason) for skip in made.skips] == [
        (minute(1), minute(1), SkipReason.OVERLAP),
        (minute(2), minute(9), SkipReason.MISFIRE),
    ]
    assert made.schedule.skip == Skip("main/s", 1, minute(10), minute(10), 1, SkipReason.OVERLAP)


@pytest.mark.parametrize("catch_up", CatchUp)
def test_an_occurrence_that_newer_zone_data_has_earlier_is_not_left_out(catch_up):
    one = replace(schedule(Once(minute(1)), catch_up=catch_up), next_at=minute(2))
    made = plan(one, minute(2), ())
    assert (len(made.fires), made.schedule.skipped) == ((0, 1) if catch_up is CatchUp.SKIP else (1, 0))


def test_what_is_older_than_the_window_is_skipped_as_such():
    made = plan(schedule(catch_up=CatchUp.ALL, window_ms=3 * MINUTE, overlap=Overlap.ALLOW), minute(10) + HALF, ())
    assert nominal(made) == [minute(8), minute(9), minute(10)]
    assert made.skips == (Skip("main/s", 1, minute(1), minute(7), 7, SkipReason.WINDOW),)


def test_what_cannot_start_in_time_any_more_is_skipped_as_such():
    made = plan(schedule(catch_up=CatchUp.LATEST, start_deadline_ms=10_000), minute(3) + HALF, ())
    assert not made.fires
    assert made.schedule.skip == Skip("main/s", 1, minute(1), minute(3), 3, SkipReason.MISSED_START)


def test_the_growing_range_goes_on_while_its_reason_lasts_and_is_closed_by_a_run():
    one = schedule()
    for number in range(1, 4):
        made = plan(one, minute(number), ("earlier",))
        assert not made.skips
        one = made.schedule
    assert one.skip == Skip("main/s", 1, minute(1), minute(3), 3, SkipReason.OVERLAP)
    made = plan(one, minute(4), ())
    assert made.skips == (one.skip,)
    assert made.schedule.skip is None


@pytest.mark.parametrize("given", [1, 5, FIRE_LIMIT])
def test_no_look_fires_more_than_its_limit_and_the_next_one_goes_on_behind_it(given):
    one = schedule(catch_up=CatchUp.ALL, overlap=Overlap.ALLOW)
    first = plan(one, minute(50) + HALF, (), given)
    assert nominal(first) == [minute(number) for number in range(1, given + 1)]
    assert first.schedule.next_at == minute(given + 1)
    assert nominal(plan(first.schedule, minute(50) + HALF, (), 1)) == [minute(given + 1)]


def test_a_first_occurrence_leaves_no_room_for_a_second_of_its_batch_under_skip():
    made = plan(schedule(catch_up=CatchUp.ALL), minute(3) + HALF, ())
    assert nominal(made) == [minute(1)]
    assert made.schedule.open == (occurrence_id("main/s", minute(1)),)
    assert made.schedule.skip == Skip("main/s", 1, minute(2), minute(3), 2, SkipReason.OVERLAP)


def test_buffer_one_keeps_one_waiting():
    made = plan(schedule(catch_up=CatchUp.ALL, overlap=Overlap.BUFFER_ONE), minute(3) + HALF, ())
    first = occurrence_id("main/s", minute(1))
    assert made.fires == (Fire(minute(1)), Fire(minute(2), first))
    assert made.schedule.skip == Skip("main/s", 1, minute(3), minute(3), 1, SkipReason.BUFFER_FULL)


def test_buffer_all_keeps_each_waiting_for_the_one_before_it_up_to_its_limit():
    policy = Policy(overlap=Overlap.BUFFER_ALL)
    assert overlap(policy, ("a", "b")) == ("", "b")
    assert overlap(policy, ("x",) * BUFFER_LIMIT) == ("", "x")
    assert overlap(policy, ("x",) * (BUFFER_LIMIT + 1)) == (SkipReason.BUFFER_FULL, "")


def test_only_the_newest_of_a_batch_replaces_the_others():
    one = schedule(catch_up=CatchUp.ALL, overlap=Overlap.CANCEL_OTHER)
    for live in ((), ("a",), ("a", "b")):
        made = plan(one, minute(3) + HALF, live)
        assert made.fires == (Fire(minute(3), live[-1] if live else ""),)
        assert made.cancels == live
        assert made.schedule.open == (*live, occurrence_id("main/s", minute(3)))


def test_allow_keeps_no_book_of_open_runs():
    made = plan(schedule(overlap=Overlap.ALLOW), minute(1), ("a",))
    assert made.fires == (Fire(minute(1)),)
    assert made.schedule.open == ()


def test_the_last_occurrence_leaves_the_schedule_exhausted():
    one = schedule(Once(minute(5)))
    assert one.next_at == minute(5)
    made = plan(one, minute(5), ())
    assert nominal(made) == [minute(5)]
    assert made.schedule.next_at is None
    assert made.schedule.cursor_at == minute(5)


def test_a_schedule_without_a_future_is_refused_at_its_start():
    with pytest.raises(Invalid, match="never fire"):
        schedule(Once(START_AT))


def test_a_paused_schedule_starts_at_rest():
    one = started(Schedule("main", "s", "t", Interval(MINUTE), paused="later"), START_AT)
    assert (one.next_at, one.cursor_at, one.accounted_from) == (None, START_AT, START_AT)


def test_a_pause_keeps_the_cursor_and_a_resume_skips_what_passed():
    one = paused(schedule(), "", minute(1))
    assert (one.paused, one.next_at, one.cursor_at) == ("paused", None, START_AT)
    after, skips = resumed(one, minute(5) + HALF)
    assert skips == (Skip("main/s", 1, minute(1), minute(5), 5, SkipReason.PAUSED),)
    assert (after.paused, after.next_at, after.skipped) == ("", minute(6), 5)
    assert after.cursor_at == minute(5) + HALF


def test_a_resume_with_catch_up_leaves_what_passed_to_the_policy():
    one = paused(schedule(catch_up=CatchUp.LATEST), "holidays", minute(1))
    after, skips = resumed(one, minute(5) + HALF, catch_up=True)
    assert skips == ()
    assert after.next_at == minute(1)
    made = plan(after, minute(5) + HALF, ())
    assert nominal(made) == [minute(5)]
    assert made.skips == (Skip("main/s", 1, minute(1), minute(4), 4, SkipReason.MISFIRE),)


def test_a_resume_by_a_clock_that_is_behind_does_not_look_back():
    one = paused(plan(schedule(), minute(5), ()).schedule, "", minute(5))
    after, skips = resumed(one, minute(2))
    assert skips == ()
    assert (after.cursor_at, after.next_at) == (minute(5), minute(6))


def test_an_edit_never_fires_the_past_again():
    one = plan(schedule(), minute(3), ()).schedule
    after, skips = edited(one, replace(one, trigger=Interval(10_000)), minute(5) + HALF)
    assert skips == (Skip("main/s", 1, minute(4), minute(5), 2, SkipReason.EDITED),)
    assert (after.revision, after.next_at) == (2, minute(5) + HALF + 10_000)
    assert nominal(plan(after, minute(5) + HALF + 10_000, ())) == [minute(5) + HALF + 10_000]


def test_an_edit_closes_the_range_of_its_former_revision():
    one = plan(schedule(), minute(1), ("a",)).schedule
    after, skips = edited(one, replace(one, policy=Policy(max_runs=3)), minute(1) + HALF)
    assert skips == (Skip("main/s", 1, minute(1), minute(1), 1, SkipReason.OVERLAP),)
    assert after.skip is None
    again = plan(after, minute(2), ("a",)).schedule
    assert again.skip == Skip("main/s", 2, minute(2), minute(2), 1, SkipReason.OVERLAP)


def test_an_edit_of_a_paused_schedule_leaves_it_paused():
    one = paused(schedule(), "why", minute(1))
    after, skips = edited(one, replace(one, trigger=Interval(HOUR)), minute(4) + HALF)
    assert (after.paused, after.next_at) == ("why", None)
    assert [(skip.count, skip.reason) for skip in skips] == [(4, SkipReason.PAUSED)]


def test_an_edit_of_nothing_is_no_revision():
    one = schedule()
    assert edited(one, replace(one, overrides={"trigger": 1}), minute(0) + 1)[0].revision == 1


def test_an_edit_that_leaves_no_future_is_refused():
    one = schedule()
    with pytest.raises(Invalid, match="never fire again"):
        edited(one, replace(one, trigger=Once(minute(3))), minute(3))


def test_an_edit_by_a_clock_that_is_behind_does_not_look_back():
    one = plan(schedule(), minute(5), ()).schedule
    after, _ = edited(one, replace(one, trigger=Interval(HALF)), minute(2))
    assert (after.cursor_at, after.next_at) == (minute(5), minute(5) + HALF)


def test_a_preview_shows_the_next_instants_and_ends_with_the_trigger():
    assert preview(schedule(), START_AT, 3) == [minute(1), minute(2), minute(3)]
    assert preview(schedule(Once(minute(1))), START_AT, 3) == [minute(1)]
    assert preview(schedule(), START_AT, 0) == []


def test_what_comes_next_is_nothing_of_a_paused_schedule_and_never_before_the_cursor():
    one = plan(schedule(), minute(2), ()).schedule
    assert upcoming(one, minute(2), 2) == [minute(3), minute(4)]
    assert upcoming(one, minute(1), 1) == [minute(3)]
    assert upcoming(paused(one, "why", minute(2)), minute(2), 2) == []


def test_code_may_outlive_its_instants():
    one = started(Schedule("main", "s", "t", Once(START_AT)), START_AT, past=True)
    assert (one.next_at, one.cursor_at) == (None, START_AT)
    after, _ = edited(one, replace(one, payload=b"2"), minute(1), past=True)
    assert (after.next_at, after.revision, after.payload) == (None, 2, b"2")
