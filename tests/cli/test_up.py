import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rota.cli.telling import Teller, first_lines
from rota.domain.facts import RunsSettled, Trouble
from rota.domain.names import without_password
from rota.domain.run import State
from rota.testing.factories import make_run
from tests.cli.work import HOSTILE, SHOWN

JOBS = Path(__file__).with_name("tasks_jobs.py")


@pytest.fixture
def up(start, tmp_path):
    """`rota up` on the app of these tests, having said all that it says at its start; and those lines."""
    (tmp_path / "jobs.py").write_text(JOBS.read_text())
    process = start("up", "--app", "jobs:app", "--data", "rota-data", "--slots", "4", "--shell")
    return process, process.until("stop: Ctrl-C")


def begun(start, run: str) -> str:
    """The rest of the first line that a run writes, once it has."""
    lines: list[str] = start("runs", "logs", run, "--follow").until("begun")
    return lines[-1].partition("begun")[2]


def test_it_says_what_runs_and_where_and_what_comes_next(up, tmp_path):
    _, lines = up
    assert lines[0] == "rota: scheduler and worker with 4 slots, queues: default, executors: python, shell"
    assert lines[1] == "data: sqlite:///rota-data/rota.db"
    assert lines[2] == "tasks: 5, schedules: 1, next fires:"
    assert "  greet  (in " in lines[3]
    assert stat.S_IMODE((tmp_path / "rota-data").stat().st_mode) == 0o700


def test_runs_go_their_way_and_each_end_is_a_line(up, rota):
    process, _ = up
    told = rota("tasks", "trigger", "greet", "--payload", '{"name": "Ann"}', "--wait", "--json")
    shown = told.json
    assert told.err.endswith(f"run {shown['id']}: success\n")
    assert (shown["state"], shown["result"]) == ("success", "hi Ann")
    (line,) = process.until(shown["id"])[-1:]
    assert "Z  success    greet  " in line
    failed = rota("tasks", "trigger", "fails", "--wait", "--json")
    assert (failed.code, failed.json["state"]) == (1, "failed")
    line = process.until(failed.json["id"])[-1]
    assert line.endswith("ValueError: no \\x1b[31mgood")
    assert rota.json("client", "--type", "unreliable", "--count", "1")["task"] == "test-task"
    assert "  retrying   test-task  " in process.until("test-task")[-1]


def test_who_waits_no_more_is_told_how_to_look(start, rota):
    rota("migrate")
    rota("tasks", "create", "backup", "--executor", "shell", "--command", "true")
    waiting = start("tasks", "trigger", "backup", "--wait")
    waiting.until(": pending", errors=True)
    waiting.tell(signal.SIGINT)
    code, out, err = waiting.ended()
    (run,) = rota.json("runs", "list")
    goes_on = f"run {run['id']} goes on: `rota runs explain {run['id']}` tells how it is"
    assert (code, out, err) == (130, "", f"{goes_on}, `rota runs cancel {run['id']}` ends it\n")
    assert run["state"] == "pending"


def test_who_waits_for_runs_of_a_client_is_told_why_there_is_no_end(start, rota):
    rota("migrate")
    waiting = start("client", "--queue", "other", "--wait")
    why = "no live worker takes queue other with executor python; start one"
    first, last = waiting.until(": it waits", errors=True)
    assert (first, last.partition(": ")[2]) == (f"warning: {why}", f"it waits: {why}")
    waiting.tell(signal.SIGINT)
    assert waiting.ended()[0] == 130


def test_a_run_is_followed_to_its_end(up, rota, start, tmp_path):
    run = rota.line("tasks", "trigger", "waits", "--payload", '{"path": "go"}')
    following = start("runs", "logs", run[:20], "--follow")
    following.until(" 1 stdout  begun")
    (tmp_path / "go").touch()
    code, out, err = following.ended()
    assert (code, err) == (0, "")
    assert out.endswith(" 1 stdout  done\n")


def test_one_signal_lets_what_runs_finish(up, rota, start, tmp_path):
    process, _ = up
    run = rota.line("tasks", "trigger", "waits", "--payload", '{"path": "go"}')
    begun(start, run)
    assert rota.json("workers", "list")[0]["running"] == 1
    process.tell(signal.SIGTERM)
    process.until("stopping; 1 running, they may finish")
    (tmp_path / "go").touch()
    code, out, err = process.ended()
    assert (code, err) == (0, "")
    assert out.endswith("stopped\n")
    assert rota.json("runs", "show", run)["result"] == "waited"
    assert rota.json("workers", "list") == []


def test_two_signals_end_it_at_once(up, rota, start):
    process, _ = up
    begun(start, rota.line("tasks", "trigger", "endless"))
    rota("tasks", "create", "sleeps", "--executor", "shell", "--command", "echo begun $$; trap '' TERM; sleep 1000")
    child = int(begun(start, rota.line("tasks", "trigger", "sleeps")))
    process.tell(signal.SIGINT)
    process.until("stopping; 2 running")
    process.tell(signal.SIGINT)
    # Two at once are one: a wrapper may pass on what its whole group got.
    assert not process.has_ended_within(0.7)
    process.tell(signal.SIGINT)
    code, _, err = process.ended()
    assert code == 130
    assert err == "error: stopped at once; what was running was ended and handed back\n"
    found = rota.json("runs", "list", "--limit", "2")
    assert [(one["state"], one["reason"], one["tries"], one["lost"]) for one in found] == [
        ("pending", "returned", 0, 0)
    ] * 2
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_it_ends_when_its_database_is_taken_away(up, tmp_path):
    process, _ = up
    (tmp_path / "rota-data/rota.db").rename(tmp_path / "elsewhere.db")
    code, _, err = process.ended()
    assert code == 1
    assert "rota.db was deleted or replaced while in use, and nothing more can be kept" in err.splitlines()[-1]
    assert not (tmp_path / "rota-data/rota.db").exists()


def test_nothing_is_fired_while_it_drains(up, rota, start, tmp_path):
    process, _ = up
    begun(start, rota.line("tasks", "trigger", "waits", "--payload", '{"path": "go"}'))
    rota("tasks", "create", "often", "--executor", "shell", "--command", "true", "--schedule", "every 100ms")
    process.until("  often  ")
    process.tell(signal.SIGTERM)
    process.until("stopping; ")
    while "none leads" not in rota("doctor").out:
        pass
    fired = len(rota.json("runs", "list", "--task", "often", "--limit", "1000"))
    assert not process.has_ended_within(0.3)
    (tmp_path / "go").touch()
    assert process.ended()[0] == 0
    assert len(rota.json("runs", "list", "--task", "often", "--limit", "1000")) == fired


def test_a_worker_that_people_drain_leaves_and_the_other_roles_go_on(up, rota, start, tmp_path):
    process, lines = up
    run = rota.line("tasks", "trigger", "waits", "--payload", '{"path": "go"}')
    begun(start, run)
    rota("workers", "drain", rota.json("workers", "list")[0]["session"])
    process.until("the worker is drained and leaves, what else runs here goes on; a restart brings the worker back")
    (tmp_path / "go").touch()
    process.until(run)
    while rota.json("workers", "list"):
        pass
    api = next(line.removeprefix("api: ") for line in lines if line.startswith("api: "))
    told = rota("tasks", "trigger", "greet", "--server", api)
    assert (told.code, told.err) == (
        0,
        "warning: it waits: no live worker takes queue default with executor python; start one\n",
    )
    assert "leads in term 1" in rota("doctor").out
    process.tell(signal.SIGTERM)
    assert process.ended()[:2] == (0, "stopping\nstopped\n")


def test_a_process_that_only_works_ends_with_its_drained_worker(start, rota):
    rota("migrate")
    process = start("worker")
    process.until("stop:")
    rota("workers", "drain", rota.json("workers", "list")[0]["session"])
    assert process.ended() == (0, "stopping\nstopped\n", "")


def test_scheduler_and_worker_are_two_processes(start, rota, tmp_path):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/hello.py").write_text("print('hello from a script')\n")
    lines = start("scheduler", "--node-id", "alpha").until("stop:")
    assert lines[0] == "rota: scheduler"
    working = start(
        "worker", "--node-id", "beta", "--slots", "1", "--scripts", "scripts", "--shell", "--queue", "a", "--queue", "b"
    )
    lines = working.until("stop:")
    assert lines[0] == "rota: worker with 1 slot, queues: a, b, executors: python, script, shell"
    rota("tasks", "create", "hello", "--command", "hello.py", "--queue", "b", "--schedule", "every 100ms")
    assert "success" in working.until("  hello  ")[-1]
    found = rota.json("runs", "list", "--state", "success", "--limit", "1")[0]
    assert (found["worker"], found["cause"]) == ("beta", "schedule")
    assert rota.json("runs", "logs", found["id"])[0]["text"] == "hello from a script"
    assert "alpha:" in rota("doctor").out


@pytest.mark.parametrize(
    ("url", "way"),
    [
        ("postgresql://me:hidden@db/rota?pool=3", "set ROTA_STORE to this, with its password"),
        ("postgresql://me@db/rota?password=hidden", "set ROTA_STORE to this, with its password"),
        ("postgresql://me@db/rota?pool=3", "export ROTA_STORE='postgresql://me@db/rota?pool=3'"),
        ("sqlite:///it's.db", """export ROTA_STORE='sqlite:///it'"'"'s.db'"""),
    ],
)
def test_what_leads_other_commands_here_can_be_pasted_or_says_what_is_hidden(rota, url, way):
    store = without_password(url)
    data = {"store": store, "scheduler": True, "worker": None, "next": [], "tasks": 0, "schedules": 0}
    lines = list(first_lines({**data, "api": "", "login": ""}, None, None))
    assert lines[1] == f"data: {store}  (for other commands: {way})"
    assert "hidden" not in " ".join(lines)


def test_nothing_leads_other_commands_into_memory():
    data = {"store": "sqlite://", "scheduler": True, "worker": None, "next": [], "tasks": 0, "schedules": 0}
    lines = list(first_lines({**data, "api": "", "login": ""}, None, None))
    assert lines[1] == "data: sqlite://  (in memory: no other command sees it)"


def test_up_takes_scripts_from_their_folder_and_stays_quiet(start, rota, tmp_path):
    (tmp_path / "scripts").mkdir()
    process = start("up", "--quiet", "--store", "sqlite:///other.db")
    lines = process.until("stop:")
    assert "executors: python, script" in lines[0]
    assert lines[1] == "data: sqlite:///other.db  (for other commands: export ROTA_STORE=sqlite:///other.db)"
    assert rota("client", "--payload", '{"seconds": 0}', "--store", "sqlite:///other.db").code == 0
    run = rota.json("runs", "list", "--store", "sqlite:///other.db")[0]["id"]
    assert rota("runs", "logs", run, "--follow", "--store", "sqlite:///other.db").code == 0
    process.tell(signal.SIGTERM)
    assert process.ended() == (0, "stopping\nstopped\n", "")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("nothing:app", "app: 'nothing:app' cannot be loaded: ModuleNotFoundError: No module named 'nothing'"),
        ("broken:app", "app: 'broken:app' cannot be loaded: ZeroDivisionError: division by zero; ROTA_DEBUG=1 shows"),
        ("lacking:app", "app: 'lacking:app' cannot be loaded: ModuleNotFoundError: No module named 'not_installed'"),
        ("jobs:other", "app: 'jobs:other' cannot be loaded: AttributeError: module 'jobs' has no attribute 'other'"),
        ("jobs:greet", "app: 'jobs:greet' is a TaskFunction, not a Rota app"),
        (":app", "app: ':app' is not module:attribute, such as jobs:app"),
        ("jobs.py", "app: 'jobs.py' is not module:attribute, such as jobs:app"),
        ("jobs.py:app", "app: 'jobs.py:app' is not module:attribute, such as jobs:app"),
        ("../jobs:app", "app: '../jobs:app' is not module:attribute"),
    ],
)
def test_an_app_that_cannot_be_had_is_refused(start, tmp_path, target, said):
    (tmp_path / "jobs.py").write_text(JOBS.read_text())
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "lacking.py").write_text("import not_installed\n")
    code, out, err = start("worker", "--app", target).ended()
    assert (code, out) == (2, ""), err
    assert err.startswith(f"error: {said}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--scripts", "nowhere"), "scripts_dir: nowhere is not a folder"),
        (("--slots", "0"), "--slots"),
        (("--slots", "many"), "--slots"),
        (("--queue", "a b"), "'--queue': 'a b' is not a name"),
        (("--label", ""), "'--label': '' is not a name"),
        (("--node-id", "a b"), "'--node-id': 'a b' is not a name"),
        (("--http", "--allow", "nonsense/99"), "allow: 'nonsense/99' is no network"),
        (("--http", "--allow", "https://host"), "allow: 'https://host' is no network"),
        (("--allow", "host"), "allow: is for tasks of --http and --grpc"),
        (("--store", "sqlite:///x.db", "--data", "x"), "data: --store says where the data is"),
        (("--store", "mysql://localhost"), "store: "),
    ],
)
def test_what_cannot_be_started_is_refused(rota, args, said):
    assert said in rota.refused("up", *args)


def test_it_speaks_json(start, rota):
    process = start("up", "--json")
    started = json.loads(process.until("started")[-1])
    assert started["worker"] == {"slots": 10, "queues": ["default"], "executors": ["python"]}
    assert (started["scheduler"], started["store"], started["next"]) == (True, "sqlite:///rota-data/rota.db", [])
    rota("client", "--payload", '{"seconds": 0}')
    ended = json.loads(process.until("ended")[-1])
    assert (ended["event"], ended["task"], ended["state"]) == ("ended", "test-task", "success")
    assert ended["id"] == rota.json("runs", "list")[0]["id"]
    process.tell(signal.SIGTERM)
    assert [json.loads(line)["event"] for line in process.ended()[1].splitlines()] == ["stopping", "stopped"]


def test_many_ends_at_once_are_summed_up_and_trouble_is_told(capsys):
    teller = Teller(quiet=False, as_json=False)
    ended = make_run(1, state=State.FAILED, started_at=1_000, ended_at=3_500, error=f"{HOSTILE}\nTraceback")
    teller(RunsSettled([ended] * 25))
    teller(Trouble("claim", OSError("disk\n\x1bfull")))
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].endswith(f"  failed     {ended.task}  2.5 s  {ended.id}  {SHOWN}")
    assert (len(lines), lines[-1][11:]) == (21, "and 5 more runs ended")
    assert err == "error: claim: OSError: disk \\x1bfull\n"


def test_a_quiet_one_tells_of_trouble_only(capsys):
    teller = Teller(quiet=True, as_json=False)
    teller(RunsSettled([make_run(1, state=State.SUCCESS)]))
    teller(Trouble("claim", ValueError("x")))
    assert capsys.readouterr() == ("", "error: claim: ValueError: x\n")


def test_nobody_is_harmed_when_nobody_reads(monkeypatch):
    def write(text: str) -> None:
        raise BrokenPipeError(text)

    monkeypatch.setattr(sys.stdout, "write", write)
    monkeypatch.setattr(sys.stderr, "write", write)
    teller = Teller(quiet=False, as_json=False)
    teller(RunsSettled([make_run(1, state=State.SUCCESS)]))
    teller(Trouble("claim", ValueError("x")))


def test_an_app_that_names_another_store_is_warned_of(start, rota, tmp_path):
    text = JOBS.read_text().replace('Rota(name="jobs"', 'Rota("sqlite:///own.db", name="jobs"')
    (tmp_path / "jobs.py").write_text(text)
    process = start("up", "--app", "jobs:app", "--store", "sqlite:///other.db")
    process.until("stop:")
    process.tell(signal.SIGTERM)
    assert process.ended()[2] == (
        "warning: jobs:app names the store sqlite:///own.db, but this runs on sqlite:///other.db: "
        "what its programs submit waits there\n"
    )
    # What the settings say of any store makes no other one of the environment's.
    unused = {"ROTA_STORE": "redis://127.0.0.1:1/0", "ROTA_DATABASE__POOL_SIZE": "5"}
    passed = "warning: ROTA_STORE is passed over, as jobs:app names its store in its code; --store goes before both\n"
    for args, env, said in (((), {}, ""), (("--store", f"sqlite:///{tmp_path}/own.db"), {}, ""), ((), unused, passed)):
        process = start("up", "--app", "jobs:app", *args, **env)
        assert "own.db" in "".join(process.until("stop:"))
        process.tell(signal.SIGTERM)
        assert process.ended()[2] == said


@pytest.mark.parametrize(("named", "found"), [("", "rota-data/rota.db"), ("sqlite:///named.db", "named.db")])
def test_a_program_and_up_meet_in_the_same_store(start, rota, tmp_path, monkeypatch, named, found):
    (tmp_path / "jobs.py").write_text(JOBS.read_text())
    env = {"ROTA_STORE": named} if named else {}
    program = [sys.executable, "-c", "from jobs import greet; print(greet.submit('Ann').id)"]
    environment = {name: value for name, value in os.environ.items() if name != "ROTA_STORE"} | env
    run = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    process = start("up", "--app", "jobs:app", **env)
    lines = process.until("stop:")
    assert f"data: sqlite:///{found}" in lines
    assert run.strip() in "".join(lines) or process.until(run.strip())


@pytest.mark.parametrize("role", ["up", "api"])
def test_a_port_that_is_taken_is_one_clear_line(start, role):
    with socket.create_server(("127.0.0.1", 0)) as other:
        code, out, err = start(role, "--data", "rota-data", "--port", str(other.getsockname()[1])).ended()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "cannot be listened on: Address already in use; choose another port" in err
