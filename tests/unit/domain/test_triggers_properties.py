"""What must hold for every trigger, whatever it is made of."""

import json
from contextlib import suppress
from itertools import islice, pairwise

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rota.domain.triggers import AllOf, AnyOf, Cron, Except, Interval, InvalidTrigger, Once, from_json, parse
from rota.domain.triggers.base import RANGE_END

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Antarctica/Troll",
    "Pacific/Apia",
]
DAY = 86_400_000
HOUR = 3_600_000

moments = st.integers(0, RANGE_END - 1)


def numbers(low, high):
    number = st.integers(low, high).map(str)
    ranges = st.builds("{}-{}".format, number, number)
    one = st.one_of(number, ranges, st.builds("*/{}".format, st.integers(1, high)))
    return st.one_of(st.just("*"), st.lists(one, min_size=1, max_size=3).map(",".join))


crons = st.builds(
    Cron,
    st.tuples(numbers(0, 59), numbers(0, 23), st.just("*"), st.just("*"), numbers(0, 6)).map(" ".join),
    st.sampled_from(ZONES),
    gap=st.sampled_from([None, "shift", "skip"]),
    fold=st.sampled_from([None, "first", "both"]),
    day_match=st.sampled_from(["or", "and"]),
)
intervals = st.builds(Interval, st.integers(100, 40 * DAY), moments)
round_intervals = st.builds(
    Interval,
    st.integers(60, 2 * 86_400).map(lambda seconds: seconds * 1000),
    st.integers(0, 10**9).map(lambda seconds: seconds * 1000),
)
rounded = st.one_of(
    crons, round_intervals, st.builds(Once, st.integers(0, RANGE_END // 1000 - 1).map(lambda s: s * 1000))
)
lists = st.lists(rounded, min_size=1, max_size=3)
combined = st.one_of(st.builds(AnyOf, lists), st.builds(AllOf, lists), st.builds(Except, rounded, rounded))
triggers = st.one_of(crons, intervals, st.builds(Once, moments), combined)


def fires(trigger, start, end):
    fire = trigger.after(start)
    while fire is not None and fire <= end:
        yield fire
        fire = trigger.after(fire)


@given(triggers, moments)
def test_fires_strictly_increase(trigger, start):
    chain = list(islice(fires(trigger, start, RANGE_END), 10))
    assert all(before < later for before, later in pairwise([start, *chain]))


@given(triggers, moments, st.integers(0, 3 * HOUR))
def test_last_and_count_agree_with_walking(trigger, start, length):
    end = start + length
    walked = list(islice(fires(trigger, start, end), 500))
    assume(len(walked) < 500)
    assert trigger.count(start, end) == len(walked)
    assert trigger.last(start, end) == (walked[-1] if walked else None)


@given(triggers, moments, st.integers(0, 400 * DAY), st.integers(0, 400 * DAY))
def test_counts_of_neighbouring_ranges_add_up(trigger, start, first, second):
    middle, end = start + first, start + first + second
    assert trigger.count(start, middle) + trigger.count(middle, end) == trigger.count(start, end)


@given(triggers, moments)
def test_after_and_last_undo_each_other(trigger, start):
    fire = trigger.after(start)
    assume(fire is not None)
    assert trigger.last(start, fire) == fire
    assert trigger.count(start, fire) == 1


@settings(max_examples=30)
@given(lists, moments)
def test_combinations_are_what_sets_of_fires_say(members, start):
    end = start + HOUR
    sets = [set(fires(one, start, end)) for one in members]
    assert set(fires(AnyOf(members), start, end)) == set.union(*sets)
    assert set(fires(AllOf(members), start, end)) == set.intersection(*sets)
    assert set(fires(Except(members[0], members[-1]), start, end)) == sets[0] - sets[-1]


@given(triggers)
def test_json_gives_back_an_equal_trigger(trigger):
    assert from_json(json.loads(json.dumps(trigger.to_json()))) == trigger


@settings(max_examples=200)
@given(st.text(max_size=60) | st.text("0123456789*/,-?LW#@ JANMONevryat:T", max_size=40), st.sampled_from(ZONES))
def test_any_text_is_a_trigger_or_refused(text, zone):
    trigger = None
    with suppress(InvalidTrigger):
        trigger = parse(text, zone)
    assert trigger is None or from_json(trigger.to_json()) == trigger


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["kind", "at", "every_ms", "expression", "gap", "triggers", "base", "without"])
            | st.text(max_size=5),
            inner | st.sampled_from(["once", "interval", "cron", "any_of", "all_of", "except", "@daily"]),
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(json_values)
def test_any_json_is_a_trigger_or_refused(value):
    trigger = None
    with suppress(InvalidTrigger):
        trigger = from_json(value)
    assert trigger is None or from_json(trigger.to_json()) == trigger
