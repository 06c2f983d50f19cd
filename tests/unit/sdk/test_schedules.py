from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from rota.domain.errors import Invalid, InvalidTrigger
from rota.domain.schedule import CatchUp, Overlap, Policy, Schedule
from rota.domain.task import Owner
from rota.domain.triggers import AnyOf, Cron, Interval, Once
from rota.sdk.registry import TaskRegistry
from rota.sdk.schedules import ScheduleOptions


def backup(target: str = "disk", *, full: bool = False): ...


def needy(target: str): ...


def schedules(**options: Any) -> tuple[Schedule, ...]:
    return TaskRegistry(app="shop", version="1.2").declare(backup, name="backup", **options).schedules


def one(**options: Any) -> Schedule:
    (schedule,) = schedules(**options)
    return schedule


def test_no_schedule_is_none():
    assert schedules() == schedules(schedule=None) == schedules(schedule=[]) == ()


def test_a_schedule_is_called_as_its_task_and_belongs_to_the_code():
    assert one(schedule="0 2 * * *") == Schedule(
        namespace="main",
        name="backup",
        task="backup",
        trigger=Cron("0 2 * * *"),
        owner=Owner.CODE,
        app="shop",
        version="1.2",
    )


@pytest.mark.parametrize(
    ("when", "trigger"),
    [
        ("@daily", Cron("@daily")),
        ("every 10s", Interval(10_000)),
        ("at 2026-12-24T18:00", Once(1_798_135_200_000)),
        (timedelta(minutes=5), Interval(300_000)),
        (datetime(2026, 12, 24, 18, tzinfo=UTC), Once(1_798_135_200_000)),
        (datetime(2026, 12, 24, 19, tzinfo=ZoneInfo("Europe/Berlin")), Once(1_798_135_200_000)),
        (Cron("@daily", "Asia/Tokyo"), Cron("@daily", "Asia/Tokyo")),
        (AnyOf([Cron("@daily"), Cron("@hourly")]), AnyOf([Cron("@daily"), Cron("@hourly")])),
    ],
)
def test_when_may_be_said_in_many_ways(when, trigger):
    assert one(schedule=when).trigger == trigger


def test_zone_rules_reach_the_cron_trigger():
    trigger = one(schedule="30 2 * * *", timezone="Europe/Berlin", gap="skip", fold="both").trigger
    assert trigger == Cron("30 2 * * *", "Europe/Berlin", gap="skip", fold="both")
    assert one(schedule="@daily", timezone=ZoneInfo("Europe/Berlin")).trigger == Cron("@daily", "Europe/Berlin")


def test_time_rules_reach_the_policy():
    options = {"catch_up": "all", "window": "2h", "max_runs": 3, "start_deadline": 60, "overlap": "buffer_one"}
    assert one(schedule="@daily", **options).policy == Policy(
        catch_up=CatchUp.ALL,
        window_ms=7_200_000,
        max_runs=3,
        start_deadline_ms=60_000,
        overlap=Overlap.BUFFER_ONE,
    )


def test_several_schedules_share_the_rules_of_the_task_and_may_have_their_own():
    first, second, third = schedules(
        schedule=[
            "0 2 * * *",
            ScheduleOptions("0 3 * * *", timezone="UTC", overlap="allow", args=("tape",), kwargs={"full": True}),
            ScheduleOptions(timedelta(hours=1), name="often"),
        ],
        timezone="Europe/Berlin",
        catch_up="skip",
        args=("disk",),
    )
    assert [first.name, second.name, third.name] == ["backup", "backup:2", "often"]
    assert first.trigger == Cron("0 2 * * *", "Europe/Berlin")
    assert second.trigger == Cron("0 3 * * *", "UTC")
    assert second.policy == Policy(catch_up=CatchUp.SKIP, overlap=Overlap.ALLOW)
    assert first.payload == third.payload == b'{"target":"disk"}'
    assert second.payload == b'{"target":"tape","full":true}'


@pytest.mark.parametrize(
    ("options", "field", "problem"),
    [
        ({"schedule": datetime(2026, 12, 24)}, "schedule", "has no time zone; give it one"),  # noqa: DTZ001  # the test
        ({"schedule": 10}, "schedule", 'is no schedule; write cron text, "@daily"'),
        ({"schedule": [["@daily"]]}, "schedule", "is no schedule"),
        ({"schedule": timedelta(0)}, "every_ms", "out of range"),
        ({"schedule": timedelta(days=-1)}, "schedule", "is not between 0 and ten years"),
        ({"schedule": "0 0 31 2 *"}, "day-of-month", ""),
        ({"schedule": "@daily", "timezone": "Mars/Base"}, "timezone", "is no known time zone"),
        ({"schedule": "@daily", "gap": "jump"}, "gap", "is unknown"),
        ({"schedule": "@daily", "catch_up": "some"}, "catch_up", "is none of skip, latest, earliest, all"),
        ({"schedule": "@daily", "overlap": "never"}, "overlap", "is none of skip"),
        ({"schedule": "@daily", "window": "long"}, "window", "is not a length of time"),
        ({"schedule": "@daily", "max_runs": 0}, "max_runs", "is no whole number from 1 on"),
        ({"schedule": "@daily", "max_runs": True}, "max_runs", "is no whole number from 1 on"),
        ({"schedule": "@daily", "start_deadline": 0}, "start_deadline", "None means no limit"),
        ({"schedule": "@daily", "args": "disk"}, "args", "one argument is written (1,)"),
        ({"schedule": "@daily", "kwargs": ["disk"]}, "kwargs", "is no dict"),
        ({"schedule": "@daily", "args": (1,)}, "schedule", "target: should be a valid string; got 1"),
        ({"schedule": "@daily", "kwargs": {"fast": 1}}, "schedule", "fast: there is no such parameter"),
        ({"schedule": timedelta(hours=1), "timezone": "UTC"}, "timezone", "is for schedules written as text"),
        ({"schedule": Cron("@daily"), "fold": "both"}, "fold", "is for schedules written as text"),
        ({"schedule": ["@daily", ScheduleOptions(Cron("@daily"), gap="skip")]}, "gap", "written as text"),
        ({"schedule": "every 1m", "timezone": "Nowhere"}, "timezone", "is for cron text"),
        ({"schedule": [" Every 1m", timedelta(hours=1)], "timezone": "UTC"}, "timezone", "is for cron text"),
        ({"schedule": ["@daily", ScheduleOptions("every 1m", fold="both")]}, "fold", "is for cron text"),
        ({"catch_up": "all"}, "catch_up", "give schedule= as well"),
        ({"schedule": [ScheduleOptions("@daily", name="a b")]}, "schedule", "is not a name"),
        ({"schedule": ["@daily", ScheduleOptions("@hourly", name="backup")]}, "schedule", "ScheduleOptions(name=...)"),
    ],
)
def test_a_wrong_schedule_names_the_option_and_the_problem(options, field, problem):
    with pytest.raises(Invalid) as caught:
        schedules(**options)
    assert caught.value.field == field
    assert problem in caught.value.message


def test_runs_that_lack_an_argument_are_refused_at_the_declaration():
    with pytest.raises(Invalid, match=r"^schedule: its runs cannot start .*: target: is missing"):
        TaskRegistry().declare(needy, schedule="@daily")
    (schedule,) = TaskRegistry().declare(needy, schedule="@daily", kwargs={"target": "disk"}).schedules
    assert schedule.payload == b'{"target":"disk"}'


def test_cron_text_that_cannot_be_read_stays_the_domains_own_error():
    with pytest.raises(InvalidTrigger):
        schedules(schedule="every day")


def test_schedule_names_are_taken_once_in_a_registry():
    registry = TaskRegistry()
    registry.declare(backup, name="backup", schedule=["@daily", "@hourly"])
    with pytest.raises(Invalid, match=r"^schedule: there is a schedule 'backup:2' already"):
        registry.declare(backup, name="backup:2", schedule="@daily")
    assert list(registry.declared) == ["backup"]


def test_an_unknown_rule_is_told_the_nearest():
    rules: Any = {"timzone": "UTC"}
    with pytest.raises(Invalid, match=r"^timzone: there is no such option; did you mean 'timezone'\?"):
        ScheduleOptions("@daily", **rules)


def test_a_schedule_without_arguments_does_with_those_of_its_task():
    made = TaskRegistry().declare(needy, name="needy", schedule="@daily", payload={"target": "disk"})
    assert made.schedules[0].payload == b""
    assert made.task.payload == b'{"target":"disk"}'


@pytest.mark.parametrize("payload", [{"goal": "disk"}, {"target": 5}, {}])
def test_a_tasks_arguments_must_fit_it(payload):
    with pytest.raises(Invalid, match=r"^payload: does not fit the function: (goal|target): "):
        TaskRegistry().declare(needy, name="needy", payload=payload)


def test_arguments_of_a_schedule_replace_those_of_its_task():
    made = TaskRegistry().declare(backup, schedule="@daily", payload={"target": "disk"}, kwargs={"full": True})
    assert made.schedules[0].payload == b'{"full":true}'
