import pytest

from tests.cli.work import register, sample_app


@pytest.fixture
def task(here):
    """A terminal in a folder whose store has a task."""
    here("tasks", "create", "backup")
    return here


def test_a_schedule_as_given(task):
    made = task(
        "schedules", "create", "backup", "30 2 * * *", "--name", "nightly", "--timezone", "America/New_York",
        "--gap", "skip", "--fold", "both", "--catch-up", "all", "--window", "2d", "--max-runs", "7",
        "--start-deadline", "10m", "--overlap", "buffer_one", "--payload", '{"full": true}',
    )  # fmt: skip
    assert made.code == 0
    assert "when            30 2 * * * (America/New_York)\n" in made.out
    schedule = task.json("schedules", "show", "nightly")
    assert (schedule["task"], schedule["when"]) == ("backup", "30 2 * * * (America/New_York)")
    assert schedule["trigger"] | {"gap": "skip", "fold": "both"} == schedule["trigger"]
    assert schedule["payload"] == {"full": True}
    assert schedule["policy"] == {
        "catch_up": "all",
        "window_ms": 172_800_000,
        "max_runs": 7,
        "start_deadline_ms": 600_000,
        "overlap": "buffer_one",
        "misfire_ms": 5_000,
    }
    assert schedule["next_fires"][0] == schedule["next_at"]
    assert len(schedule["next_fires"]) == 3


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("0 0 31 2 *",), "no year has a date"),
        (("* * *",), "has 3 fields"),
        (("@never",), "@never"),
        (("every banana",), "is not a length of time"),
        (("every 1s", "--gap", "skip"), "gap: is for cron text"),
        (("every 1m", "--timezone", "Nowhere"), "timezone: is for cron text"),
        (("at 1999-12-31T23:00",), "it would never fire"),
        (("at tomorrow",), "is no date and time"),
        (("at 2026-03-29T02:30", "--timezone", "Europe/Berlin"), "skip"),
        (("@daily", "--timezone", "Nowhere"), "is no known time zone"),
        (("@daily", "--overlap", "maybe"), "--overlap"),
        (("@daily", "--max-runs", "0"), "--max-runs"),
        (("@daily", "--window", "-1"), "'--window': -1.0 is not between 0 and ten years"),
        (("@daily", "--start-deadline", "0"), "'--start-deadline': 0 leaves no time"),
        (("@daily", "--payload", "{]"), "is not JSON"),
        (("@daily", "--name", "a b"), "'a b' is not a name"),
        (("x" * 1_000_000,), "at most 200 characters"),
    ],
    ids=lambda value: None if isinstance(value, str) else " ".join(value)[:40],
)
def test_what_makes_no_schedule_is_refused(task, args, said):
    assert said in task.refused("schedules", "create", "backup", *args)
    assert task.json("schedules", "list") == []


def test_a_schedule_needs_its_task(task):
    assert "no task 'main/nobody'" in task.refused("schedules", "create", "nobody", "@daily")
    task("schedules", "create", "backup", "@daily")
    assert "no task 'main/nobody'" in task.refused("schedules", "update", "backup", "--task", "nobody")


def test_a_changed_schedule_keeps_what_is_not_named(task):
    task(
        "schedules",
        "create",
        "backup",
        "0 2 * * *",
        "--timezone",
        "Asia/Tokyo",
        "--overlap",
        "allow",
        "--max-runs",
        "7",
    )
    task("schedules", "update", "backup", "--schedule", "0 3 * * *", "--catch-up", "skip", "--start-deadline", "none")
    schedule = task.json("schedules", "show", "backup")
    assert (schedule["when"], schedule["revision"]) == ("0 3 * * * (Asia/Tokyo)", 2)
    policy = schedule["policy"]
    assert (policy["overlap"], policy["catch_up"], policy["max_runs"]) == ("allow", "skip", 7)
    task("schedules", "update", "backup", "--timezone", "Europe/Paris", "--gap", "skip")
    assert task.json("schedules", "show", "backup")["when"] == "0 3 * * * (Europe/Paris)"
    assert "nothing to change" in task.refused("schedules", "update", "backup")


def test_a_time_zone_is_for_cron(task):
    task("schedules", "create", "backup", "every 10s")
    said = task.refused("schedules", "update", "backup", "--timezone", "Asia/Tokyo")
    assert said.startswith("timezone: is for cron text")
    task("schedules", "update", "backup", "--schedule", "@daily", "--timezone", "Asia/Tokyo")
    assert task.json("schedules", "show", "backup")["when"] == "@daily (Asia/Tokyo)"


def test_pause_and_resume(task):
    task("schedules", "create", "backup", "every 10s")
    assert task("schedules", "pause", "backup", "--why", "repair").code == 0
    assert task.json("schedules", "show", "backup")["paused"] == "repair"
    assert task("schedules", "explain", "backup").out.startswith("it does not fire, it was paused by cli:")
    assert task.json("schedules", "preview", "backup") == []
    assert task("schedules", "preview", "backup").out.startswith("it does not fire, it was paused by cli:")
    assert task.json("schedules", "resume", "backup", "--catch-up")["next_at_ms"] > 0
    assert len(task.json("schedules", "preview", "backup", "--count", "4")) == 4
    assert task.json("schedules", "explain", "backup")["story"][0].startswith("it fires next at")


def test_a_schedule_of_code_is_reset(here):
    register(sample_app())
    here("schedules", "update", "greet", "--schedule", "@hourly")
    assert here.json("schedules", "show", "greet")["when"] == "@hourly (Europe/Berlin)"
    here("schedules", "reset", "greet")
    assert here.json("schedules", "show", "greet")["when"] == "0 2 * * * (Europe/Berlin)"


def test_a_schedule_is_deleted_once(task):
    task("schedules", "create", "backup", "@daily")
    assert task.json("schedules", "delete", "main/backup") == {"deleted": "main/backup"}
    for verb in ("delete", "show", "pause", "resume", "reset", "preview", "explain"):
        assert "no schedule 'backup'" in task.refused("schedules", verb, "backup")


def test_a_preview_needs_no_store(rota):
    fires = rota.json("preview", "30 12 24 12 *", "--timezone", "Europe/Berlin", "--count", "2")
    assert [one[4:] for one in fires] == ["-12-24T11:30:00.000Z"] * 2
    out = rota("preview", "30 12 24 12 *", "--timezone", "Asia/Kolkata", "--count", "1").out
    assert out.endswith("-12-24 12:30:00+05:30 Asia/Kolkata\n")
    assert rota("preview", "30 12 24 12 *", "--timezone", "America/New_York", "--count", "1").out.count("-05:00") == 1


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("0 0 31 2 *",), "no year has a date"),
        (("@daily", "--timezone", "x" * 1_000_000), "characters long"),
        (("every 10s", "--timezone", "Nowhere"), "is no known time zone"),
        (("at 2001-01-01",), "it would never fire"),
        (("@daily", "--count", "0"), "--count"),
        (("",), "expression"),
        (("\0",), "expression"),
    ],
    ids=lambda value: None if isinstance(value, str) else " ".join(value)[:30].encode("unicode_escape").decode(),
)
def test_what_cannot_fire_has_no_preview(rota, args, said):
    assert said in rota.refused("preview", *args)
