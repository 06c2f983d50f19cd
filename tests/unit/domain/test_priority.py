from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rota.domain.errors import Invalid
from rota.domain.priority import ENDLESS_MS, HEAD_START_MS, Priority, priority, rank
from rota.domain.triggers.base import RANGE_END

HOUR = 3_600_000
levels = st.sampled_from(Priority)
arrivals = st.lists(st.tuples(st.integers(0, 8 * HOUR), levels), min_size=1, max_size=60)


def served(arrivals, claims, strict=False):
    """(ready at, level, claimed at) in the order of claims; each claim takes the lowest rank that is ready then."""
    waiting = sorted(arrivals)
    order = []
    for moment in claims:
        ready = [one for one in waiting if one[0] <= moment]
        if ready:
            best = min(ready, key=lambda one: rank(one[0], one[1], strict))
            waiting.remove(best)
            order.append((*best, moment))
    return order, waiting


@settings(max_examples=150)
@given(arrivals, st.integers(0, 2**32))
def test_nobody_is_overtaken_by_a_run_ready_later_than_the_difference_of_head_starts(arrivals, seed):
    """I15: the bound that the module states, over any arrivals and any moments at which somebody claims."""
    random = Random(seed)
    claims = sorted(random.randint(0, 20 * HOUR) for _ in range(2 * len(arrivals)))
    order, waiting = served(arrivals, claims)
    for place, (ready_at, level, claimed_at) in enumerate(order):
        overtaken = [one for one in order[place + 1 :] if one[0] <= claimed_at]
        overtaken += [(*one, 0) for one in waiting if one[0] <= claimed_at]
        for other_ready, other_level, _ in overtaken:
            assert ready_at - other_ready <= (level - other_level) * HEAD_START_MS
            assert ready_at - other_ready <= 3 * HEAD_START_MS
            if level == other_level:
                assert ready_at <= other_ready


def test_the_bound_is_three_hours_and_is_reached():
    assert (Priority.URGENT - Priority.LOW) * HEAD_START_MS == 3 * HOUR
    low = rank(0, Priority.LOW)
    assert rank(3 * HOUR - 1, Priority.URGENT) < low < rank(3 * HOUR + 1, Priority.URGENT)


def test_a_low_run_gets_its_turn_under_a_steady_flood_of_urgent_ones():
    flood = [(minute * 60_000, Priority.URGENT) for minute in range(600)]
    claims = [minute * 60_000 for minute in range(600)]
    order, _ = served([(1, Priority.LOW), *flood], claims)
    assert next(claimed for _, level, claimed in order if level is Priority.LOW) <= 3 * HOUR + 60_000


def test_in_a_strict_queue_lower_levels_starve():
    flood = [(minute * 60_000, Priority.NORMAL) for minute in range(600)]
    claims = [minute * 60_000 for minute in range(600)]
    order, waiting = served([(1, Priority.LOW), *flood], claims, strict=True)
    assert waiting == [(1, Priority.LOW)]
    assert len(order) == 600


@given(st.integers(0, RANGE_END), st.integers(0, RANGE_END), levels, levels)
def test_a_strict_rank_goes_by_level_first_and_fits_64_bits(one, other, level, lower):
    assert -(1 << 63) <= rank(one, level, strict=True) < 1 << 63
    if level > lower:
        assert rank(one, level, strict=True) < rank(other, lower, strict=True)
    if level == lower and one < other:
        assert rank(one, level, strict=True) < rank(other, lower, strict=True)


def test_an_endless_head_start_is_longer_than_time():
    assert ENDLESS_MS > RANGE_END


@pytest.mark.parametrize("given", ["high", "HIGH", "High", 2, Priority.HIGH])
def test_a_priority_has_a_name_and_a_number(given):
    assert priority(given) is Priority.HIGH


@pytest.mark.parametrize("given", ["", "highest", -1, 4, 2.0, True, None, [], "2"])
def test_anything_else_is_refused_with_the_choices(given):
    with pytest.raises(Invalid, match=r"low \(0\), normal \(1\), high \(2\), urgent \(3\)"):
        priority(given)
