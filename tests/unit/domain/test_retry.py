from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.domain.durations import LONGEST_MS
from rota.domain.errors import Invalid
from rota.domain.retry import HOUR_MS, NO_RETRY, Defaults, Retry, check_retry

made: Any = Retry
policies = st.builds(
    Retry,
    delay_ms=st.integers(0, 10**9),
    rate=st.floats(0.01, 100),
    cap_ms=st.integers(0, 10**9),
    jitter=st.floats(0, 1),
)


def test_delays_grow_by_the_rate_up_to_the_cap():
    policy = Retry(jitter=0)
    assert [policy.delay(tries, 0.5) for tries in range(1, 11)] == [
        10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 640_000, 1_280_000, 2_560_000, HOUR_MS
    ]  # fmt: skip
    assert Retry(delay_ms=70, rate=1, jitter=0).delay(9, 0.5) == 70
    assert Retry(delay_ms=8_000, rate=0.5, jitter=0).delay(4, 0.5) == 1_000


def test_the_jitter_is_a_share_of_the_delay_to_either_side():
    policy = Retry(delay_ms=1_000, jitter=0.1)
    assert [policy.delay(1, chance) for chance in (0, 0.5, 0.75, 0.999_999)] == [900, 1_000, 1_050, 1_100]
    assert Retry(delay_ms=1_000, jitter=1).delay(1, 0) == 0


@given(policies, st.integers(-5, 10**12), st.floats(0, 1, exclude_max=True))
def test_no_delay_is_negative_or_beyond_the_jitter_of_its_base(policy, tries, chance):
    base = min(policy.delay_ms * policy.rate ** min(max(tries - 1, 0), 64), policy.cap_ms)
    delay = policy.delay(tries, chance)
    assert 0 <= delay <= base * (1 + policy.jitter) + 1
    assert delay >= base * (1 - policy.jitter) - 1


@given(policies, st.integers(1, 200))
def test_a_later_try_never_waits_less_where_the_rate_is_not_below_one(policy, tries):
    if policy.rate >= 1:
        assert policy.delay(tries + 1, 0.5) >= policy.delay(tries, 0.5)


@pytest.mark.parametrize(
    ("only_on", "never_on", "wanted"),
    [
        ((), (), True),
        (("OSError",), (), True),
        (("ValueError",), (), False),
        ((), ("OSError",), False),
        ((), ("ValueError",), True),
        (("OSError",), ("FileNotFoundError",), False),
    ],
)
def test_an_error_is_judged_by_its_class_and_those_above_it(only_on, never_on, wanted):
    policy = Retry(only_on=only_on, never_on=never_on)
    assert policy.wants(("FileNotFoundError", "OSError", "Exception")) is wanted


def test_programs_are_not_run_again_unless_somebody_says_so():
    assert Defaults().retry("shell") == Defaults().retry("script") == NO_RETRY
    assert Defaults().retry("python").retries == Defaults().retry("http").retries == 3


@pytest.mark.parametrize(
    "policy",
    [
        Retry(retries=-1),
        Retry(retries=1_001),
        Retry(delay_ms=-1),
        Retry(cap_ms=-1),
        Retry(delay_ms=LONGEST_MS + 1),
        Retry(cap_ms=LONGEST_MS + 1),
        Retry(rate=0),
        Retry(rate=float("nan")),
        Retry(jitter=-0.1),
        Retry(jitter=float("nan")),
        # Stored so, no worker could read the run, nor take any other of its queue.
        *(made(**{name: 1e3}) for name in ("retries", "delay_ms", "cap_ms")),
    ],
)
def test_a_policy_that_cannot_be_followed_is_refused(policy):
    with pytest.raises(Invalid):
        check_retry(policy)
    for sound in (Retry(), Retry(1_000, LONGEST_MS, 100, LONGEST_MS, 1), Retry(0, 0, 0.1, 0, 0)):
        assert check_retry(sound) == sound
