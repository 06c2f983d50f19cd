import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from rota.domain import zones
from rota.domain.triggers import Cron, InvalidTrigger, parse


@pytest.mark.parametrize(
    ("expression", "field", "problem"),
    [
        ("", "expression", "has 0 fields"),
        ("*", "expression", "has 1 field"),
        ("* * * *", "expression", "has 4 fields"),
        ("0 0 12 * * ? 2026", "expression", "a year"),
        ("* * * * * * * *", "expression", "has 8 fields"),
        ("x" * 201, "expression", "201 characters"),
        ("@fortnightly", "expression", "@yearly"),
        ("@reboot", "expression", "@hourly"),
        ("60 * * * *", "minute", "60 is outside of 0-59"),
        ("* 24 * * *", "hour", "24 is outside of 0-23"),
        ("* * 0 * *", "day-of-month", "0 is outside of 1-31"),
        ("* * 32W * *", "day-of-month", "32 is outside of 1-31"),
        ("* * * 13 *", "month", "13 is outside of 1-12"),
        ("* * * * 8", "weekday", "8 is outside of 0-7"),
        ("61 * * * * *", "second", "61 is outside of 0-59"),
        ("*/0 * * * *", "minute", "step '0'"),
        ("*/x * * * *", "minute", "step 'X'"),
        ("*/ * * * *", "minute", "step ''"),
        ("*/1/1 * * * *", "minute", "step '1/1'"),
        ("*/999999999 * * * *", "minute", "step '999999999' is not a number from 1 to 60"),
        ("0-10/12 * * * *", "minute", "step '12' is not a number from 1 to 11"),
        ("0 */25 * * *", "hour", "step '25' is not a number from 1 to 24"),
        ("-5 * * * *", "minute", "'' is not understood"),
        ("5- * * * *", "minute", "'' is not understood"),
        ("1,,2 * * * *", "minute", "'' is not understood"),
        ("1, * * * *", "minute", "'' is not understood"),
        ("*5 * * * *", "minute", "'*5' is not understood"),
        ("*-5 * * * *", "minute", "'*' is not understood"),
        ("1-2-3 * * * *", "minute", "'2-3' is not understood"),
        ("1.5 * * * *", "minute", "'1.5' is not understood"),
        ("٣ * * * *", "minute", "is not understood"),
        ("0\0 * * * *", "minute", r"\x00"),
        ("\ud800 * * * *", "minute", r"\ud800"),
        ("1111111111 * * * *", "minute", "is not understood"),
        ("? * * * *", "minute", "?"),
        ("* * ?,1 * *", "day-of-month", "?"),
        ("* * * ? *", "month", "?"),
        ("L * * * *", "minute", "'L' is not understood"),
        ("* * W * *", "day-of-month", "'W' is not understood"),
        ("* * L-3 * *", "day-of-month", "'L' is not understood"),
        ("* * * MONDAY *", "month", "'MONDAY' is not understood"),
        ("* * * * MONDAY", "weekday", "'MONDAY' is not understood"),
        ("* * * * L", "weekday", "5L for the last"),
        ("* * * * 5#6", "weekday", "1 to 5"),
        ("* * * * 5#0", "weekday", "1 to 5"),
        ("* * * * #2", "weekday", "'#2' is not understood"),
        ("* * * * 8#2", "weekday", "8 is outside of 0-7"),
        ("0 0 31 2 *", "day-of-month", "no year has a date"),
        ("0 0 31 4,6,9,11 *", "day-of-month", "no year has a date"),
        ("0 0 30W 2 *", "day-of-month", "no year has a date"),
    ],
)
def test_an_expression_is_refused_with_its_field_and_a_remedy(expression, field, problem):
    started = time.process_time()
    with pytest.raises(InvalidTrigger) as caught:
        Cron(expression)
    assert time.process_time() - started < 0.5  # where no date fits it does not look through the years one by one
    assert caught.value.field == field
    assert problem in str(caught.value)
    assert "write " in str(caught.value)


def test_days_that_never_meet_are_refused():
    with pytest.raises(InvalidTrigger, match="no year has a date"):
        Cron("0 0 1 * MON#2", day_match="and")
    leap_day_on_a_fifth_sunday = datetime(1976, 2, 29, tzinfo=UTC)
    assert Cron("0 0 29 2 SUN#5", day_match="and").after(0) == leap_day_on_a_fifth_sunday.timestamp() * 1000


@pytest.mark.parametrize(
    "zone",
    [
        "",
        "Nowhere",
        "Europe",
        "europe/berlin/",
        "../../etc/passwd",
        "Europe/../../../etc/passwd",
        "/etc/localtime",
        "Europe/Berlin\0",
        "\0",
        "Europe/Berlin ",
        ".",
        "-",
        "\ud800",
        "x" * 150,
        "a/" * 60,
        "localtime",
        "posixrules",
        "right/Europe/Berlin",
        "posix/Europe/Berlin",
        "tzdata.zi",
        "zone.tab",
        "leapseconds",
        "UTC+2",
    ],
)
def test_a_zone_is_refused_with_a_remedy(zone, monkeypatch):
    """Looked for, once, is what could be a name."""
    looked = []

    def look(name):
        looked.append(name)
        return ZoneInfo(name)

    monkeypatch.setattr(zones, "ZoneInfo", look)
    with pytest.raises(InvalidTrigger, match=r"^timezone: .*Europe/Berlin or UTC"):
        Cron("0 2 * * *", zone)
    assert looked == [zone] * (zone in ("Nowhere", "Europe", "leapseconds", "UTC+2"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("expression", 5),
        ("expression", None),
        ("timezone", None),
        ("timezone", "x" * 201),
        ("gap", "shift_forward"),
        ("fold", "second"),
        ("fold", 1),
        ("fold", ["both"]),
        ("day_match", None),
    ],
)
def test_other_values_are_refused_by_field(field, value):
    with pytest.raises(InvalidTrigger) as caught:
        Cron(**{"expression": "0 2 * * *", field: value})
    assert caught.value.field == field
    assert "write " in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("every", "every: '' is not a length of time"),
        ("every 10", "every: '10' is not a length of time"),
        ("every day", "every: 'day' is not a length of time"),
        ("every -5s", "every: '-5s' is not a length of time"),
        ("every 30m1h", "every: '30m1h' is not a length of time"),
        ("every 3 fortnights", "every: '3 fortnights' is not a length of time"),
        ("every 0s", "every_ms: 0 is out of range; write a number from 100"),
        ("every 99ms", "every_ms: 99 is out of range; write a number from 100"),
        ("every 999999999999999w", "every_ms: "),
        ("at", "at: '' is no date and time"),
        ("at noon", "at: 'noon' is no date and time"),
        ("at 0001-01-01T00:00", "at: 0001-01-01T00:00 is out of range; write a year"),
        ("at 9999-12-31T23:59:59+14:00", "out of range; write a year"),
        ("at 1970-01-01T00:00+14:00", "at: -50400000 is out of range"),
        ("at \ud800", "at: '\\ud800' is no date and time"),
        ("at 2026-03-29T02:30", "at: the clocks of Europe/Berlin skip 2026-03-29T02:30; write a time before"),
        ("at two", "at: 'two' is no date and time"),
        ("tomorrow", "expression: 'tomorrow' has 1 field instead of 5 or 6"),
        ("x" * 201, "trigger: is 201 characters long; write at most 200"),
    ],
)
def test_text_that_means_nothing_is_refused_with_a_remedy(text, problem):
    with pytest.raises(InvalidTrigger) as caught:
        parse(text, "Europe/Berlin")
    assert problem in str(caught.value)
    assert "write " in str(caught.value)
