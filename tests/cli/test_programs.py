"""Scheduler, workers and client as programs of their own, by the options that users of such systems know."""

import json
import re
import signal
import time

import pytest

from rota.cli import read
from tests.services.etcd import EtcdServer
from tests.services.fixtures import needed

HASTY = """
from rota.cli.main import main
from rota.worker import pulse

pulse.SAY_MS = 0
main()
"""
OWN = '''
from rota import Rota

app = Rota(name="own")


@app.executor("resize")
def resize(context, task):
    """Half of it."""
    return {"width": task.payload["width"] // 2, "tries": context.tries}
'''


@pytest.fixture(params=["sqlite", "redis", "etcd"])
def at(request, tmp_path):
    """Where the store is, as an option."""
    if request.param == "etcd":
        server = needed(EtcdServer)
        server.start()
        yield ("--etcd-endpoints", server.url.removeprefix("etcd://").partition("/")[0])
        server.remove()
    else:
        url = f"sqlite:///{tmp_path / 'rota.db'}" if request.param == "sqlite" else request.getfixturevalue("space")
        yield ("--store", url)


def test_a_scheduler_two_workers_and_a_client(start, rota, at, monkeypatch, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.setenv("ROTA_STORE", f"etcd://{at[1]}" if at[0] == "--etcd-endpoints" else at[1])
    leading = ("--queue", "default", "--strategy", "least_load", "--log-level", "debug")
    scheduler = start("scheduler", "--node-id", "s1", *at, *leading)
    scheduler.until("stop:")
    working = ("--queue", "default", "--max-concurrent", "3", "--log-level", "warn")
    workers = [start("worker", "--node-id", name, *at, *working, "--app", "own:app") for name in ("w1", "w2")]
    for worker in workers:
        worker.until("stop:")
    found = rota.json("workers", "list")
    assert sorted((one["worker"], one["slots"]) for one in found) == [("w1", 3), ("w2", 3)]
    (queue,) = rota.json("queues", "list")
    assert (queue["name"], queue["dispatch"]) == ("default", "least_load")

    asked = ("--type", "echo", "--name", "test-task", "--queue", "default", "--priority", "urgent", "--count", "4")
    told = rota.json("client", *at, *asked, "--payload", '{"seconds": 0}', "--wait")
    assert (len(told["ids"]), told["ended"]) == (4, {"success": 4})
    shown = rota.json("runs", "show", told["ids"][0])
    assert (shown["priority"], shown["result"]) == ("urgent", {"seconds": 0})
    own = rota.json("client", *at, "--type", "resize", "--name", "half", "--payload", '{"width": 8}', "--wait")
    assert rota.json("runs", "show", own["ids"][0])["result"] == {"width": 4, "tries": 0}
    broken = ("--type", "resize", "--name", "none", "--payload", "{}", "--wait")
    rota("tasks", "create", "none", "--command", "resize", "--retries", "0")
    failed = rota("client", *at, *broken)
    assert (failed.code, failed.out.splitlines()[-1]) == (1, "failed 1")
    numbers = rota.json("stats")
    assert (numbers["workers"], numbers["queue_length"], numbers["total"], numbers["completed"]) == (2, 0, 6, 5)
    for process in (*workers, scheduler):
        process.tell(signal.SIGTERM)
        assert process.ended()[0] == 0


def test_the_numbers_tell_of_each_worker(start, here, tmp_path):
    """What a worker says of itself comes with its beats, here with each of them."""
    (tmp_path / "rota.toml").write_text("[worker]\nheartbeat_interval = '100ms'\n")
    worker = start("worker", "--node-id", "w1", program=("-c", HASTY))
    worker.until("stop:")
    here("client", "--count", "3", "--payload", '{"seconds": 0}', "--wait")
    here("tasks", "create", "wrong", "--command", "echo", "--payload", "[1]", "--retries", "0")
    here("tasks", "trigger", "wrong", "--wait")
    end = time.monotonic() + 30
    while (one := here.json("stats")["by_worker"][0])["total"] != 4:
        assert time.monotonic() < end
    assert (one["worker"], one["running"], one["completed"], one["failed"]) == ("w1", 0, 3, 1)
    assert 0 <= one["cpu_percent"] < 1_000
    assert 10 < one["memory_mb"] < 1_000
    assert 0 < one["busy_percent"] <= 100
    (shown,) = here.json("workers", "list")
    assert (shown["load"]["completed"], shown["session"]) == (3, one["session"])
    table = here("stats").out
    assert "queue length  0\n" in table
    assert "\nattempts of each live worker since it began (above, a run counts once):\nworker " in table
    assert re.search(
        r"^worker +session +total +running +completed +failed +cpu percent +memory mb +busy percent$",
        table,
        re.MULTILINE,
    )
    assert re.search(r"^w1 +w1-[0-9a-f]{8} +4 +0 +3 +1 +[0-9]+ +[0-9]+ +[0-9]+$", table, re.MULTILINE)


def test_numbers_are_watched(start, here):
    watching = start("stats", "--watch", "--json")
    first, second = (json.loads(watching.until("by_worker")[-1]) for _ in range(2))
    assert (first["workers"], second["total"]) == (0, 0)
    watching.tell(signal.SIGINT)
    assert watching.ended()[0] == 130
    plain = start("stats", "--watch")
    assert "unaccounted" not in plain.until("since")[0]
    plain.tell(signal.SIGINT)
    assert plain.ended()[0] == 130


@pytest.mark.parametrize(
    ("said", "url"),
    [
        ("localhost:2379", "etcd://localhost:2379/"),
        ("a:2379, b:2379,[::1]:2379", "etcd://a:2379,b:2379,[::1]:2379/"),
        ("http://a:2379/", "etcd://a:2379/"),
        ("https://a:2379,https://b:2379", "etcds://a:2379,b:2379/"),
    ],
)
def test_endpoints_of_etcd_are_a_store(said, url):
    assert read.endpoints(said) == url


@pytest.mark.parametrize("said", ["", "a:2379,,b:2379", "https://a:2379,b:2379", "user@a:2379", "a:2379/prefix"])
def test_what_are_no_endpoints_is_refused(said):
    with pytest.raises(ValueError, match="write localhost:2379"):
        read.endpoints(said)


@pytest.mark.parametrize("program", ["scheduler", "worker", "client"])
def test_each_program_looks_for_etcd_where_it_is_told(rota, program):
    answer = rota(program, "--etcd-endpoints", "127.0.0.1:1,127.0.0.1:2")
    assert answer.code in (1, 2)
    assert "etcd at 127.0.0.1:1,127.0.0.1:2 does not answer" in answer.err
    both = rota.refused(program, "--etcd-endpoints", "127.0.0.1:1", "--store", "sqlite:///x.db")
    assert "give one of them" in both


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("scheduler", "--strategy", "best"), "'best' is none; choose from pull, round_robin"),
        (("scheduler", "--queue", "a b", "--strategy", "random"), "'a b' is not a name"),
        (("worker", "--log-level", "loud"), "observability.log_level"),
        (("worker", "--max-concurrent", "0"), "--max-concurrent"),
        (("client", "--priority", "4"), "priority"),
        (("client", "--priority", "best"), "priority"),
        (("client", "--etcd-endpoints", "a@b"), "write localhost:2379"),
    ],
)
def test_what_the_programs_refuse(here, args, said):
    assert said in here.refused(*args)
    assert here.json("tasks", "list") == []
