from datetime import datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from rota.domain.triggers import Cron
from rota.domain.triggers.base import RANGE_END

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"


def moment(text, zone="UTC", fold=0):
    wall = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return int(wall.timestamp()) * 1000


def fires(trigger, start):
    fire = trigger.after(start)
    while fire is not None:
        yield fire
        fire = trigger.after(fire)


def shown(trigger, start, number, zone="UTC"):
    """The next fires as the clock of the zone shows them, with offsets outside of UTC."""
    found = [datetime.fromtimestamp(fire / 1000, ZoneInfo(zone)) for fire in islice(fires(trigger, start), number)]
    return [str(wall.replace(tzinfo=None) if zone == "UTC" else wall) for wall in found]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 2 * * *", ["2026-05-13 02:00:00", "2026-05-14 02:00:00"]),
        ("*/20 * * * *", ["2026-05-12 10:40:00", "2026-05-12 11:00:00"]),
        ("10-40/15 * * * *", ["2026-05-12 10:40:00", "2026-05-12 11:10:00", "2026-05-12 11:25:00"]),
        ("50/5 * * * *", ["2026-05-12 10:50:00", "2026-05-12 10:55:00", "2026-05-12 11:50:00"]),
        ("0 22-2 * * *", ["2026-05-12 22:00:00", "2026-05-12 23:00:00", "2026-05-13 00:00:00"]),
        ("0 22-2/2 * * *", ["2026-05-12 22:00:00", "2026-05-13 00:00:00", "2026-05-13 02:00:00"]),
        ("*/15 * * * * *", ["2026-05-12 10:30:15", "2026-05-12 10:30:30", "2026-05-12 10:30:45"]),
        ("30 0 0 * * *", ["2026-05-13 00:00:30", "2026-05-14 00:00:30"]),
        ("0 0 1 jan,JUL *", ["2026-07-01 00:00:00", "2027-01-01 00:00:00"]),
        ("0 0 1 NOV-FEB *", ["2026-11-01 00:00:00", "2026-12-01 00:00:00", "2027-01-01 00:00:00"]),
        ("0 0 * * FRI-MON", ["2026-05-15 00:00:00", "2026-05-16 00:00:00", "2026-05-17 00:00:00"]),
        ("0 0 * * 0", ["2026-05-17 00:00:00", "2026-05-24 00:00:00"]),
        ("0 0 * * 7", ["2026-05-17 00:00:00", "2026-05-24 00:00:00"]),
        ("0 0 * * 7-1", ["2026-05-17 00:00:00", "2026-05-18 00:00:00", "2026-05-24 00:00:00"]),
        ("0 0 * * 7-7", ["2026-05-17 00:00:00", "2026-05-24 00:00:00"]),
        ("0 0 * * 0-7", ["2026-05-13 00:00:00", "2026-05-14 00:00:00"]),
        ("0 0 * * SAT-SUN", ["2026-05-16 00:00:00", "2026-05-17 00:00:00", "2026-05-23 00:00:00"]),
        ("0 0 L * *", ["2026-05-31 00:00:00", "2026-06-30 00:00:00"]),
        ("0 0 LW * *", ["2026-05-29 00:00:00", "2026-06-30 00:00:00"]),
        ("0 0 15W * *", ["2026-05-15 00:00:00", "2026-06-15 00:00:00", "2026-07-15 00:00:00"]),
        ("0 0 1W 8 *", ["2026-08-03 00:00:00", "2027-08-02 00:00:00"]),
        ("0 0 31W * *", ["2026-05-29 00:00:00", "2026-07-31 00:00:00", "2026-08-31 00:00:00"]),
        ("0 0 1,L * *", ["2026-05-31 00:00:00", "2026-06-01 00:00:00", "2026-06-30 00:00:00"]),
        ("0 0 * * 5#2", ["2026-06-12 00:00:00", "2026-07-10 00:00:00"]),
        ("0 0 * * fri#5", ["2026-05-29 00:00:00", "2026-07-31 00:00:00"]),
        ("0 0 * * 5L", ["2026-05-29 00:00:00", "2026-06-26 00:00:00"]),
        ("0 0 * * 7L", ["2026-05-31 00:00:00", "2026-06-28 00:00:00"]),
        ("0 0 ? * MON", ["2026-05-18 00:00:00", "2026-05-25 00:00:00"]),
        ("0 0 29 2 *", ["2028-02-29 00:00:00", "2032-02-29 00:00:00"]),
        ("@yearly", ["2027-01-01 00:00:00"]),
        ("@annually", ["2027-01-01 00:00:00"]),
        ("@monthly", ["2026-06-01 00:00:00"]),
        ("@weekly", ["2026-05-17 00:00:00"]),
        ("@Daily", ["2026-05-13 00:00:00"]),
        ("@midnight", ["2026-05-13 00:00:00"]),
        ("@hourly", ["2026-05-12 11:00:00"]),
    ],
)
def test_an_expression_fires_when_it_says(expression, expected):
    tuesday = moment("2026-05-12T10:30")
    assert shown(Cron(expression), tuesday, len(expected)) == expected


@pytest.mark.parametrize(
    ("expression", "day_match", "expected"),
    [
        ("0 0 1 * MON", "or", ["2026-05-18 00:00:00", "2026-05-25 00:00:00", "2026-06-01 00:00:00"]),
        ("0 0 13 * FRI", "or", ["2026-05-13 00:00:00", "2026-05-15 00:00:00", "2026-05-22 00:00:00"]),
        ("0 0 13 * FRI", "and", ["2026-11-13 00:00:00", "2027-08-13 00:00:00"]),
        # A field that starts with * is not restricted, even with a step: odd days that are Mondays.
        ("0 0 */2 * MON", "or", ["2026-05-25 00:00:00", "2026-06-01 00:00:00"]),
        ("0 0 1-31 * MON", "or", ["2026-05-13 00:00:00", "2026-05-14 00:00:00"]),
    ],
)
def test_restricted_day_fields_join_by_or_unless_asked(expression, day_match, expected):
    trigger = Cron(expression, day_match=day_match)
    assert shown(trigger, moment("2026-05-12T10:30"), len(expected)) == expected


BEFORE_SPRING, BEFORE_AUTUMN = moment("2026-03-29T00:10", BERLIN), moment("2026-10-25T00:10", BERLIN)


@pytest.mark.parametrize(
    ("expression", "gap", "expected"),
    [
        ("30 2 * * *", None, ["29 03:00+02", "30 02:30+02"]),
        ("30 2 * * *", "shift", ["29 03:00+02", "30 02:30+02"]),
        ("30 2 * * *", "skip", ["30 02:30+02", "31 02:30+02"]),
        ("0,15,30 2 * * *", None, ["29 03:00+02", "30 02:00+02"]),
        ("30 2,3 * * *", None, ["29 03:00+02", "29 03:30+02", "30 02:30+02"]),
        ("0 2,3 * * *", None, ["29 03:00+02", "30 02:00+02"]),
        ("0 * * * *", None, ["29 01:00+01", "29 03:00+02"]),
        ("30 * * * *", None, ["29 00:30+01", "29 01:30+01", "29 03:30+02"]),
        ("30 * * * *", "shift", ["29 00:30+01", "29 01:30+01", "29 03:00+02", "29 03:30+02"]),
        ("*/20 2 * * *", None, ["30 02:00+02", "30 02:20+02"]),
        ("30 0-23 * * *", None, ["29 00:30+01", "29 01:30+01", "29 03:30+02"]),
        ("*/30 0 2 * * *", None, ["30 02:00+02"]),
    ],
)
def test_a_gap_in_berlin(expression, gap, expected):
    found = shown(Cron(expression, BERLIN, gap=gap), BEFORE_SPRING, len(expected), BERLIN)
    assert [f"{text[8:16]}{text[19:22]}" for text in found] == expected


@pytest.mark.parametrize(
    ("expression", "fold", "expected"),
    [
        ("30 2 * * *", None, ["25 02:30+02", "26 02:30+01"]),
        ("30 2 * * *", "first", ["25 02:30+02", "26 02:30+01"]),
        ("30 2 * * *", "both", ["25 02:30+02", "25 02:30+01", "26 02:30+01"]),
        ("0 * * * *", None, ["25 01:00+02", "25 02:00+02", "25 02:00+01", "25 03:00+01"]),
        ("0 * * * *", "first", ["25 01:00+02", "25 02:00+02", "25 03:00+01"]),
        ("*/30 2 * * *", None, ["25 02:00+02", "25 02:30+02", "25 02:00+01", "25 02:30+01", "26 02:00+01"]),
    ],
)
def test_a_fold_in_berlin(expression, fold, expected):
    found = shown(Cron(expression, BERLIN, fold=fold), BEFORE_AUTUMN, len(expected), BERLIN)
    assert [f"{text[8:16]}{text[19:22]}" for text in found] == expected


@pytest.mark.parametrize(
    ("start", "expression", "expected"),
    [
        ("2026-03-08T00:10", "30 2 * * *", ["2026-03-08 03:00:00-04:00", "2026-03-09 02:30:00-04:00"]),
        ("2026-03-08T00:40", "30 * * * *", ["2026-03-08 01:30:00-05:00", "2026-03-08 03:30:00-04:00"]),
        ("2026-11-01T00:10", "30 1 * * *", ["2026-11-01 01:30:00-04:00", "2026-11-02 01:30:00-05:00"]),
        ("2026-11-01T01:10", "@hourly", ["2026-11-01 01:00:00-05:00", "2026-11-01 02:00:00-05:00"]),
    ],
)
def test_both_changes_in_new_york(start, expression, expected):
    found = shown(Cron(expression, NEW_YORK), moment(start, NEW_YORK), len(expected), NEW_YORK)
    assert found == expected


def test_between_the_two_times_of_a_fold():
    between = moment("2026-10-25T02:45", BERLIN)
    both, first = (Cron("30 2 * * *", BERLIN, fold=fold) for fold in ("both", "first"))
    assert both.after(between) == moment("2026-10-25T02:30", BERLIN, fold=1)
    assert first.after(between) == moment("2026-10-26T02:30", BERLIN)
    second_time = moment("2026-10-25T02:10", BERLIN, fold=1)
    assert both.last(between, second_time) is None
    assert first.last(0, second_time) == both.last(0, second_time) == moment("2026-10-25T02:30", BERLIN)


def test_ranges_that_end_within_a_change():
    """02:30 is shifted to 03:00, which is 01:00 UTC; the second 02:30 of autumn is 01:30 UTC."""
    trigger, shifted = Cron("30 2 * * *", BERLIN), moment("2026-03-29T01:00")
    assert trigger.last(shifted - 1, shifted) == shifted
    assert trigger.last(0, shifted - 1) == moment("2026-03-28T02:30", BERLIN)
    assert trigger.last(shifted, shifted + 60_000) is None
    assert trigger.count(shifted - 1, shifted) == 1
    within_fold = moment("2026-10-25T01:40")
    assert trigger.count(moment("2026-10-25T01:00"), within_fold) == 0
    assert Cron("30 2 * * *", BERLIN, fold="both").count(moment("2026-10-25T01:00"), within_fold) == 1


def test_a_day_that_does_not_exist_is_a_gap():
    """In Apia 2011-12-29 was followed by 2011-12-31."""
    start = moment("2011-12-29T00:00", "Pacific/Apia")
    daily = shown(Cron("0 12 * * *", "Pacific/Apia"), start, 3, "Pacific/Apia")
    assert daily == ["2011-12-29 12:00:00-10:00", "2011-12-31 00:00:00+14:00", "2011-12-31 12:00:00+14:00"]
    yearly = Cron("0 12 30 12 *", "Pacific/Apia")
    assert yearly.after(start) == moment("2011-12-31T00:00", "Pacific/Apia")
    skipping = Cron("0 12 30 12 *", "Pacific/Apia", gap="skip")
    assert skipping.after(start) == moment("2012-12-30T12:00", "Pacific/Apia")


def test_half_an_hour_of_daylight_saving():
    """Lord Howe goes from 02:00 to 02:30."""
    zone, start = "Australia/Lord_Howe", moment("2026-10-04T00:00", "Australia/Lord_Howe")
    assert Cron("15 2 * * *", zone).after(start) == moment("2026-10-04T02:30", zone)
    assert Cron("45 2 * * *", zone).after(start) == moment("2026-10-04T02:45", zone)


def test_midnight_that_does_not_exist():
    """Beirut goes from 00:00 to 01:00."""
    zone, start = "Asia/Beirut", moment("2026-03-28T12:00", "Asia/Beirut")
    assert Cron("@daily", zone).after(start) == moment("2026-03-29T01:00", zone)


@pytest.mark.parametrize(
    ("expression", "start", "end", "expected"),
    [
        ("30 2 * * *", "2026-01-01", "2027-01-01", 365),
        ("0 * * * *", "2026-01-01", "2027-01-01", 8760),
        ("0 * * * *", "2026-03-29", "2026-03-30", 23),
        ("0 * * * *", "2026-10-25", "2026-10-26", 25),
        ("* * * * * *", "2026-10-25", "2026-10-26", 90_000),
        ("0 2,3 * * *", "2026-03-29", "2026-03-30", 1),
        ("0 0 29 2 *", "1970-01-02", "2200-01-01", 56),
        ("0 0 * * *", "2026-05-02", "2026-05-01", 0),
    ],
)
def test_counts_take_clock_changes_as_they_are(expression, start, end, expected):
    assert Cron(expression, BERLIN).count(moment(start, BERLIN) - 1, moment(end, BERLIN) - 1) == expected


def test_the_latest_fire():
    weekly = Cron("0 9 * * MON", BERLIN)
    start, monday = moment("2020-01-01"), moment("2026-05-11T09:00", BERLIN)
    assert weekly.last(start, moment("2026-05-17")) == monday
    assert weekly.last(start, monday) == monday
    assert weekly.last(monday, moment("2026-05-17")) is None
    assert Cron("0 0 29 2 *").last(0, moment("2026-01-01")) == moment("2024-02-29")
    assert Cron("0 0 29 2 *").last(0, moment("1972-01-01")) is None


def test_ranges_leave_out_their_start_and_hold_their_end():
    hourly = Cron("@hourly")
    ten, eleven = moment("2026-05-12T10:00"), moment("2026-05-12T11:00")
    assert hourly.after(ten) == eleven
    assert hourly.after(ten - 1) == ten
    assert hourly.count(ten, eleven) == 1
    assert hourly.count(ten - 1, eleven - 1) == 1
    assert hourly.last(ten, eleven - 1) is None


def test_nothing_fires_outside_of_1970_to_2200():
    every_second = Cron("* * * * * *", "Pacific/Kiritimati")
    assert every_second.after(-(10**18)) == 0
    assert every_second.after(RANGE_END - 2000) == RANGE_END - 1000
    assert every_second.after(RANGE_END - 1000) is None
    assert every_second.after(10**18) is None
    assert every_second.last(-(10**18), 10**18) == RANGE_END - 1000
    assert every_second.count(-(10**18), 10**18) == RANGE_END // 1000
    assert Cron("0 0 1 1 *", "America/New_York").after(moment("2200-06-01")) is None
    assert Cron("0 0 29 2 *").after(moment("2196-03-01")) is None


def test_a_schedule_that_lives_in_the_gap_only_and_skips_it_never_fires():
    """The second Sunday of March, 02:30 in New York, since 2007."""
    trigger = Cron("30 2 8-14 3 SUN", NEW_YORK, gap="skip", day_match="and")
    assert trigger.after(moment("2026-01-01")) is None
    assert trigger.last(moment("2007-01-01"), moment("2199-01-01")) is None
    assert trigger.count(moment("2007-01-01"), moment("2199-01-01")) == 0


def test_the_bits_of_a_day_are_its_fires():
    day = moment("2026-10-25") // 86_400_000
    bits = Cron("*/30 1-3 * * *", BERLIN).seconds_on(day)
    assert [k for k in range(86_400) if bits >> k & 1] == [0, 1800, 3600, 5400, 7200, 9000]
    gap = Cron("30 2 * * *", BERLIN).seconds_on(moment("2026-03-29") // 86_400_000)
    assert gap == 1 << 3600


def test_time_of_day_in_other_zones_of_utc():
    assert Cron("0 9 * * *", "Asia/Kathmandu").after(moment("2026-05-12")) == moment("2026-05-12T03:15")
    assert Cron("0 9 * * *", "Pacific/Kiritimati").after(moment("2026-05-12")) == moment("2026-05-12T19:00")
