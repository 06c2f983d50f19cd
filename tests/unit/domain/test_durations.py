import math
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.domain.durations import LONGEST_MS, to_limit_ms, to_ms
from rota.domain.errors import Invalid


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (0, 0),
        (90, 90_000),
        (0.5, 500),
        (1.1, 1_100),
        (0.0001, 1),
        (timedelta(hours=1), 3_600_000),
        (timedelta(microseconds=1), 1),
        ("90s", 90_000),
        ("1h30m", 5_400_000),
        ("1h 30m", 5_400_000),
        ("500ms", 500),
        ("1.5h", 5_400_000),
        ("2w1d", 15 * 86_400_000),
        (" 10 s", 10_000),
        ("0s", 0),
        (timedelta(days=3653), LONGEST_MS),
    ],
)
def test_lengths_of_time(value, wanted):
    length = to_ms(value, "timeout")
    assert (length, type(length)) == (wanted, int)


@pytest.mark.parametrize(
    "value",
    [
        -1,
        -0.001,
        timedelta(seconds=-1),
        math.nan,
        math.inf,
        -math.inf,
        10**400,
        "3654d",
        timedelta.max,
        "999999999999999w",
    ],
)
def test_lengths_out_of_range_are_refused(value):
    with pytest.raises(Invalid, match=r"^timeout: .* is not between 0 and ten years"):
        to_ms(value, "timeout")


@pytest.mark.parametrize(
    "value",
    [True, None, "", " ", "90", "90 x", "-5s", "30m1h", "1s1s", "s", "1.s", "1e3s", "٣s", "5S", b"5s", Decimal(5), [5]],
)
def test_what_is_no_length_of_time_is_told_how_to_write_one(value):
    with pytest.raises(Invalid, match=r"^timeout: .* is not a length of time; write 90s, 1h30m or 500ms"):
        to_ms(value, "timeout")


def test_a_limit_may_be_none_but_not_nothing():
    assert to_limit_ms(None, "timeout") is None
    assert to_limit_ms("1ms", "timeout") == 1
    with pytest.raises(Invalid, match=r"^timeout: 0 leaves no time; None means no limit"):
        to_limit_ms(0, "timeout")


@given(st.integers(0, LONGEST_MS))
def test_the_ways_to_write_a_length_agree(length):
    assert to_ms(length / 1000, "timeout") == length
    assert to_ms(timedelta(milliseconds=length), "timeout") == length
    assert to_ms(f"{length}ms", "timeout") == length
    assert to_ms(f"{length // 60_000}m{length % 60_000 / 1000:.3f}s", "timeout") == length
