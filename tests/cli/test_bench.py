"""`rota bench` measures on real processes; here only that it does, never how fast."""

import json
import os
import subprocess
import sys

import psutil
import pytest

from rota.cli.bench import machine
from rota.domain.errors import RotaError

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


def begun(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rota", "bench", *words, "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


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


def test_each_mode_prints_what_it_measures() -> None:
    """All at once: each of them mostly watches for a while."""
    started = {words: begun(*words) for words in MODES}
    answers = {words: answered(process) for words, process in started.items()}
    for words, keys in MODES.items():
        answer = answers[words]
        assert answer.keys() >= keys
        assert all(isinstance(answer[key], int | float) and answer[key] > 0 for key in keys)  # type: ignore[operator]  # numbers


def test_the_profile_names_the_steps_of_a_run() -> None:
    answer = answered(begun("--profile", "--runs", "1000"))
    assert {"submit: store", "claim: store", "perform: the whole pipeline", "settle: decide"} <= answer.keys()


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
