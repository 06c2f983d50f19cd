import re
from datetime import UTC, datetime, timedelta

import pytest

from rota.domain.run import Attempt
from rota.ports.store import Change, Group
from rota.testing.factories import make_run
from tests.cli.conftest import Terminal
from tests.cli.work import HOSTILE, SHOWN, in_store, register, sample_app, work


@pytest.fixture
def jobs(here):
    """A terminal in a folder whose store knows the sample app."""
    register(sample_app())
    return here


def test_runs_of_what_is_not_there_are_no_empty_table(jobs):
    for more in ((), ("--json",)):
        assert jobs.refused("runs", "list", "--task", "nobody", *more) == "no task 'nobody'; see `rota tasks list`"
        said = jobs.refused("runs", "list", "--schedule", "never", *more)
        assert said == "no schedule 'never'; see `rota schedules list`"
        assert jobs.refused("schedules", "list", "--task", "nobody", *more).startswith("no task 'nobody'")
    assert jobs("runs", "list", "--task", "greet") == (0, "", "no runs\n")
    assert jobs("runs", "list", "--task", "nobody", "--namespace", "*") == (0, "", "no runs\n")


def test_only_what_waits_for_its_time_is_due(jobs):
    """What waits for a worker has its limit of that under another name."""
    jobs("tasks", "update", "greet", "--queue-timeout", "1h")
    later, ready = (jobs.json("runs", "show", trigger(jobs, "greet", *more)) for more in (("--delay", "1h"), ()))
    assert (later["state"], later["due_at_ms"] > later["created_at_ms"]) == ("scheduled", True)
    assert (ready["state"], ready["due_at"], ready["due_at_ms"]) == ("pending", None, None)
    assert ready["queue_ms"] == 3_600_000


def test_no_lines_are_told(jobs):
    assert jobs("runs", "logs") == (0, "", "no lines\n")
    assert jobs("runs", "logs", trigger(jobs, "greet")) == (0, "", "no lines\n")
    assert jobs.json("runs", "logs") == []


def trigger(terminal: Terminal, task: str, *args: str) -> str:
    return terminal.line("tasks", "trigger", task, *args)


def test_a_run_from_trigger_to_result(jobs):
    run = trigger(jobs, "greet", "--payload", '{"name": "Ann"}', "--priority", "urgent")
    assert re.fullmatch("[0-9a-f]{32}", run)
    assert jobs.json("runs", "show", run)["state"] == "pending"
    work(sample_app())
    shown = jobs.json("runs", "show", run)
    assert (shown["state"], shown["payload"], shown["result"]) == ("success", {"name": "Ann"}, "hi Ann")
    assert (shown["priority"], shown["cause"], shown["attempt"]) == ("urgent", "trigger", 1)
    assert shown["actor"].startswith("cli:")
    assert shown["duration_ms"] >= 0
    assert not {"token", "digest", "rank"} & shown.keys()
    assert datetime.fromisoformat(shown["ended_at"]).timestamp() * 1000 == pytest.approx(shown["ended_at_ms"])
    assert re.search("^result +hi Ann$", jobs("runs", "show", run).out, re.MULTILINE)


def test_large_values_are_shown_whole(jobs):
    run = trigger(jobs, "greet", "--payload", f'{{"name": "{"x" * 10_000}"}}')
    work(sample_app())
    shown = jobs.json("runs", "show", run)
    assert (len(shown["payload"]["name"]), len(shown["result"])) == (10_000, 10_003)


@pytest.mark.parametrize(
    "payload",
    [
        '[{"a": 1}, 5]',
        '[{"error": 5}]',
        '{"role": "cook", "namespace": "kitchen", "shift": 1}',
        '{"at": "Oslo", "start_at": "2026-01-01T00:00:00+02:00", "size_ms": 70000, "size": 0, "none": null}',
    ],
)
def test_what_people_wrote_is_shown_as_they_wrote_it(jobs, payload):
    run = trigger(jobs, "greet", "--payload", payload)
    assert f"payload    {payload}\n" in jobs("runs", "show", run).out


def test_runs_are_listed_by_what_they_are(jobs):
    ids = [trigger(jobs, "greet", "--queue", "other"), trigger(jobs, "fails"), trigger(jobs, "greet", "--delay", "1h")]
    work_only_ready = {one["id"]: one["state"] for one in jobs.json("runs", "list")}
    assert work_only_ready == {ids[0]: "pending", ids[1]: "pending", ids[2]: "scheduled"}

    def listed(*args: str) -> list[str]:
        return [one["id"] for one in jobs.json("runs", "list", *args)]

    assert listed() == ids[::-1]
    assert listed("--limit", "1") == ids[2:]
    assert listed("--task", "fails") == ids[1:2]
    assert listed("--queue", "other") == ids[:1]
    assert listed("--state", "scheduled", "--state", "failed") == ids[2:]
    assert listed("--namespace", "nowhere") == []
    assert len(listed("--since", "1h")) == 3
    assert listed("--since", (datetime.now(UTC) + timedelta(hours=1)).isoformat()) == []
    for wrong in ("--since", "-1h"), ("--since", "soon"), ("--since", "2026-99-99"):
        assert "'--since'" in jobs.refused("runs", "list", *wrong)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--delay", "-5s"), "'--delay': '-5s' is not a length of time"),
        (("--delay", "-5"), "'--delay': -5.0 is not between 0 and ten years"),
        (("--delay", "200y"), "is not a length of time"),
        (("--delay", "1s", "--at", "2030-01-01"), "not both"),
        (("--at", "tomorrow"), "'--at': 'tomorrow' is no date and time; write it as in \"2026-12-24T18:00\""),
        (("--at", "2020-01-01"), "at: lies more than a minute in the past; leave the time out to run it now"),
        (("--at", "2190-01-01"), "not within the next hundred years"),
        (("--payload", "{'a': 1}"), "is not JSON"),
        (("--payload", '"' + "x" * 300_000 + '"'), "the limit is 262144"),
        (("--queue", "a b"), "queue: 'a b' is not a name"),
        (("--priority", "9"), "priority: 9 is none of"),
        (("--key", "x" * 513), "key: a key has 1 to 200 printable ASCII characters"),
        (("--key", " "), "key: a key has"),
        (("--unique", "a\nb"), "unique: a key has"),
        (("--key", ""), "key: a key has"),
        (("--unique", ""), "unique: it should have at least 1 character"),
        (("--queue", ""), "queue: '' is not a name"),
    ],
    ids=lambda value: None if isinstance(value, str) else " ".join(value)[:30].encode("unicode_escape").decode(),
)
def test_what_makes_no_run_is_refused(jobs, args, said):
    assert said in jobs.refused("tasks", "trigger", "greet", *args)
    assert jobs.json("runs", "list") == []


def test_a_key_gives_one_run(jobs):
    first = jobs.json("tasks", "trigger", "greet", "--key", "today")
    again = jobs.json("tasks", "trigger", "greet", "--key", "today")
    assert (first["created"], again["created"], again["id"]) == (True, False, first["id"])
    assert "came before with another body" in jobs.refused("tasks", "trigger", "fails", "--key", "today")


def test_a_trigger_in_turn_obeys_the_schedule(jobs):
    trigger(jobs, "greet", "--overlap")
    assert "is not over; wait for it" in jobs.refused("tasks", "trigger", "greet", "--overlap")
    assert "no schedule 'main/fails'" in jobs.refused("tasks", "trigger", "fails", "--overlap")


def test_a_run_is_named_by_the_start_or_end_of_its_id(jobs):
    run = trigger(jobs, "greet")
    assert jobs.json("runs", "show", run[:30])["id"] == run
    assert jobs.json("runs", "show", run[:20].upper())["id"] == run
    assert jobs.json("runs", "show", run[-8:])["id"] == run
    assert jobs("runs", "list").out.splitlines()[1].startswith(f"{run[-8:]}  greet ")
    assert run in jobs("runs", "list", "--wide").out
    others = [trigger(jobs, "greet") for _ in range(2)]
    said = jobs.refused("runs", "show", run[:6])
    assert all(one in said for one in (run, *others))


@pytest.mark.parametrize(
    "name", ["", "abc", "01a1f", "nothing", "0" * 33, "../../etc", "%", "\x1b[31mabcdef", "x" * 10**6]
)
def test_what_is_no_id_is_refused(jobs, name):
    said = jobs.refused("runs", "show", "--", name)
    assert "is not the id of a run" in said
    assert len(said) < 200


def test_a_run_that_does_not_exist_is_refused(jobs):
    for verb in ("show", "cancel", "retry", "explain", "logs"):
        assert "no run 'ffffffff'" in jobs.refused("runs", verb, "ffffffff")
        assert f"no run '{'f' * 32}'" in jobs.refused("runs", verb, "f" * 32)


def test_cancel_and_retry(jobs):
    run = trigger(jobs, "greet")
    assert "is pending; cancel it first" in jobs.refused("runs", "retry", run)
    assert jobs.json("runs", "cancel", run) == {"id": run, "state": "cancelled"}
    assert jobs("runs", "cancel", run).out == f"id     {run}\nstate  cancelled\n"
    again = jobs.json("runs", "retry", run)
    assert again["origin"] == run
    work(sample_app())
    assert jobs.json("runs", "show", again["id"])["state"] == "success"
    assert "has ended as success" in jobs.refused("runs", "cancel", again["id"])


def test_a_run_is_explained(jobs):
    run = trigger(jobs, "fails")
    assert "no live worker takes queue default" in jobs("runs", "explain", run).out
    work(sample_app())
    story = jobs.json("runs", "explain", run)["story"]
    assert "triggered by cli:" in story[0]
    assert "failed: it failed" in story[-1]


def test_lines_are_kept_and_found(jobs):
    run = trigger(jobs, "paints")
    other = trigger(jobs, "greet")
    work(sample_app())
    lines = jobs.json("runs", "logs", run)
    assert [(one["stream"], one["level"], one["text"]) for one in lines] == [
        ("stdout", "info", "plain\tline"),
        ("stdout", "info", HOSTILE),
        ("log", "warning", "careful"),
    ]
    assert lines[0]["attempt"] == 1
    assert lines[0]["at_ms"] > 0
    assert [one["text"] for one in jobs.json("runs", "logs", run, "--search", "PLAIN")] == ["plain\tline"]
    found = jobs("runs", "logs", "--search", "hello")
    assert found.out.startswith(other)
    assert found.out.endswith(" 1 stdout  hello you\n")
    assert "follow: which run?" in jobs.refused("runs", "logs", "--follow")


def test_ends_that_several_ids_have_are_refused_with_all_of_them(jobs):
    ids = [f"{number:012x}{'ab' * 10}" for number in (1, 2)]

    async def put(engine):
        runs = [make_run(number)._replace(id=one) for number, one in enumerate(ids, 1)]
        await engine.commit([Group((Change(None, run),)) for run in runs])

    in_store(put)
    said = jobs.refused("runs", "cancel", "abababab")
    assert all(one in said for one in ids)


def test_an_error_keeps_its_lines(jobs):
    run = trigger(jobs, "fails")
    work(sample_app())
    out = jobs("runs", "show", run).out
    assert re.search(r'^error +ValueError: .*\n +Traceback.*\n +File "', out, re.MULTILINE)


def test_earlier_attempts_stand_in_lines_of_their_own(jobs):
    told = [Attempt(number, 0, "w", "s", 0, 0, 1, "error", f"Boom\n  at line {number}", 0) for number in (1, 2)]

    async def put(engine):
        await engine.commit_one(Group((Change(None, make_run(1, history=tuple(told))),)))
        return make_run(1).id

    out = jobs("runs", "show", in_store(put)).out
    assert re.search(r"^history +number 1, worker w, .*\n +Boom\n +at line 1\n +number 2, ", out, re.MULTILINE)
    assert not re.search("^history.*claimed", out, re.MULTILINE)


def test_following_a_run_that_has_ended_ends(jobs):
    run = trigger(jobs, "paints")
    work(sample_app())
    assert jobs("runs", "logs", run, "--follow").out == jobs("runs", "logs", run).out
    assert len(jobs("runs", "logs", run, "--follow", "--json").out.splitlines()) == 3


def test_what_tasks_write_is_shown_escaped(jobs):
    painted, failed = trigger(jobs, "paints"), trigger(jobs, "fails")
    work(sample_app())
    assert f" {SHOWN}\n" in jobs("runs", "logs", painted).out
    for args in ("runs", "list", "--wide"), ("runs", "show", failed), ("runs", "explain", failed), ("runs", "logs"):
        answer = jobs(*args)
        assert SHOWN in answer.out
        assert not {"\x1b", "\u202e"} & {*answer.out}
        raw = jobs(*args, "--json").out
        assert raw.isascii()
        assert "\x1b" not in raw


def test_what_people_write_is_shown_escaped(here):
    here("tasks", "create", "backup", "--description", HOSTILE, "--payload", f'"{HOSTILE}"'.replace("\x1b", "\\u001b"))
    for args in ("tasks", "list", "--wide"), ("tasks", "show", "backup"):
        answer = here(*args)
        assert SHOWN in answer.out
        assert "\x1b" not in answer.out


def test_records_that_came_around_the_rules_are_shown_escaped(here):
    """A name is checked on its way in, but the file may be written by others."""
    from rota.domain.task import Task
    from rota.ports.store import Change, Group

    async def put(engine):
        await engine.commit_one(Group((Change(None, Task("main", "\x1b]0;evil\x07", queue="[red]x[/red]")),)))

    in_store(put)
    answer = here("tasks", "list")
    assert "\\x1b]0;evil\\x07" in answer.out
    assert "[red]x[/red]" in answer.out
