from datetime import datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from rota.domain.triggers import AllOf, AnyOf, Cron, Except, Interval, InvalidTrigger, Once, from_json

HOUR, DAY = 3_600_000, 86_400_000
BERLIN = "Europe/Berlin"


def moment(text, zone="UTC"):
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * 1000


def fires(trigger, start):
    fire = trigger.after(start)
    while fire is not None:
        yield fire
        fire = trigger.after(fire)


def days(trigger, start, number):
    return [fire // DAY - start // DAY for fire in islice(fires(trigger, start), number)]


def test_any_of_fires_once_where_several_do():
    both = AnyOf([Interval(6 * HOUR), Interval(4 * HOUR)])
    assert [fire // HOUR for fire in islice(fires(both, 0), 8)] == [4, 6, 8, 12, 16, 18, 20, 24]
    assert both.count(0, DAY) == 8
    assert both.last(0, DAY - 1) == 20 * HOUR
    assert both.last(4 * HOUR, 5 * HOUR) is None


def test_any_of_ends_with_its_last_trigger():
    two = AnyOf([Once(5_000), Once(DAY + 1_000)])
    assert list(fires(two, 0)) == [5_000, DAY + 1_000]
    assert two.last(0, DAY) == 5_000
    assert two.count(-1, 9 * DAY) == 2


def test_all_of_fires_where_all_do():
    friday_13th = AllOf([Cron("0 0 13 * *"), Cron("0 0 * * FRI")])
    start = moment("2026-05-12")
    assert list(islice(fires(friday_13th, start), 2)) == [moment("2026-11-13"), moment("2027-08-13")]
    assert friday_13th.last(0, start) == moment("2026-03-13")
    assert friday_13th.count(moment("2026-01-01"), moment("2027-01-01")) == 3


def test_except_leaves_out_what_the_other_has():
    workdays = Except(Cron("0 9 * * MON-FRI", BERLIN), Cron("0 9 1 5 *", BERLIN))
    thursday = moment("2026-04-30T09:00", BERLIN)
    assert days(workdays, thursday, 2) == [4, 5]
    assert workdays.last(0, thursday + 2 * DAY) == thursday
    assert workdays.count(thursday - 1, thursday + 5 * DAY) == 3


def test_a_window_of_maintenance_is_skipped_at_once():
    every_second = Except(Cron("* * * * * *"), Cron("* * * * * SAT,SUN"))
    friday_night = moment("2026-05-15T23:59:59")
    assert every_second.after(friday_night) == friday_night + 2 * DAY + 1_000
    assert every_second.last(0, friday_night + 2 * DAY) == friday_night
    assert every_second.count(moment("2026-01-01"), moment("2027-01-01")) == 261 * 86_400


@pytest.mark.parametrize(
    "never",
    [
        AllOf([Cron("*/2 * * * * *"), Cron("1/2 * * * * *")]),
        AllOf([Cron("0 2 * * *"), Cron("0 3 * * *")]),
        AllOf([Interval(2 * HOUR), Interval(2 * HOUR, anchor_at=HOUR)]),
        AllOf([Once(5_000), Once(6_000)]),
        Except(Cron("@hourly"), Cron("*/30 * * * *")),
        AnyOf([Except(Once(5_000), Once(5_000)), AllOf([Once(1_000), Interval(HOUR)])]),
    ],
)
def test_what_never_fires_is_given_up(never):
    assert never.after(0) is None
    assert never.last(0, moment("2026-05-12")) is None
    assert never.count(0, 400 * DAY) == 0


def test_rare_meetings_are_found_over_centuries():
    leap_monday = AllOf([Cron("0 0 29 2 *"), Cron("0 0 * * MON"), Cron("0 0 * * *", BERLIN, gap="skip")])
    assert leap_monday.after(moment("2026-01-01")) is None
    leap_monday = AllOf([Cron("0 0 29 2 *"), Cron("0 0 * * MON")])
    assert list(fires(leap_monday, moment("2026-01-01"))) == [
        moment(f"{year}-02-29") for year in (2044, 2072, 2112, 2140, 2168, 2196)
    ]


def test_combinations_combine():
    office = AllOf([Cron("*/15 8-17 * * *", BERLIN), Cron("* * * * MON-FRI", BERLIN)])
    trigger = AnyOf([Except(office, Cron("* 12 * * *", BERLIN)), Once(moment("2026-05-16T10:00"))])
    start = moment("2026-05-15T11:45", BERLIN)
    assert trigger.after(start) == moment("2026-05-15T13:00", BERLIN)
    assert trigger.last(0, moment("2026-05-17")) == moment("2026-05-16T10:00")
    assert trigger.after(moment("2026-05-16T10:00")) == moment("2026-05-18T08:00", BERLIN)
    assert from_json(trigger.to_json()) == trigger


class EveryMinute:
    """A trigger of another kind: it knows nothing of days as bits."""

    def after(self, at):
        return Interval(60_000).after(at)

    def last(self, start, end):
        return Interval(60_000).last(start, end)

    def count(self, start, end):
        return Interval(60_000).count(start, end)

    def to_json(self):
        return {"kind": "every_minute"}


def test_triggers_of_other_kinds_combine_too():
    trigger = Except(EveryMinute(), Cron("1-59 * * * *"))
    assert trigger.after(0) == HOUR
    assert trigger.count(0, DAY) == 24
    assert trigger.to_json()["base"] == {"kind": "every_minute"}


def nested(levels):
    return AnyOf([nested(levels - 1)]) if levels else Once(0)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: AnyOf([]), "triggers: is empty"),
        (lambda: AllOf([]), "triggers: is empty"),
        (lambda: nested(6), "triggers: is nested too deeply"),
        (lambda: AnyOf([Once(0)] * 21), "triggers: has 21 triggers"),
        (lambda: AllOf([AnyOf([Once(0)] * 11), AnyOf([Once(0)] * 10)]), "triggers: has 21 triggers"),
        (lambda: Except(Interval(1_500), Once(0)), "without: Interval(every_ms=1500, anchor_at=0) fires between"),
        (lambda: Except(Interval(1_000, 123), Once(0)), "fires between full seconds"),
        (lambda: AnyOf([AnyOf([Once(1)])]), "triggers: Once(at=1) fires between full seconds"),
    ],
)
def test_combinations_that_cannot_work_are_refused(make, problem):
    with pytest.raises(InvalidTrigger) as caught:
        make()
    assert problem in str(caught.value)


def test_the_limits_of_combinations_are_allowed():
    assert nested(5).after(-1) == 0
    assert AnyOf([Once(0)] * 20).after(-1) == 0
