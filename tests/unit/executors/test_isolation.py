import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from rota.domain.run import LOST_LIMIT, End, Reason
from rota.executors.pool import FRAME_LIMIT, Pool
from rota.executors.python import PythonExecutor
from tests.unit.executors.children import children
from tests.unit.executors.support import ISOLATED, Attempt, Life, Notes, Plain, assigned, outcome

APP = "tests.unit.executors.tasks_isolated:app"
NAMES = (
    "whoami", "talk", "crash", "vanish", "quit_politely", "sleep", "family", "wait", "flood", "log_flood", "large",
    "broken", "look", "heed", "missing", "mumble", "fork", "fork_later", "leave", "linger", "rouse", "cut", "shy",
    "migrate",
)  # fmt: skip
TRACES = (
    "folder", "variable", "umask", "handler", "alarm", "limit", "thread", "child", "closed", "input", "path", "logging",
    "gone",
)  # fmt: skip


def isolating(**options) -> PythonExecutor:
    # What runs is what the child finds under the name; the worker's own function would tell at once.
    handlers = {name: Plain(lambda: "not isolated") for name in NAMES}
    return PythonExecutor(handlers, **{"app": APP, "grace_ms": 100, **options})


@pytest.fixture
async def python():
    executor = isolating()
    yield executor
    await executor.close()
    assert children() == []


def isolated(command, payload=None, **task):
    return assigned(command, payload, isolation=ISOLATED, **task)


async def test_an_attempt_runs_in_a_child_that_leads_a_group(python):
    end, _ = await outcome(python, isolated("whoami"))
    child = msgspec.json.decode(end.result)
    assert child["pid"] != psutil.Process().pid
    assert child["leader"]


async def test_what_cannot_be_said_does_not_fail_the_attempt(python):
    end, notes = await outcome(python, isolated("mumble"))
    assert (end.end, end.result) == (End.SUCCESS, b'"said"')
    assert ("log", "warning", "half a ?") in notes.lines
    assert ("half a ?", "half a ?", "loud") in notes.lines
    assert notes.told == ["half a ?"]
    assert any("--- Logging error ---" in line for line in notes.texts("stderr"))


async def test_children_are_used_again_one_after_the_other(python):
    first, second = [(await outcome(python, isolated("whoami")))[0].result for _ in range(2)]
    assert first == second


@pytest.mark.parametrize("what", TRACES)
async def test_who_leaves_a_trace_takes_its_child_along(python, what):
    end, _ = await outcome(python, isolated("leave", {"what": what}))
    assert (end.end, children()) == (End.SUCCESS, [])


async def test_children_are_looked_for_where_that_takes_them(python):
    first = (await outcome(python, isolated("whoami")))[0].result
    await outcome(python, isolated("migrate"))
    assert (await outcome(python, isolated("whoami")))[0].result == first
    await outcome(python, isolated("leave", {"what": "child"}))
    assert children() == []


async def test_nobody_speaks_in_the_place_of_the_next_attempt(python):
    await outcome(python, isolated("linger"))
    end, notes = await outcome(python, isolated("rouse"))
    assert (end.end, notes.told) == (End.SUCCESS, [])


async def test_children_are_not_shared_at_the_same_time(python):
    ends = await asyncio.gather(*(outcome(python, isolated("whoami")) for _ in range(3)))
    assert len({end.result for end, _ in ends}) == 3
    assert len(children()) == 2


async def test_idle_children_leave():
    pool = Pool(APP, grace_ms=100, idle_ms=0)
    assignment = isolated("whoami")
    end = await pool.run(assignment, Notes(assignment))
    life = Life(msgspec.json.decode(end.result or b"")["pid"])
    assert await asyncio.to_thread(lambda: life.over)
    await pool.close()


async def test_output_and_log_become_lines(python):
    for _ in range(2):
        end, notes = await outcome(python, isolated("talk"))
        assert end.result == b'"said"'
        assert notes.texts("stdout") == ["to the left", "no end of line"]
        assert notes.texts("stderr") == ["to the right"]
        assert ("log", "warning", "logged") in notes.lines


async def test_the_context_travels(python):
    end, notes = await outcome(python, isolated("look", params={"color": "blue"}))
    assert msgspec.json.decode(end.result) == ["run-1", 2, "blue", notes.deadline_at]
    assert notes.told == ["half way"]


async def test_a_crash_is_named_by_its_signal_and_last_words(python):
    end, _ = await outcome(python, isolated("crash"))
    assert end.end is End.FAILURE
    assert end.error == "killed by signal 11 (SIGSEGV):\nlast words"
    assert (await outcome(python, isolated("whoami")))[0].end is End.SUCCESS


@pytest.mark.parametrize("first", [3, 0])
async def test_who_closes_the_line_to_the_worker_fails_at_once(python, first):
    end, _ = await outcome(python, isolated("cut", {"first": first}))
    assert (end.end, end.errors) == (End.FAILURE, ("ExitCode",))
    assert first == 0 or "closed a descriptor that was not its own" in end.error
    assert "overheard" not in end.error
    assert children() == []


async def test_leaving_is_named_by_its_exit_code(python):
    end, _ = await outcome(python, isolated("vanish"))
    assert (end.end, end.error) == (End.FAILURE, "exit code 7")


async def test_errors_are_told_as_elsewhere(python):
    end, _ = await outcome(python, isolated("broken"))
    assert end.errors[0] == "ZeroDivisionError"
    assert "return 1 / 0" in end.error
    end, _ = await outcome(python, isolated("quit_politely"))
    assert end.error.startswith("SystemExit: enough")
    end, _ = await outcome(python, isolated("shy"))
    assert "Shy'>, which cannot be described" in end.error


@pytest.mark.parametrize("command", ["fork", "fork_later"])
async def test_a_forked_copy_has_no_say_in_the_outcome(python, command):
    for _ in range(2):
        end, notes = await outcome(python, isolated(command))
        assert (end.result, notes.lines) == (b'"original"', [])
    assert len(children()) == 1


async def test_a_name_that_only_the_worker_knows_is_handed_back(python):
    end, _ = await outcome(python, isolated("missing"))
    assert (end.end, end.reason) == (End.RETURNED, Reason.NO_HANDLER)


async def test_results_of_any_allowed_size_come_back(python):
    end, _ = await outcome(python, isolated("large", {"size": 250_000}))
    assert len(end.result) == 250_002


async def test_an_app_that_cannot_be_imported_is_a_clear_failure():
    executor = isolating(app="tests.unit.executors.no_such_module:app")
    end, _ = await outcome(executor, isolated("whoami"))
    assert end.end is End.FAILURE
    assert "cannot import the app" in end.error
    assert "no_such_module" in end.error
    await executor.close()


async def test_without_an_import_target_isolation_is_a_clear_failure():
    executor = PythonExecutor({"t": Plain(lambda: 1)})
    end, _ = await outcome(executor, isolated("t"))
    assert (end.end, end.final) == (End.FAILURE, True)
    assert "--app" in end.error


async def test_a_run_that_lost_its_workers_is_isolated_where_that_can_be(python):
    end, _ = await outcome(python, assigned("whoami", lost=LOST_LIMIT))
    assert end.result != b'"not isolated"'
    end, _ = await outcome(PythonExecutor({"t": Plain(lambda: 1)}), assigned("t", lost=LOST_LIMIT))
    assert end.result == b"1"


async def test_the_last_loss_of_a_poisonous_run_is_a_loss(python):
    end, _ = await outcome(python, assigned("crash", lost=LOST_LIMIT))
    assert (end.end, end.final) == (End.LOST, False)
    assert "SIGSEGV" in end.error


async def test_a_cancel_kills_what_does_not_look(python):
    attempt = Attempt(python, isolated("sleep"))
    life = Life(int((await attempt.notes.until(lambda notes: notes.texts("stdout")))[0]))
    await attempt.cancel()
    assert life.over
    assert children() == []


async def test_a_cancel_kills_the_whole_family(python):
    attempt = Attempt(python, isolated("family"))
    life = Life(int((await attempt.notes.until(lambda notes: notes.texts("stdout")))[0]))
    await attempt.cancel()
    assert life.over


async def test_a_cancel_is_gentle_at_first():
    executor = isolating(grace_ms=20_000)
    attempt = Attempt(executor, isolated("wait"))
    await attempt.notes.until(lambda notes: notes.texts("stdout"))
    await attempt.cancel()
    assert attempt.notes.texts("stdout") == ["waiting", "cleaned"]
    attempt = Attempt(executor, isolated("heed"))
    await attempt.notes.until(lambda notes: notes.told)
    await attempt.cancel()
    assert attempt.notes.texts("stdout") == ["heeded"]
    await executor.close()


async def test_a_cancel_before_the_app_is_imported_waits_for_nothing():
    executor = isolating(grace_ms=3_600_000)
    attempt = Attempt(executor, isolated("sleep"))
    await asyncio.wait([attempt.task], timeout=0)
    await attempt.cancel()
    assert children() == []
    await executor.close()


async def test_floods_are_cut_and_counted(python):
    end, notes = await outcome(python, isolated("flood"))
    assert end.end is End.SUCCESS
    lines = notes.texts("stdout")
    assert 5_000 < len(lines) < 15_000
    assert "more bytes of output were dropped" in lines[-1]
    end, notes = await outcome(python, isolated("log_flood"))
    assert "more lines of this attempt were dropped" in notes.texts("log")[-1]


async def test_closing_ends_idle_children(python):
    end, _ = await outcome(python, isolated("whoami"))
    life = Life(msgspec.json.decode(end.result)["pid"])
    await python.close()
    assert life.over


async def test_a_child_whose_worker_vanishes_ends_itself():
    program = Path(__file__).with_name("tasks_orphan.py")
    env = {"PYTHONPATH": os.pathsep.join(sys.path)}
    worker = subprocess.Popen([sys.executable, program], env=env, stdout=subprocess.PIPE)
    assert worker.stdout
    pid = await asyncio.to_thread(worker.stdout.readline)
    life = Life(int(pid))
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    assert life.over


async def test_a_child_that_says_too_much_at_once_is_ended(python):
    end, _ = await outcome(python, isolated("large", {"size": 2 * FRAME_LIMIT}))
    assert (end.end, end.error) == (End.FAILURE, "killed by signal 9 (SIGKILL)")
    assert children() == []
