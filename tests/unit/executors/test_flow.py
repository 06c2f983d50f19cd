from datetime import timedelta

import pytest

from rota.domain.errors import Invalid
from rota.domain.flow import Cancel, Fail, Snooze, TryAgain, outcome_of
from rota.domain.names import TEXT_LIMIT
from rota.domain.run import End
from tests.unit.executors.support import Shy, refuse


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def test_an_error_is_told_by_type_message_and_place():
    outcome = outcome_of(raised(ValueError("bad number")))
    assert outcome.end is End.FAILURE
    assert outcome.error.startswith("ValueError: bad number\n")
    assert "in raised" in outcome.error
    assert outcome.errors == ("ValueError", "Exception")
    assert not outcome.final


def test_a_policy_sees_all_bases():
    assert outcome_of(FileNotFoundError("x")).errors == ("FileNotFoundError", "OSError", "Exception")
    assert outcome_of(SystemExit(3)).errors == ("SystemExit",)


def test_what_led_to_an_error_is_told():
    outcome = outcome_of(raised(RuntimeError("outer"), KeyError("inner")))
    assert "from KeyError: 'inner'" in outcome.error


def test_the_members_of_a_group_are_told():
    outcome = outcome_of(raised(ExceptionGroup("several", [ValueError("one"), OSError("two")])))
    assert "from ValueError: one" in outcome.error
    assert "from OSError: two" in outcome.error


def test_a_circle_of_causes_ends():
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert "from ValueError: two" in outcome_of(one).error


def test_the_text_of_an_error_is_bounded_and_storable():
    outcome = outcome_of(raised(ValueError("x\0y\ud800" + "z" * 100_000)))
    assert len(outcome.error) <= TEXT_LIMIT
    assert "\0" not in outcome.error
    assert outcome.error.encode()


def test_an_error_whose_text_fails_is_told_all_the_same():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    assert "Mute" in outcome_of(raised(Mute())).error


class Halfway(Snooze):
    def __init__(self):
        """Without a time, as its base was not asked."""


class Nested(ExceptionGroup):
    @property
    def exceptions(self):
        return (self,)


def test_an_error_that_nobody_can_look_at_is_told_by_its_type():
    for error in (Shy(), Halfway()):
        outcome = outcome_of(error)
        assert outcome.end is End.FAILURE
        assert f"{type(error).__name__}'>, which cannot be described" in outcome.error


def test_a_cancel_whose_text_fails_is_a_cancel():
    class Mute(Cancel):
        __str__ = refuse

    assert outcome_of(Mute())[:1] == (End.CANCELLED,)


def test_an_error_without_an_end_is_told_as_far_as_there_is_room():
    assert "Nested: g" in outcome_of(raised(Nested("g", [ValueError()]))).error
    deep: Exception = ValueError("the first")
    for _ in range(5_000):
        deep = ExceptionGroup("deep", [deep])
    assert outcome_of(raised(deep)).error.startswith("ExceptionGroup: deep")


def test_notes_are_told():
    error = ValueError("x")
    error.add_note("in the third line")
    assert outcome_of(error).error == "ValueError: x\nin the third line"


def test_frames_of_rota_are_left_out():
    with pytest.raises(Invalid) as caught:
        Snooze(-1)
    assert "domain/flow.py" not in outcome_of(caught.value).error


def test_snooze_comes_back_later():
    assert outcome_of(Snooze(1.5))[:1] == (End.SNOOZE,)
    assert outcome_of(Snooze(1.5)).delay_ms == 1_500
    assert outcome_of(Snooze(timedelta(minutes=2))).delay_ms == 120_000


def test_cancel_ends_as_cancelled():
    outcome = outcome_of(Cancel("customer is gone"))
    assert (outcome.end, outcome.error) == (End.CANCELLED, "customer is gone")


def test_fail_is_final():
    outcome = outcome_of(raised(Fail("no such account")))
    assert (outcome.end, outcome.final) == (End.FAILURE, True)
    assert outcome.error.startswith("rota.domain.flow.Fail: no such account")


def test_retry_waits_and_is_not_judged_by_name():
    outcome = outcome_of(raised(TryAgain(after=30)))
    assert (outcome.end, outcome.final, outcome.delay_ms, outcome.errors) == (End.FAILURE, False, 30_000, ())


@pytest.mark.parametrize("after", [-1, float("nan"), float("inf"), timedelta(seconds=-1), 1e12, timedelta(days=3_654)])
def test_no_time_to_wait_is_refused(after):
    with pytest.raises(Invalid, match="not negative and at most ten years"):
        TryAgain(after=after)
