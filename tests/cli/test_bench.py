"""`rota bench` measures on real processes; here only that it does, never how fast."""

import json
import subprocess
import sys

import pytest

MACHINE = {"store", "machine", "python", "sqlite", "rota", "load"}


def bench(*words: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "rota", "bench", *words, "--json"],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    assert answer.keys() >= MACHINE
    return answer


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (("throughput", "--runs", "400"), {"runs", "slots", "enqueue_per_s", "drain_per_s", "combined_per_s"}),
        (("latency", "--runs", "5"), {"runs", "start_p50_ms", "start_p99_ms"}),
        (("idle", "--seconds", "5"), {"idle_cpu_s_per_min", "rss_mb"}),
        (
            ("api", "--runs", "50", "--seconds", "5", "--rate", "20", "--listeners", "3"),
            {"requests", "p50_ms", "p99_ms", "rss_mb", "listeners", "messages_per_s"},
        ),
        (("schedules", "--schedules", "20", "--every", "1", "--seconds", "5"), {"fires", "lag_p50_ms", "lag_p99_ms"}),
    ],
)
def test_each_mode_prints_what_it_measures(words: tuple[str, ...], keys: set[str]) -> None:
    answer = bench(*words)
    assert answer.keys() >= keys
    assert all(isinstance(answer[key], int | float) and answer[key] > 0 for key in keys)  # type: ignore[operator]  # numbers


def test_the_profile_names_the_steps_of_a_run() -> None:
    answer = bench("--profile", "--runs", "1000")
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
