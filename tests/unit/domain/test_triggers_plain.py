"""Once and interval, and triggers as text and as JSON."""

from datetime import UTC, datetime

import pytest

from rota.domain.triggers import Cron, Interval, InvalidTrigger, Once, from_json, parse
from rota.domain.triggers.base import RANGE_END


def moment(text):
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp() * 1000)


def test_once_fires_at_its_instant_only():
    once = Once(5_000)
    assert [once.after(at) for at in (4_999, 5_000)] == [5_000, None]
    assert [once.last(4_999, 5_000), once.last(5_000, 9_000), once.last(0, 4_999)] == [5_000, None, None]
    assert [once.count(4_999, 5_000), once.count(5_000, 9_000)] == [1, 0]


def test_an_interval_fires_from_its_anchor_on():
    interval = Interval(1_000, anchor_at=2_500)
    assert [interval.after(at) for at in (-5, 2_499, 2_500, 3_499, 3_500)] == [2_500, 2_500, 3_500, 3_500, 4_500]
    assert [interval.last(0, 2_499), interval.last(0, 2_500), interval.last(0, 9_999)] == [None, 2_500, 9_500]
    assert interval.last(9_500, 9_999) is None
    assert [interval.count(0, 2_500), interval.count(2_500, 4_500), interval.count(9, 3)] == [1, 2, 0]


def test_an_interval_counts_without_walking():
    assert Interval(100).count(0, 10**18) == RANGE_END // 100 - 1
    assert Interval(100).last(0, 10**18) == RANGE_END - 100
    assert Interval(100).after(RANGE_END - 100) is None


@pytest.mark.parametrize(
    ("interval", "day", "expected"),
    [
        (Interval(3_600_000), 0, [3600 * n for n in range(24)]),
        (Interval(50_000_000), 1, [13_600, 63_600]),
        (Interval(1_000), 7, range(86_400)),
        (Interval(3_600_000, anchor_at=86_400_000 + 81_000_000), 1, [81_000, 84_600]),
        (Interval(3_600_000, anchor_at=86_400_000), 0, []),
        (Interval(30 * 86_400_000), 29, []),
    ],
)
def test_the_bits_of_a_day_are_its_fires(interval, day, expected):
    bits = interval.seconds_on(day)
    assert [k for k in range(86_401) if bits >> k & 1] == list(expected)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (Once, "at", -1),
        (Once, "at", RANGE_END),
        (Once, "at", True),
        (Once, "at", 1.5),
        (Once, "at", "2026-12-24"),
        (Interval, "every_ms", 99),
        (Interval, "every_ms", RANGE_END + 1),
        (Interval, "every_ms", None),
        (Interval, "every_ms", "x" * 999),
        (Interval, "anchor_at", -1),
    ],
)
def test_other_values_are_refused_by_field(kind, field, value):
    given = {"every_ms": 1_000} if kind is Interval else {}
    with pytest.raises(InvalidTrigger) as caught:
        kind(**{**given, field: value})
    assert caught.value.field == field
    assert "write " in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "trigger"),
    [
        ("0 2 * * *", Cron("0 2 * * *", "Europe/Berlin")),
        ("  */5 * * * * * ", Cron("*/5 * * * * *", "Europe/Berlin")),
        ("@daily", Cron("@daily", "Europe/Berlin")),
        ("every 10s", Interval(10_000)),
        ("Every 1h30m", Interval(5_400_000)),
        ("every 1 hour 30 minutes", Interval(5_400_000)),
        ("every 1.5h", Interval(5_400_000)),
        ("every 2 MIN 30 Sec", Interval(150_000)),
        ("every 500ms", Interval(500)),
        ("every 2 days", Interval(172_800_000)),
        ("every 1w", Interval(604_800_000)),
        ("at 2026-12-24T18:00", Once(moment("2026-12-24T18:00+01:00"))),
        ("at 2026-07-01 18:00:30", Once(moment("2026-07-01T18:00:30+02:00"))),
        ("AT 2026-07-01T18:00:00.250", Once(moment("2026-07-01T18:00:00.250+02:00"))),
        ("at 2026-12-24", Once(moment("2026-12-24T00:00+01:00"))),
        ("at 2026-12-24T18:00Z", Once(moment("2026-12-24T18:00Z"))),
        ("at 2026-12-24T18:00-05:00", Once(moment("2026-12-24T23:00Z"))),
        ("at 2026-10-25T02:30", Once(moment("2026-10-25T02:30+02:00"))),
    ],
)
def test_what_people_type(text, trigger):
    assert parse(text, "Europe/Berlin") == trigger


def test_text_is_read_in_utc_unless_a_zone_is_given():
    assert parse("0 2 * * *") == Cron("0 2 * * *", "UTC")
    assert parse("at 2026-12-24T18:00") == Once(moment("2026-12-24T18:00Z"))


@pytest.mark.parametrize(
    ("value", "trigger"),
    [
        ({"kind": "once", "at": 5}, Once(5)),
        ({"kind": "interval", "every_ms": 1000}, Interval(1000)),
        ({"kind": "interval", "every_ms": 1000, "anchor_at": 7}, Interval(1000, 7)),
        ({"kind": "cron", "expression": "@daily"}, Cron("@daily")),
        (
            {"kind": "cron", "expression": "@daily", "timezone": "Asia/Beirut", "gap": "skip", "fold": None},
            Cron("@daily", "Asia/Beirut", gap="skip"),
        ),
    ],
)
def test_json_may_leave_out_what_has_a_default(value, trigger):
    assert from_json(value) == trigger
    assert from_json(trigger.to_json()) == trigger


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (None, "trigger"),
        ("@daily", "trigger"),
        ({}, "kind"),
        ({"kind": "solar"}, "kind"),
        ({"kind": ["once"]}, "kind"),
        ({"kind": "once"}, "at"),
        ({"kind": "once", "at": None}, "at"),
        ({"kind": "once", "at": 5, "in": 3}, "'in'"),
        ({"kind": "interval", "every": 5, "every_ms": 500}, "'every'"),
        ({"kind": "cron"}, "expression"),
        ({"kind": "cron", "expression": 5}, "expression"),
        ({"kind": "any_of", "triggers": {}}, "triggers"),
        ({"kind": "any_of", "triggers": []}, "triggers"),
        ({"kind": "any_of", "triggers": [5]}, "trigger"),
        ({"kind": "except", "base": {"kind": "once", "at": 5000}}, "without"),
    ],
)
def test_json_that_means_nothing_is_refused_by_field(value, field):
    with pytest.raises(InvalidTrigger) as caught:
        from_json(value)
    assert caught.value.field == field
    assert "write " in str(caught.value) or "needs it" in str(caught.value)


def test_json_nested_without_end_is_refused():
    value = {"kind": "once", "at": 0}
    for _ in range(5_000):
        value = {"kind": "any_of", "triggers": [value]}
    with pytest.raises(InvalidTrigger, match="nested too deeply"):
        from_json(value)
