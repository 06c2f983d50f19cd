"""Whole programs: forked, started as scripts, served; each as a process of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rota import Invalid, Rota

HERE = "sqlite:///rota-data/rota.db"

FORKS = """
import multiprocessing
import os
from pathlib import Path
from rota import Rota

app = Rota("sqlite:///forks.db")

@app.task
def double(number: int) -> int:
    return 2 * number

def submits(before, answers):
    open_files = [os.readlink(one) for one in Path("/proc/self/fd").iterdir() if one.exists()]
    assert not [one for one in open_files if "forks.db" in one], open_files
    handle = double.submit(2)
    answers.put((handle.id, before.state(), app.handle(before.id).state()))
    app.close()

if __name__ == "__main__":
    first = double.submit(1)
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    for _ in range(2):
        child = fork.Process(target=submits, args=(first, answers))
        child.start()
        run, *states = answers.get()
        child.join()
        assert (child.exitcode, states) == (0, ["pending"] * 2), (child.exitcode, states)
        assert app.handle(run).state() == "pending", "the parent sees what the child did, and goes on"
        print(double.submit(3).state())
    app.close()
"""

SPAWNS = """
import multiprocessing
from rota import Rota

app = Rota("sqlite:///spawns.db")

@app.task
def double(number: int) -> int:
    return 2 * number

def names() -> tuple[str, str, str]:
    return app.name, double.task.name, app.target

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(names) == names(), *names())
"""

PRELOADED = """
import asyncio
import os
from rota import Rota

app = Rota("sqlite:///preloaded.db")

@app.task
def double(number: int) -> int:
    return 2 * number

async def works():
    async with app.running():
        return await (await double.asubmit(21)).aresult(20)

app.open()
child = os.fork()
if not child:
    print(asyncio.run(works()), flush=True)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
app.close()
"""

SCRIPT = """
import asyncio
import os
from rota import Rota, RunFailed

app = Rota("sqlite:///script.db")

@app.task(isolation="process", retries=0)
def where() -> int:
    return os.getpid()

async def main():
    async with app.running():
        try:
            print(await (await where.asubmit()).aresult(20) != os.getpid())
        except RunFailed as error:
            print(error.error)
"""

SERVES = """
from rota import Rota

app = Rota(name="shop")

@app.task(schedule="@daily")
def tidy() -> None: ...

app.serve()
"""

TELLS_TIME = """
import time

vars(time).pop("CLOCK_BOOTTIME", None)  # as on macOS
from rota.wiring import SystemClock

clock = SystemClock()
print(0 < clock.monotonic() <= clock.monotonic())
"""


FULL = """
import resource
import signal
from rota import Rota

app = Rota("sqlite:///full.db")

@app.task
def double(number: int) -> int:
    return 2 * number

signal.alarm(20)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
try:
    double.submit(1)
except OSError as error:
    print(error.strerror)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(double.submit(2).state())
app.close()
"""


SERVICE = """
import os
import signal
from rota import new

service = new({"database": {"url": "sqlite:///service.db"}})

class Where:
    type, protocol = "where", "local"

    def execute(self, context, task):
        return os.getpid()

service.register(Where())
service.define({"id": "where", "executor": "where"})
service.start()
session = service.roles.worker.session
child = os.fork()
if not child:
    signal.alarm(20)
    print(service.roles, flush=True)
    service.start(scheduler=False)
    print(service.roles.worker.session != session, flush=True)
    service.close()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(service.submit("where").result(20) == os.getpid())
service.close()
"""


def begun(folder: Path, text: str, *how: str) -> "subprocess.Popen[str]":
    """A program in a folder of its own."""
    (folder / "program.py").write_text(text)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")}
    command = [sys.executable, "-W", "error", *(how or ["program.py"])]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=kept, stdout=pipe, stderr=pipe, text=True)


def said(folder: Path, text: str, *how: str) -> list[str]:
    """What a program prints that must end well."""
    out, err = begun(folder, text, *how).communicate(timeout=60)
    assert err == ""
    return out.splitlines()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no list of open files")
def test_a_forked_child_submits_by_itself(tmp_path):
    assert said(tmp_path, FORKS) == ["pending"] * 2


def test_a_program_that_may_open_no_more_files_hears_of_it_and_may_try_again(tmp_path):
    out, _ = begun(tmp_path, FULL).communicate()
    assert out.splitlines() == ["Too many open files", "pending"]


def test_a_forked_child_of_a_service_starts_and_closes_by_itself(tmp_path):
    assert said(tmp_path, SERVICE) == ["None", "True", "0", "True"]


@pytest.mark.parametrize("how", [[], ["-m", "program"]])
def test_a_spawned_child_knows_tasks_by_the_same_names(tmp_path, how):
    assert said(tmp_path, SPAWNS, *how) == ["True program program.double program:app"]


def test_a_child_of_a_program_with_an_open_app_works(tmp_path):
    assert said(tmp_path, PRELOADED) == ["42", "0"]


def test_child_processes_find_the_tasks_of_a_script(tmp_path):
    assert said(tmp_path, f'{SCRIPT}\nif __name__ == "__main__":\n    asyncio.run(main())\n') == ["True"]


def test_a_system_without_a_clock_of_its_boot_tells_the_time_all_the_same(tmp_path):
    assert said(tmp_path, TELLS_TIME) == ["True"]


def test_a_script_that_does_not_spare_its_children_is_told_so(tmp_path):
    """It would submit and serve again in each of them, without end."""
    text = "\n".join(said(tmp_path, f"{SCRIPT}\nasyncio.run(main())\n"))
    assert "the child process cannot import the app program:app" in text
    assert "what it does goes below `if __name__ == '__main__':`" in text


@pytest.mark.parametrize(
    ("store", "look"),
    [
        ("", "`rota runs list` shows its runs"),
        ("sqlite:///own.db", "`rota runs list --store sqlite:///own.db` shows its runs"),
        ("sqlite://", "all that it keeps is in memory, and ends with this program"),
    ],
)
def test_a_program_that_serves_says_where_how_to_look_and_how_to_stop_it(tmp_path, store, look):
    program = begun(tmp_path, SERVES.replace("Rota(", f"Rota({store!r}, "))
    assert program.stderr
    first, second = (program.stderr.readline() for _ in range(2))
    program.send_signal(signal.SIGINT)
    program.communicate(timeout=30)
    place = f"{store or HERE}, in {tmp_path}"
    assert first == f"rota: shop works on {place}; tasks: 1, schedules: 1; Ctrl-C stops it\n"
    assert second == f"rota: {look}\n"
    assert program.returncode == 0
    assert store or (tmp_path / "rota-data").stat().st_mode & 0o777 == 0o700


def test_a_store_that_is_not_named_is_that_of_the_command_line(monkeypatch):
    monkeypatch.delenv("ROTA_STORE", raising=False)
    assert (Rota().store, Rota("sqlite:///mine.db").store) == (HERE, "sqlite:///mine.db")
    monkeypatch.setenv("ROTA_STORE", "sqlite:///named.db")
    assert (Rota().store, Rota("sqlite:///mine.db").store) == ("sqlite:///named.db", "sqlite:///mine.db")


@pytest.mark.parametrize("store", [3, b"sqlite://", Path("rota.db")])
def test_a_store_is_a_url(store):
    with pytest.raises(Invalid, match=r"^store: .* is no URL; write one such as"):
        Rota(store)
