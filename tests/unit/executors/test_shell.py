import asyncio
import ctypes
import os
import signal

import psutil
import pytest

from rota.domain.run import End, Reason
from rota.executors import programs
from rota.executors.commands import ShellExecutor
from tests.unit.executors.children import children
from tests.unit.executors.support import Attempt, Life, assigned, outcome

SHELL = ShellExecutor()
PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture(autouse=True)
def no_zombies():
    yield
    assert children() == []


async def output(command, payload=None, **task):
    end, notes = await outcome(SHELL, assigned(command, payload, **task))
    return end, notes.texts("stdout")


async def test_a_command_line_runs():
    assert (await output("echo one | tr a-z A-Z && echo two"))[1] == ["ONE", "two"]


async def test_the_payload_comes_as_variables_and_on_standard_input():
    _, lines = await output('echo "$ROTA_PAYLOAD"; cat; echo', {"x": 1})
    assert lines == ['{"x":1}', '{"x":1}']
    command = 'echo "$ROTA_ARG_NAME|$ROTA_ARG_COUNT|$ROTA_ARG_RATE|$ROTA_ARG_ON|$ROTA_ARG_NOTHING|$ROTA_ARG_MANY"'
    payload = {"name": "x y", "count": 3, "rate": 0.5, "on": True, "nothing": None, "many": [1]}
    assert (await output(command, payload))[1] == ["x y|3|0.5|true||"]


@pytest.mark.parametrize(
    "text", ["; id", "$(id)", "`id`", "a\nb; id", "-oProxyCommand=id", "' id '", '" id "', "|id", "&& id", "$HOME", "*"]
)
async def test_arguments_are_never_part_of_the_command(text):
    end, lines = await output('printf "%s" "$ROTA_ARG_X"', {"x": text})
    assert end.end is End.SUCCESS
    assert "\n".join(lines) == text


@pytest.mark.parametrize("payload", [b"{", b"[" * 100_000, {"x": "a\0b"}, {"x": "y" * 70_000}])
async def test_a_payload_that_fits_no_variable_is_refused(payload):
    end, _ = await output("true", payload)
    assert (end.end, end.reason, end.final) == (End.FAILURE, Reason.BAD_PAYLOAD, True)


async def test_the_end_of_a_program_shows_where_nobody_may_look_at_a_child_without_taking_it(monkeypatch):
    monkeypatch.delattr(os, "waitid")  # as on macOS before Python 3.13
    assert (await output("echo one"))[1] == ["one"]
    assert (await output("exit 3"))[0].error == "exit code 3"
    assert (await output("kill -9 $$"))[0].error == "killed by signal 9 (SIGKILL)"


async def test_what_is_too_long_is_named():
    end, _ = await output("true", {"x": "y" * 100_000})
    assert end.error == (
        "payload.x: 100,000 characters; variable ROTA_ARG_X holds at most 65,536: "
        "put it into a list, which is on standard input alone"
    )
    end, _ = await output("true", {"x": "\U0001f600" * 60_000, "y": "z"})
    assert (end.end, end.final) == (End.FAILURE, True)
    assert end.error.startswith("too long for this system: variable ROTA_ARG_X has 240,000 bytes, command and ")
    end, _ = await output("true " * 30_000)
    assert end.error.startswith("too long for this system: the command has 150,000 bytes")


async def test_a_large_payload_is_on_standard_input_alone():
    _, lines = await output('echo "[$ROTA_PAYLOAD]"; wc -c', {"many": ["x" * 100] * 2_000})
    assert lines[0] == "[]"
    assert int(lines[1]) > 200_000


@pytest.mark.parametrize("name", ["a-b", "a=b", "ä", "1a", "", "a b", "x;id"])
async def test_names_that_fit_no_variable_are_left_to_the_payload(name):
    end, lines = await output("env | grep -c ^ROTA_ARG_ || true", {name: "x"})
    assert (end.end, lines) == (End.SUCCESS, ["0"])


@pytest.mark.parametrize("command", ["", "  ", "echo \0"])
async def test_what_is_no_command_is_refused(command):
    end, _ = await output(command)
    assert (end.end, end.final) == (End.FAILURE, True)


async def test_an_exit_code_is_a_failure():
    end, _ = await output("echo oops >&2; exit 3")
    assert (end.end, end.error, end.final) == (End.FAILURE, "exit code 3:\noops", False)


@pytest.fixture
def nobody_buries():
    """As under a parent that ignores the ends of its children, which is inherited."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("nobody_buries")
async def test_an_exit_code_that_the_system_does_not_tell_is_no_success():
    end, _ = await output("echo oops >&2; exit 3")
    assert (end.end, end.final) == (End.FAILURE, False)
    assert "exit code" in end.error


async def test_a_program_that_nobody_can_watch_does_not_run(monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(programs.WATCHERS, "start", full)
    with pytest.raises(RuntimeError):
        await output("sleep 3600")


def test_programs_are_watched_in_the_child_of_a_fork_too():
    assert asyncio.run(output("true"))[0].end is End.SUCCESS
    if (child := os.fork()) == 0:
        signal.alarm(10)
        os._exit(int(asyncio.run(output("true"))[0].end is not End.SUCCESS))
    assert os.waitpid(child, 0)[1] == 0


async def test_a_result_is_read():
    end, _ = await output('echo \'{"x": 1}\' > "$ROTA_RESULT"')
    assert end.result == b'{"x": 1}\n'


async def test_what_runs_in_the_background_ends_with_the_command():
    end, lines = await output("sleep 3600 & echo $!; exit 0")
    assert end.end is End.SUCCESS
    assert not psutil.pid_exists(int(lines[0])) or psutil.Process(int(lines[0])).status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def first_process():
    """As the first process of a container, which inherits whoever loses its parent."""
    adopts = ctypes.CDLL(None).prctl
    assert adopts(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield
    adopts(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.mark.usefixtures("first_process")
async def test_what_a_command_left_behind_is_buried_by_who_inherits_it():
    end, _ = await output("sleep 3600 & sleep 3600 & exit 4")
    assert end.error == "exit code 4"
    assert children() == []


async def test_a_cancel_ends_pipelines():
    command = "trap '' TERM; (echo $(exec sh -c 'echo $PPID'); trap '' TERM; sleep 3600) | cat; sleep 3600"
    attempt = Attempt(ShellExecutor(grace_ms=50), assigned(command))
    life = Life(int((await attempt.notes.until(lambda notes: notes.texts("stdout")))[0]))
    await attempt.cancel()
    assert life.over


async def test_it_starts_where_it_is_told(tmp_path):
    _, notes = await outcome(ShellExecutor(cwd=str(tmp_path)), assigned("pwd"))
    assert notes.texts("stdout") == [str(tmp_path.resolve())]


async def test_a_folder_that_is_gone_is_a_failure(tmp_path):
    end, _ = await outcome(ShellExecutor(cwd=str(tmp_path / "gone")), assigned("pwd"))
    assert (end.end, end.final) == (End.FAILURE, False)
