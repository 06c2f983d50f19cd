from typing import Any

import pytest

from rota.cli.remote import Api
from tests.cli.work import register, sample_app

CREATE = ("tasks", "create", "backup")


def test_a_task_as_given(here):
    made = here(
        *CREATE, "--executor", "http", "--command", "https://example.org/", "--payload", '{"a": [1, null]}',
        "--schedule", "0 2 * * *", "--schedule", "every 90s", "--timezone", "Europe/Berlin", "--queue", "nightly",
        "--priority", "high", "--retries", "5", "--retry-delay", "2m", "--timeout", "1h30m", "--total-timeout", "none",
        "--param", "method=POST", "--param", 'headers={"X-A": "b"}', "--requires", "gpu", "--on-lost", "fail",
        "--description", "Copies all.",
    )  # fmt: skip
    assert made.code == 0
    assert "when         0 2 * * * (Europe/Berlin), every 90s\n" in made.out
    assert made.err == "warning: no live worker takes queue nightly with executor http with labels gpu; start one\n"
    task = here.json("tasks", "show", "backup")
    assert task["command"] == "https://example.org/"
    assert task["payload"] == {"a": [1, None]}
    assert task["params"] == {"method": "POST", "headers": {"X-A": "b"}}
    assert (task["queue"], task["priority"], task["on_lost"], task["requires"]) == ("nightly", "high", "fail", ["gpu"])
    assert (task["retry"]["retries"], task["retry"]["delay_ms"]) == (5, 120_000)
    assert (task["clocks"]["attempt_ms"], task["clocks"]["total_ms"]) == (5_400_000, None)
    assert task["schedules"] == ["backup", "backup:2"]
    assert task["created_at"].endswith("Z")
    assert isinstance(task["created_at_ms"], int)
    schedules = here.json("schedules", "list", "--task", "backup")
    assert {one["when"] for one in schedules} == {"0 2 * * * (Europe/Berlin)", "every 90s"}


@pytest.mark.parametrize(
    ("args", "executor", "retries"),
    [
        ((), "python", 3),
        (("--executor", "local"), "python", 3),
        (("--executor", "python", "--command", "report.py"), "script", 0),
        (("--executor", "shell", "--command", "ls"), "shell", 0),
        (("--executor", "shell", "--command", "ls", "--retries", "1"), "shell", 1),
        (("--executor", "rpc", "--command", "host:1/a.B/C"), "grpc", 3),
        (("--executor", "mine", "--command", "x"), "mine", 3),
    ],
)
def test_the_executor_that_is_meant(here, args, executor, retries):
    here(*CREATE, *args)
    task = here.json("tasks", "show", "backup")
    assert (task["executor"], task["retry"]["retries"]) == (executor, retries)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--executor", "shell"), "command: is missing"),
        (("--executor", ""), "executor: '' is not a name"),
        (("--executor", "a b"), "executor: 'a b' is not a name"),
        (("--command", "a\0b"), "command: text cannot hold NUL"),
        (("--description", "\ud800"), "holds a lone surrogate"),
        (("--payload", "{"), "'--payload': '{' is not JSON"),
        (("--payload", "NaN"), "'NaN' is not JSON"),
        (("--payload", '"\\ud800"'), "is not JSON"),
        (("--payload", "[" * 100_000), "is not JSON"),
        (("--payload", '"' + "x" * 300_000 + '"'), "the limit is 262144"),
        (("--payload", '{"a": 1, "a": 2}'), "'--payload': '{\"a\": 1, \"a\": 2}' is not JSON: key 'a' stands twice"),
        (("--executor", "http", "--command", "example.org"), "command: 'no scheme' is not http or https"),
        (("--executor", "grpc", "--command", "host"), "command: 'host' is not of the form"),
        (("--executor", "script", "--command", "../x.py"), "command: '../x.py' is not below the scripts folder"),
        (("--executor", "shell", "--command", " "), "command: a command line is wanted"),
        (("--executor", "shell", "--command", "ls", "--isolation", "process"), "isolation: is for python tasks"),
        (("--param", "nonsense"), "'--param': 'nonsense' is not key=value"),
        (("--queue", " "), "queue: ' ' is not a name"),
        (("--queue", "x" * 129), "queue: "),
        (("--priority", "extreme"), "priority: 'extreme' is none of low (0), normal (1), high (2), urgent (3)"),
        (("--priority", "4"), "priority: 4 is none of"),
        (("--priority", "-1"), "priority: '-1' is none of"),
        (("--retries", "-1"), "--retries"),
        (("--retries", "1001"), "retries: it should be less than or equal to 1000"),
        (("--retries", "two"), "--retries"),
        (("--timeout", "0"), "'--timeout': 0 leaves no time"),
        (("--timeout", "-5"), "'--timeout': -5.0 is not between 0 and ten years"),
        (("--timeout", "soon"), "'--timeout': 'soon' is not a length of time"),
        (("--timeout", "nan"), "'--timeout': 'nan' is not a length of time"),
        (("--retry-delay", "-1s"), "'--retry-delay': '-1s' is not a length of time"),
        (("--requires", "a b"), "requires.0: 'a b' is not a name"),
        (("--isolation", "moon"), "--isolation"),
        (("--schedule", "0 0 31 2 *"), "no year has a date for '0 0 31 2 *'"),
        (("--schedule", "never"), "expression: 'never' has 1 field"),
        (("--schedule", "at 2001-01-01"), "it would never fire: its last instant is in the past"),
        (("--schedule", "every 1ms"), "every_ms"),
        (("--schedule", "@daily", "--timezone", "Mars/Base"), "timezone: 'Mars/Base' is no known time zone"),
        (("--schedule", "@daily", "--timezone", "../etc/passwd"), "is no known time zone"),
        (("--schedule", "every 1m", "--timezone", "Nowhere"), "timezone: is for cron text"),
        (("--timezone", "Europe/Berlin"), "timezone: is that of schedule; give that as well"),
    ],
    ids=lambda value: None if isinstance(value, str) else " ".join(value)[:40].encode("unicode_escape").decode(),
)
def test_what_makes_no_task_is_refused_and_nothing_is_made(here, args, said):
    assert said in here.refused(*CREATE, *args)
    assert here.json("tasks", "list") == []
    assert here.json("schedules", "list") == []


@pytest.mark.parametrize("name", ["", " ", "a b", "a\0b", "x" * 1_048_576, "../x", "a/b/c", "\x1b[31m", "ü"])
def test_what_is_no_name_is_refused(here, name):
    for command in (("tasks", "create"), ("tasks", "show"), ("tasks", "trigger"), ("queues", "pause")):
        said = here.refused(*command, "--", name)
        assert "is not a name: use 1 to 128 letters" in said
        assert "\x1b" not in said
        assert len(said) < 200


def test_a_name_is_taken_once(here):
    here(*CREATE)
    assert "exists already" in here.refused(*CREATE)


def test_tasks_are_listed_with_their_next_fire(here):
    here(*CREATE, "--schedule", "@daily")
    here("tasks", "create", "other/thing")
    listed = here("tasks", "list")
    assert listed.err == ""
    assert "backup" in listed.out
    assert "thing" not in listed.out
    assert [one["name"] for one in here.json("tasks", "list", "--namespace", "other")] == ["thing"]
    (task,) = here.json("tasks", "list")
    assert task["next_at_ms"] == here.json("schedules", "show", "backup")["next_at_ms"]


def test_an_empty_listing_says_so_apart_from_the_data(here):
    assert here("tasks", "list")[1:] == ("", "no tasks\n")


def test_a_task_is_shown_for_people(here):
    here(*CREATE, "--schedule", "@daily", "--timeout", "90s")
    out = here("tasks", "show", "main/backup").out
    assert "clocks     attempt 1 min 30 s\n" in out
    assert "retry      retries 3, delay 10 s, rate 2.0, cap 1 h, jitter 0.1\n" in out
    assert "when       @daily\n" in out


def test_a_changed_task_has_a_new_revision(here):
    here(*CREATE, "--timeout", "90s", "--param", "a=1")
    after = here("tasks", "update", "backup", "--queue", "nightly", "--param", "b=2", "--priority", "3")
    assert "revision   2\n" in after.out
    task = here.json("tasks", "show", "backup")
    assert (task["queue"], task["params"], task["priority"]) == ("nightly", {"a": 1, "b": 2}, "urgent")
    assert task["clocks"]["attempt_ms"] == 90_000
    assert "nothing to change" in here.refused("tasks", "update", "backup")
    assert "priority: " in here.refused("tasks", "update", "backup", "--priority", "x")


def test_a_change_of_code_is_an_override_until_it_is_reset(here):
    register(sample_app())
    here("tasks", "update", "greet", "--retries", "9")
    task = here.json("tasks", "show", "greet")
    assert (task["owner"], task["retry"]["retries"], task["overrides"]["retry"]["retries"]) == ("code", 9, 3)
    assert here("tasks", "reset", "greet").code == 0
    assert here.json("tasks", "show", "greet")["retry"]["retries"] == 3


def test_a_task_and_its_schedules_go_together(here):
    here(*CREATE, "--schedule", "@daily")
    assert here.json("tasks", "delete", "backup") == {"deleted": "main/backup"}
    assert here.json("schedules", "list") == []
    assert "no task 'backup'; see `rota tasks list`" in here.refused("tasks", "delete", "backup")


@pytest.mark.parametrize("kind", ["tasks", "schedules"])
def test_who_deletes_what_code_declares_is_told_that_it_comes_back(here, kind):
    register(sample_app())
    gone = here(kind, "delete", "greet", "--json")
    assert (gone.code, gone.json) == (0, {"deleted": "main/greet"})
    assert gone.err == (
        "warning: an app declares main/greet in its code: it comes back when that app starts again; take it out there "
        "too\n"
    )
    here(*CREATE, "--schedule", "@daily")
    assert here(kind, "delete", "backup").err == ""


def test_pausing_a_task_pauses_all_its_schedules(here):
    here(*CREATE, "--schedule", "@daily", "--schedule", "@hourly")
    paused = here.json("tasks", "pause", "backup", "--why", "move")
    assert [(one["paused"], one["next_at"], one["state"]) for one in paused] == [("move", None, "paused")] * 2
    resumed = here.json("tasks", "resume", "backup")
    assert [one["state"] for one in resumed] == ["on", "on"]
    assert all(one["next_at_ms"] for one in resumed)


def test_a_task_without_schedules_cannot_rest(here):
    here(*CREATE)
    said = here.refused("tasks", "pause", "backup")
    assert said.endswith("has no schedule, so nothing fires it by itself; to hold runs back, pause queue default")
    assert "no task 'nobody'" in here.refused("tasks", "resume", "nobody")


def test_waiting_has_an_end_and_tells_why_it_takes_so_long(here, monkeypatch):
    monkeypatch.setattr("rota.cli.runs.PUZZLED", 1)
    here(*CREATE)
    late = here("tasks", "trigger", "backup", "--wait", "--timeout", "2s", "--delay", "1h")
    run = here.json("runs", "list")[0]["id"]
    assert (late.code, late.out) == (1, "")
    assert late.err.splitlines() == [
        "warning: it waits: no live worker takes queue default with executor python; start one",
        f"run {run}: scheduled",
        f"run {run}: {here.json('runs', 'explain', run)['story'][-1]}",
        f"error: it has not ended in time; run {run} goes on: `rota runs explain {run}` tells how it is, "
        f"`rota runs cancel {run}` ends it",
    ]
    assert here.refused("tasks", "trigger", "backup", "--timeout", "1s").startswith("timeout: is for --wait")
    assert len(here.json("runs", "list")) == 1


def test_what_another_adds_to_the_settings_of_an_executor_meanwhile_is_not_taken_away(here, monkeypatch):
    here(*CREATE, "--param", "a=1")
    asked = Api.__call__

    async def while_another_does(self: Api, method: str, path: str, *args: Any, **more: Any) -> Any:
        found = await asked(self, method, path, *args, **more)
        tag = self.tag
        if method == "GET":
            await asked(self, "PATCH", path, {"params": {"a": 1, "b": 2}})
        self.tag = tag
        return found

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(Api, "__call__", while_another_does)
        assert "it was changed since it was read" in here.refused("tasks", "update", "backup", "--param", "c=3")
    assert here.json("tasks", "show", "backup")["params"] == {"a": 1, "b": 2}
