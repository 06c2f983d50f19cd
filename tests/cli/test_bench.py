"""`rota bench` measures on real processes; here only that it does, never how fast."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from rota import Rota
from rota.cli.bench import machine
from rota.cli.bench.measures import check_unused
from rota.domain.errors import Invalid, RotaError
from rota.domain.schedule import Schedule
from rota.domain.task import Task
from rota.domain.triggers import Interval
from rota.engine.define import create_task, delete_task
from rota.engine.submit import Order, submit
from rota.identity.files import keep_credential
from rota.ports.store import Change, Group
from rota.wiring import credentials_place, made_in
from tests.cli.conftest import Terminal
from tests.cli.work import STORE

MACHINE = {"store", "machine", "python", "sqlite", "rota", "load"}


MODES = {
    ("throughput", "--runs", "400"): {"runs", "slots", "enqueue_per_s", "drain_per_s", "combined_per_s"},
    ("latency", "--runs", "5"): {"runs", "start_p50_ms", "start_p99_ms"},
    ("latency", "--runs", "5", "--by", "http"): {"runs", "start_p50_ms", "start_p99_ms"},
    ("idle", "--seconds", "5"): {"idle_cpu_s_per_min", "rss_mb"},
    ("api", "--runs", "50", "--seconds", "5", "--rate", "20", "--listeners", "3"): {
        *("requests", "p50_ms", "p99_ms", "rss_mb", "listeners", "messages_per_s")
    },
    ("schedules", "--schedules", "20", "--every", "1", "--seconds", "5"): {"fires", "lag_p50_ms", "lag_p99_ms"},
}


def begun(*words: str, folder: Path | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rota", "bench", *words, "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder)


def answered(process: subprocess.Popen[str]) -> dict[str, object]:
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    answer: dict[str, object] = json.loads(out)
    assert answer.keys() >= MACHINE
    return answer


def test_an_api_that_says_nothing_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PATIENCE_S", 0.05)
    reader, writer = os.pipe()
    with os.fdopen(reader) as said, os.fdopen(writer, "w") as silent:
        with pytest.raises(RotaError, match="does not start"):
            machine.Role(psutil.Process(), said).api()
        silent.write('{"api": "http://x"}\n')
        silent.flush()
        assert machine.Role(psutil.Process(), said).api() == "http://x"


def test_each_mode_prints_what_it_measures(tmp_path: Path) -> None:
    """All at once, as each of them mostly watches for a while; and what they leave in a store is no use of it."""
    stores = {words: made_in(tmp_path / str(number)) for number, words in enumerate(MODES)}
    for url in stores.values():
        keep_credential(credentials_place(url), "https://rota.example.org", "rota_key_of_another_server")
    started = {words: begun(*words, "--store", stores[words]) for words in MODES}
    answers = {words: answered(process) for words, process in started.items()}
    for words, keys in MODES.items():
        answer = answers[words]
        assert answer.keys() >= keys
        assert all(isinstance(answer[key], int | float) and answer[key] > 0 for key in keys)  # type: ignore[operator]  # numbers
        asyncio.run(check_unused(stores[words]))


def test_settings_that_are_for_others_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for what is measured nor for what measures it: whoever read these would end."""
    (tmp_path / "rota.toml").write_text("no settings")
    monkeypatch.setenv("ROTA_MESSAGE_QUEUE__URL", "nonsense://x")
    answered(begun("latency", "--runs", "1", folder=tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == ["rota.toml"]


def test_the_profile_names_the_steps_of_a_run() -> None:
    answer = answered(begun("--profile", "--runs", "1000"))
    assert {"submit: store", "claim: store", "perform: the whole pipeline", "settle: decide"} <= answer.keys()


def test_what_it_ran_on_holds_no_password() -> None:
    urls = ("postgresql://me:hidden@db/rota", "postgresql://me@db/rota?password=hidden")
    assert [url for url in urls if "hidden" in str(machine.described(url))] == []


def test_a_store_in_memory_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rota", "bench", "--store", "sqlite://"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "store in memory" in done.stderr


def test_workers_that_end_by_themselves_are_not_waited_for(tmp_path: Path) -> None:
    process = begun("--by", "nonsense://x", "--runs", "10", "--store", made_in(tmp_path))
    _, err = process.communicate(timeout=100)
    assert process.returncode == 1
    assert err.splitlines()[-1] == "error: what is measured has ended by itself; what it said stands above"


async def task(app: Rota) -> None:
    await create_task(app.engine, Task("main", "mail"), [], "tests")


async def schedule(app: Rota) -> None:
    made = Schedule("main", "nightly", "noop", Interval(60_000, 0))
    await app.engine.commit([Group((Change(None, made),))])


async def run(app: Rota) -> None:
    await task(app)
    await submit(app.engine, [Order(task="mail")])
    await delete_task(app.engine, "main/mail", "tests")


@pytest.mark.parametrize(
    ("others", "said"),
    [(task, "task main/mail"), (schedule, "schedule main/nightly"), (run, "1 run of task mail")],
)
async def test_a_store_in_use_is_refused(tmp_path: Path, others: Callable[[Rota], Any], said: str) -> None:
    async with Rota(url := made_in(tmp_path)) as app:
        await others(app)
    with pytest.raises(Invalid, match=f"^store: it is in use, there is {said}; name an empty one"):
        await check_unused(url)


def test_a_refused_store_is_left_as_it_was(here: Terminal) -> None:
    here("tasks", "create", "mail")
    assert "there is task main/mail" in here.refused("bench", "idle", "--store", STORE, "--seconds", "5")
    assert [one["name"] for one in here.json("tasks", "list")] == ["mail"]
