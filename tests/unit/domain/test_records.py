from hypothesis import given
from hypothesis import strategies as st

from rota.domain.ids import TIME_LIMIT, definition_id, occurrence_id, timed_id
from rota.domain.records import DURATIONS_MS, Queue, bucket
from rota.domain.schedule import Policy, Schedule, Skip
from rota.domain.triggers import Interval
from rota.testing.factories import make_run, make_session

moments = st.integers(0, TIME_LIMIT - 1)
chances = st.integers(0, (1 << 80) - 1)


@given(moments, moments, chances, chances)
def test_ids_are_32_hexadecimal_digits_that_sort_by_time(one, other, chance, other_chance):
    first, second = timed_id(one, chance), timed_id(other, other_chance)
    assert len(first) == 32
    assert int(first, 16) >> 80 == one
    if one < other:
        assert first < second


@given(moments, st.text("abc/", min_size=1, max_size=5), st.text("abc/", min_size=1, max_size=5))
def test_an_occurrence_has_one_id_and_no_other_schedule_shares_it(moment, one, other):
    assert occurrence_id(one, moment) == occurrence_id(one, moment)
    assert (occurrence_id(one, moment) == occurrence_id(other, moment)) == (one == other)
    assert occurrence_id(one, moment) != occurrence_id(one, moment + 1)
    assert int(occurrence_id(one, moment), 16) >> 80 == moment


def test_definitions_are_named_by_namespace_and_name():
    assert definition_id("main", "a") == Queue("main", "a").id == "main/a"
    assert Schedule("main", "a", "t", Interval(1_000)).id == "main/a"
    assert Schedule("main", "a", "t", Interval(1_000)).policy == Policy()


def test_skip_ranges_of_a_schedule_sort_by_their_first_instant():
    ids = [Skip("main/s", 1, first_at, first_at, 1, "paused").id for first_at in (5, 50, 10**12, 7 * 10**12)]
    assert ids == sorted(ids)


def test_durations_fall_into_the_class_of_their_upper_bound():
    assert [bucket(ms) for ms in (0, 1, 2, 5, 3_600_000, 3_600_001)] == [1, 1, 5, 5, 3_600_000, -1]
    assert list(DURATIONS_MS) == sorted(DURATIONS_MS)


def test_a_session_may_claim_until_it_is_closed():
    assert make_session(1).open
    assert not make_session(1, closed_at=5).open


def test_a_run_is_isolated_after_three_losses():
    assert not make_run(1, lost=2).isolated
    assert make_run(1, lost=3).isolated
