"""The implementation against the oracle, and proof that the oracle sees mistakes.

ROTA_ORACLE is the number of random questions (100,000 by default), ROTA_SEED draws others.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest

from rota.domain import zones
from rota.domain.triggers import AnyOf, Cron, InvalidTrigger, Trigger
from tests.oracle.comparison import QUESTIONS, SEED, Make, cron, first_difference
from tests.oracle.questions import ODD_ZONE, ZONES, Question, field, weekday_words
from tests.oracle.slow_cron import MONTHS, WEEKDAYS, SlowCron

ALL_ZONES = [*ZONES, ODD_ZONE]


@pytest.mark.parametrize("zone", ALL_ZONES)
def test_cron_agrees_with_the_oracle(zone):
    assert first_difference(zone, QUESTIONS // len(ALL_ZONES) + 1) is None


@pytest.mark.parametrize("zone", ALL_ZONES)
def test_a_combination_of_one_cron_agrees_with_the_oracle(zone):
    def combined(zone: str, asked: Question) -> Trigger:
        return AnyOf([cron(zone, asked)])

    assert first_difference(zone, QUESTIONS // len(ALL_ZONES) // 20, combined) is None


@pytest.mark.parametrize("years", [8, 12, 231])
def test_days_agree_with_the_oracle_over_years(years):
    """At midnight UTC only, which lets the oracle walk days instead of minutes."""
    random = Random(f"{SEED} {years}")
    for _ in range(QUESTIONS // 100 // years):
        expression = day_expression(random)
        first = date(random.randrange(1970, 2201 - years + 1), 1, 1)
        oracle = SlowCron(expression, match_all_days=random.random() < 0.5)
        expected = list(matching_days(oracle, first, years))
        try:
            trigger = Cron(expression, day_match="and" if oracle.match_all_days else "or")
        except InvalidTrigger:
            assert not oracle.ever_matches(), expression
            continue
        start, end = milliseconds(first) - 1, milliseconds(date(first.year + years, 1, 1)) - 1
        assert list(fires(trigger, start, end)) == expected, (expression, oracle.match_all_days)
        assert trigger.count(start, end) == len(expected)
        assert trigger.last(start, end) == (expected[-1] if expected else None)


def day_expression(random: Random) -> str:
    day = field(random, 1, 31, [28, 29, 30, 31], star=0.3, extra=("L", "LW", "1W", "29W", "31W"))
    month = field(random, 1, 12, [2, 2, 4, 12], star=0.2, names=MONTHS)
    weekday = field(random, 0, 6, [0, 1, 5, 6], star=0.3, names=WEEKDAYS, extra=weekday_words(random))
    return f"0 0 {day} {month} {weekday}"


def matching_days(oracle: SlowCron, first: date, years: int) -> Iterator[int]:
    day = first
    while day.year < first.year + years:
        if oracle.day_matches(day):
            yield milliseconds(day)
        day += timedelta(days=1)


def milliseconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def fires(trigger: Trigger, start: int, end: int) -> Iterator[int]:
    fire = trigger.after(start)
    while fire is not None and fire <= end:
        yield fire
        fire = trigger.after(fire)


# Planted mistakes: each must be found by questions about a single zone.


def other_gap(zone: str, asked: Question) -> Trigger:
    return cron(zone, replace(asked, gap="skip" if asked.gap == "shift" else asked.gap))


def other_fold(zone: str, asked: Question) -> Trigger:
    return cron(zone, replace(asked, fold="both" if asked.fold == "first" else asked.fold))


def other_default(zone: str, asked: Question) -> Trigger:
    return cron(zone, replace(asked, gap=asked.gap or "shift", fold=asked.fold or "first"))


def other_day_match(zone: str, asked: Question) -> Trigger:
    return cron(zone, replace(asked, day_match="or"))


def sunday_is_one(zone: str, asked: Question) -> Trigger:
    *before, weekday = asked.expression.split()
    shifted = {"1": "0", "2": "1", "7": "6"}.get(weekday, weekday)
    return cron(zone, replace(asked, expression=" ".join([*before, shifted])))


class Wrong:
    """A cron with one answer changed."""

    def __init__(self, zone: str, asked: Question) -> None:
        self.right = cron(zone, asked)

    def after(self, moment: int) -> int | None:
        return self.right.after(moment)

    def last(self, start: int, end: int) -> int | None:
        return self.right.last(start, end)

    def count(self, start: int, end: int) -> int:
        return self.right.count(start, end)

    def to_json(self) -> dict[str, object]:
        return self.right.to_json()


class NotStrictlyLater(Wrong):
    def after(self, moment: int) -> int | None:
        return self.right.after(moment - 1)


class EndLeftOut(Wrong):
    def last(self, start: int, end: int) -> int | None:
        return self.right.last(start, end - 1)


class StartCounted(Wrong):
    def count(self, start: int, end: int) -> int:
        return self.right.count(start - 1, end)


MISTAKES: list[Make] = [
    other_gap,
    other_fold,
    other_default,
    other_day_match,
    sunday_is_one,
    NotStrictlyLater,
    EndLeftOut,
    StartCounted,
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_the_oracle_sees_a_planted_mistake(mistake):
    assert first_difference("Europe/Berlin", 3_000, mistake) is not None


def test_the_oracle_sees_a_zone_whose_clocks_change_elsewhere(monkeypatch):
    other = zones.Zone("Europe/Berlin", ZoneInfo("Europe/Moscow"))
    monkeypatch.setattr("rota.domain.triggers.cron.zone", lambda name: other)
    assert first_difference("Europe/Berlin", 300) is not None
