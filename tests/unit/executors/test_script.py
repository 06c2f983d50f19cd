import asyncio
import os
from pathlib import Path
from textwrap import dedent

import msgspec
import pytest

from rota.domain.records import VALUE_LIMIT
from rota.domain.run import End, Reason
from rota.executors.commands import ScriptExecutor
from tests.unit.executors.children import children
from tests.unit.executors.support import Attempt, Life, assigned, outcome


@pytest.fixture
def scripts(tmp_path):
    folder = tmp_path / "scripts"
    folder.mkdir()
    yield folder
    assert children() == []


def write(folder: Path, text: str, name: str = "work.py") -> str:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(dedent(text))
    return name


async def done(folder: Path, text: str, payload=None, **task):
    return await outcome(ScriptExecutor(folder), assigned(write(folder, text), payload, **task))


async def test_payload_in_result_out(scripts):
    end, notes = await done(
        scripts,
        """
        import json, os, sys
        payload = json.load(sys.stdin)
        print("got", payload["x"])
        print("careful", file=sys.stderr)
        open(os.environ["ROTA_RESULT"], "w").write(json.dumps({"double": 2 * payload["x"]}))
        """,
        {"x": 21},
    )
    assert (end.end, end.result) == (End.SUCCESS, b'{"double": 42}')
    assert notes.lines == [("stdout", "info", "got 21"), ("stderr", "info", "careful")]


async def test_the_environment_tells_the_run_and_keeps_the_workers_secrets(scripts, monkeypatch):
    monkeypatch.setenv("ROTA_TOKEN", "secret")
    monkeypatch.setenv("DATABASE_PASSWORD", "secret")
    monkeypatch.setenv("LC_TIME", "C")
    end, _ = await done(
        scripts,
        """
        import json, os
        result = os.environ.pop("ROTA_RESULT")
        open(result, "w").write(json.dumps(dict(os.environ)))
        """,
        params={"env": {"COLOR": "blue"}},
    )
    found = msgspec.json.decode(end.result)
    assert found.pop("PATH") == os.environ["PATH"]
    told = {name: found[name] for name in found if name.startswith("ROTA_")}
    assert told == {
        "ROTA_RUN_ID": "run-1",
        "ROTA_ATTEMPT": "2",
        "ROTA_NAMESPACE": "main",
        "ROTA_TASK": "t",
        "ROTA_NOMINAL": "2023-11-14T22:13:20.000+00:00",
        "ROTA_DEADLINE": "2023-11-14T22:14:20.000+00:00",
    }
    assert (found["COLOR"], found["LC_TIME"]) == ("blue", "C")
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    "name",
    ["LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONSTARTUP", "PATH", "BASH_ENV", "ENV", "IFS", "ROTA_RESULT",
     "ld_preload", "DYLD_INSERT_LIBRARIES", "NODE_OPTIONS", "PERL5OPT", "GIT_SSH_COMMAND", "", "A=B", "A B", "ä"],
)  # fmt: skip
async def test_variables_that_decide_what_runs_are_refused(scripts, name):
    end, _ = await done(scripts, "", params={"env": {name: "x"}})
    assert (end.end, end.final, end.errors) == (End.FAILURE, True, ("Invalid",))


@pytest.mark.parametrize("env", ["x", ["A"], {"A": 1}, {"A": "x\0y"}, {"A": "\ud800"}, {"A": "x" * 70_000}])
async def test_variables_that_are_none_are_refused(scripts, env):
    end, _ = await done(scripts, "", params={"env": env})
    assert (end.end, end.final, end.errors) == (End.FAILURE, True, ("Invalid",))


async def test_an_exit_code_is_a_failure_with_the_last_words(scripts):
    end, _ = await done(scripts, "import sys; print('first'); sys.exit('no such table')")
    assert (end.end, end.final) == (End.FAILURE, False)
    assert end.error == "exit code 1:\nno such table"


async def test_a_signal_is_named(scripts):
    end, _ = await done(scripts, "import os, signal; os.kill(os.getpid(), signal.SIGABRT)")
    assert end.error == "killed by signal 6 (SIGABRT)"


async def test_a_script_below_a_folder_runs_in_the_scripts_folder(scripts):
    write(scripts / "deep", "import os; print(os.getcwd())")
    end, notes = await outcome(ScriptExecutor(scripts), assigned("deep/work.py"))
    assert end.end is End.SUCCESS
    assert notes.texts("stdout") == [str(scripts.resolve())]


@pytest.mark.parametrize(
    "command",
    ["../evil.py", "deep/../../evil.py", "/etc/evil.py", "link.py", "linked/evil.py", "x\0.py", "x.sh", "", ".py/..",
     "loop.py", "a" * 5_000 + ".py"],
)  # fmt: skip
async def test_nothing_outside_the_folder_is_run(scripts, command):
    outside = scripts.parent
    write(outside, "print('evil')", "evil.py")
    (scripts / "deep").mkdir()
    (scripts / "link.py").symlink_to(outside / "evil.py")
    (scripts / "linked").symlink_to(outside)
    (scripts / "loop.py").symlink_to(scripts / "loop.py")
    end, notes = await outcome(ScriptExecutor(scripts), assigned(command))
    assert (end.end, end.final) == (End.FAILURE, True)
    assert notes.lines == []


async def test_an_absolute_path_is_refused_even_if_it_leads_inside(scripts):
    write(scripts, "")
    end, _ = await outcome(ScriptExecutor(scripts), assigned(str(scripts / "work.py")))
    assert (end.end, end.final) == (End.FAILURE, True)


async def test_a_link_that_stays_inside_is_fine(scripts):
    write(scripts, "print('fine')")
    (scripts / "link.py").symlink_to("work.py")
    end, _ = await outcome(ScriptExecutor(scripts), assigned("link.py"))
    assert end.end is End.SUCCESS


async def test_a_missing_script_is_handed_back(scripts):
    end, _ = await outcome(ScriptExecutor(scripts), assigned("missing.py"))
    assert (end.end, end.reason) == (End.RETURNED, Reason.NO_HANDLER)
    assert "missing.py" in end.error
    write(scripts, "")
    end, _ = await outcome(ScriptExecutor(scripts), assigned("missing.py"))
    assert end.error.endswith("; it has work.py")


@pytest.mark.parametrize(
    "code",
    [
        "open(path, 'w').write('{')",
        "open(path, 'w').write('{\"x\":1,\"x\":2}')",
        "open(path, 'wb').write(bytes([34, 255, 34]))",
        f"open(path, 'w').write('\"' + 'x' * {VALUE_LIMIT} + '\"')",
        "open(path, 'w').write('[' * 100_000)",
        "os.mkfifo(path)",
        "os.mkdir(path)",
        "os.symlink('/etc/hostname', path)",
    ],
)
async def test_a_bad_result_is_final(scripts, code):
    end, _ = await done(scripts, f"import os; path = os.environ['ROTA_RESULT']; {code}")
    assert (end.end, end.reason, end.final) == (End.FAILURE, Reason.BAD_RESULT, True)


async def test_an_empty_result_is_none(scripts):
    end, _ = await done(scripts, "import os; open(os.environ['ROTA_RESULT'], 'w')")
    assert (end.end, end.result) == (End.SUCCESS, None)


async def test_nothing_is_left_in_the_temporary_folder(scripts, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    end, notes = await done(
        scripts, "import os; print(oct(os.stat(os.path.dirname(os.environ['ROTA_RESULT'])).st_mode))"
    )
    assert end.end is End.SUCCESS
    assert notes.texts("stdout") == ["0o40700"]
    assert [path.name for path in tmp_path.iterdir()] == ["scripts"]


async def test_a_cancel_asks_first(scripts):
    text = """
        import signal, sys, time
        def stop(*_):
            print("cleaned up")
            sys.exit()
        signal.signal(signal.SIGTERM, stop)
        print("ready")
        time.sleep(3600)
        """
    attempt = Attempt(ScriptExecutor(scripts, grace_ms=20_000), assigned(write(scripts, text)))
    await attempt.notes.until(lambda notes: notes.texts("stdout"))
    await attempt.cancel()
    assert attempt.notes.texts("stdout") == ["ready", "cleaned up"]


FAMILY = """
    import signal, subprocess, sys, time
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(3600)"
    grandchild = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
    grandchild.stdout.readline()
    print(grandchild.pid)
    """


@pytest.mark.parametrize("parent", ["time.sleep(3600)", "signal.signal(15, signal.SIG_IGN); time.sleep(3600)"])
async def test_after_the_grace_the_whole_family_is_killed(scripts, parent):
    command = write(scripts, FAMILY + parent)
    attempt = Attempt(ScriptExecutor(scripts, grace_ms=100), assigned(command))
    life = Life(int((await attempt.notes.until(lambda notes: notes.texts("stdout")))[0]))
    await attempt.cancel()
    assert life.over


async def test_a_grandchild_may_use_the_grace_after_its_parent_has_ended(scripts):
    text = """
        import subprocess, sys, time
        slow = '''
        import signal, sys, time
        def stop(*_):
            time.sleep(0.2)
            print("grandchild cleaned up", flush=True)
            sys.exit()
        signal.signal(signal.SIGTERM, stop)
        print("ready", flush=True)
        time.sleep(3600)
        '''
        subprocess.Popen([sys.executable, "-c", slow])
        time.sleep(3600)
        """
    command = write(scripts, text)
    attempt = Attempt(ScriptExecutor(scripts, grace_ms=20_000), assigned(command))
    await attempt.notes.until(lambda notes: notes.texts("stdout"))
    await attempt.cancel()
    assert attempt.notes.texts("stdout") == ["ready", "grandchild cleaned up"]


async def test_a_second_cancel_ends_the_grace(scripts):
    text = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf'); time.sleep(3600)"
    attempt = Attempt(ScriptExecutor(scripts, grace_ms=3_600_000), assigned(write(scripts, text)))
    await attempt.notes.until(lambda notes: notes.texts("stdout"))
    attempt.task.cancel()
    await asyncio.wait([attempt.task], timeout=0)
    await attempt.cancel()


async def test_an_orphan_that_holds_the_output_does_not_hold_up_the_end(scripts):
    end, notes = await done(scripts, FAMILY)
    assert end.end is End.SUCCESS
    assert len(notes.texts("stdout")) == 1


async def test_leftovers_are_ended_with_their_leader(scripts):
    text = FAMILY + "sys.stdin = open(0); open('hold').read()\n"
    os.mkfifo(scripts / "hold")
    attempt = Attempt(ScriptExecutor(scripts), assigned(write(scripts, text)))
    life = Life(int((await attempt.notes.until(lambda notes: notes.texts("stdout")))[0]))
    (scripts / "hold").open("w").close()
    assert (await attempt.task).end is End.SUCCESS
    assert life.over


async def test_a_flood_is_cut_and_does_not_hold_up_the_end(scripts):
    end, notes = await done(scripts, "import sys\nfor _ in range(200): sys.stdout.write('y' * 99_999 + '\\n')")
    assert end.end is End.SUCCESS
    assert "bytes cut" in notes.texts("stdout")[0]
    assert "more bytes of output were dropped" in notes.texts("stdout")[-1]


async def test_a_program_that_cannot_start_is_a_failure(scripts, monkeypatch):
    monkeypatch.setattr("sys.executable", "/no/such/python")
    end, _ = await done(scripts, "")
    assert (end.end, end.final, end.errors) == (End.FAILURE, False, ("FileNotFoundError",))
