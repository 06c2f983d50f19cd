"""`make bench-peers` measures; here only that it plans, counts and divides as it says, without any peer installed."""

import ast
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from benchmarks import __main__ as driver
from benchmarks import measures, quiet
from benchmarks.environments import PEERS as FOLDER
from benchmarks.environments import pins
from benchmarks.field import LEDGER, LIGHT, PEERS, ROTA, ROTAS, STAMP, file_of
from benchmarks.stores import STORES, Place
from benchmarks.table import Measured, ratios, rows, text

FILES = {path.stem for path in FOLDER.glob("*.py")}
SIGNATURES = {
    "prepare": ["url"],
    "work": ["url", "number"],
    "Client.__init__": ["self", "url"],
    "Client.many": ["self", "number"],
    "Client.one": ["self", "sent_ns"],
    "Client.close": ["self"],
}


def signatures(peer):
    """Functions and methods of a peer's file that the measurements call, with their parameters."""
    tree = ast.parse((FOLDER / f"{file_of(peer)}.py").read_text())
    found = {f"{prefix}{one.name}": [arg.arg for arg in one.args.args] for prefix, one in named(tree)}
    return {name: found[name] for name in found if name in SIGNATURES}


def named(tree):
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.", one) for one in node.body if isinstance(one, ast.FunctionDef))
        elif isinstance(node, ast.FunctionDef):
            yield "", node


def rates(who, setting, drain, store="postgresql", tasks=100):
    return Measured(who, store, setting, tasks, {"enqueue": 100.0, "drain": drain, "combined": drain / 2}, 5.0)


def times(who, p50, store="postgresql"):
    return Measured(who, store, "light load", 200, {"p50": p50, "p99": 2 * p50}, 5.0)


MEASURED = [
    *(rates("slow", "one", drain) for drain in (10.0, 30.0, 20.0)),
    rates("slow", "two", 25.0),
    rates(ROTA, "one", 50.0),
    rates(ROTA, "two", 40.0),
    times("slow", 4.0),
    times(ROTA, 1.0),
    rates(ROTA, "one", 1_000.0, store="sqlite"),
]


class TestTables:
    def test_a_row_has_the_median_between_the_lowest_and_the_highest(self):
        first = rows(MEASURED)[0]
        assert (first.who, first.setting, first.rounds) == ("slow", "one", 3)
        assert first.figures["drain"] == (10.0, 20.0, 30.0)

    def test_each_side_is_compared_at_the_better_of_its_settings(self):
        (one,) = ratios(rows(MEASURED))
        divided = {"enqueue": 1.0, "drain": 2.0, "combined": 2.0, "p50": 0.25, "p99": 0.25}
        assert one == {"peer": "slow", "store": "postgresql", **divided}

    def test_without_rota_on_its_store_a_peer_has_no_ratio(self):
        assert ratios(rows([rates("slow", "one", 10.0, store="sqlite"), *MEASURED[4:6]])) == [
            {"peer": "slow", "store": "sqlite"}
        ]

    def test_the_text_has_a_line_for_each_setting_and_each_ratio(self):
        told = text(rows(MEASURED))
        assert re.search(r"postgresql +slow +one +100 +3 +100 \(100 to 100\) +20 \(10 to 30\) ", told)
        assert re.search(r"postgresql +rota +light load +200 +1 +1\.00 +2\.00 +5$", told, re.MULTILINE)
        assert re.search(r"slow +postgresql +1\.00 +2\.00 +2\.00 +0\.25 +0\.25", told)


class TestPlan:
    def test_rota_has_its_turns_between_those_of_the_peers(self):
        planned = driver.one_round("postgresql", ["pgqueuer"], 1_000_000)
        assert [turn.who for turn in planned[:4]] == ["pgqueuer", ROTA, "pgqueuer", ROTA]
        settings = [*PEERS["pgqueuer"].settings, *ROTAS["postgresql"].settings]
        assert {turn.setting for turn in planned if turn.what == "throughput"} == set(settings)
        assert [turn.tasks for turn in planned if turn.what == "latency"] == [LIGHT, LIGHT]

    def test_slow_peers_get_fewer_tasks_and_nobody_more_than_wanted(self):
        tasks = {(turn.who, turn.tasks) for turn in driver.one_round("postgresql", ["procrastinate"], 10_000)}
        assert {("procrastinate", PEERS["procrastinate"].tasks), (ROTA, 10_000)} < tasks
        few = driver.one_round("postgresql", list(PEERS), 7)
        assert {turn.tasks for turn in few if turn.what == "throughput"} == {7}

    def test_rota_is_measured_by_its_own_bench(self, monkeypatch):
        asked = []

        def output(command, environment):
            asked.append(command)
            return '{"enqueue_per_s": 3, "drain_per_s": 2, "combined_per_s": 1, "runs": 5}'

        monkeypatch.setattr(driver, "_output", output)
        turn = driver.Turn(ROTA, "throughput", "sqlite", "two", 5, (500, 500))
        assert driver.measure(turn, Place("sqlite:///x")).figures == {"enqueue": 3, "drain": 2, "combined": 1}
        driver.measure(turn, Place("sqlite:///x", "amqp://y"))
        plain, behind = (" ".join(command[1:]) for command in asked)
        assert plain == "-m rota bench throughput --store sqlite:///x --runs 5 --slots 500 --workers 2 --json"
        assert behind == plain.replace("--slots", "--by amqp://y --slots")

    def test_a_peer_gets_the_broker_where_there_is_one(self, monkeypatch):
        asked = []

        def output(command, environment):
            asked.append(command)
            return "{}"

        monkeypatch.setattr(driver, "_output", output)
        monkeypatch.setattr(driver, "python", lambda _: "python")
        turn = driver.Turn("slow", "throughput", "rabbitmq", "one", 5, (1,))
        for place in (Place("postgresql://x"), Place("postgresql://x", "amqp://y")):
            driver.measure(turn, place)
        assert [command[5] for command in asked] == ["postgresql://x", "amqp://y"]

    def test_what_others_disturbed_is_measured_once_more_and_the_quieter_counts(self, monkeypatch):
        loud = [Measured("slow", "sqlite", "one", 1, {}, others) for others in (90.0, 60.0, 10.0, 5.0)]
        monkeypatch.setattr(driver, "measure", lambda turn, url: loud.pop(0))
        monkeypatch.setattr(quiet, "wait", lambda: None)
        turn = driver.Turn("slow", "throughput", "sqlite", "one", 1, (1,))
        assert driver._quieter(turn, lambda: nullcontext(Place(""))).others == 60.0
        assert driver._quieter(turn, lambda: nullcontext(Place(""))).others == 10.0

    def test_measurements_are_kept_and_counted_again(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(driver, "all_rounds", lambda *_: iter(MEASURED[:1]))
        kept = tmp_path / "results.jsonl"
        monkeypatch.setattr(sys, "argv", ["benchmarks", "--peers", "huey", "--results", str(kept)])
        driver.main()
        driver.main()
        assert len(kept.read_text().splitlines()) == 2
        assert re.search(r"slow +one +100 +2 ", capsys.readouterr().out)


class TestQuiet:
    def test_what_others_use_is_what_all_use_but_us(self):
        assert quiet.others(quiet.Reading(0, 100, 50), quiet.Reading(10, 112, 58)) == pytest.approx(40)

    def test_what_we_start_is_ours_also_when_it_has_ended(self):
        before = quiet.read()
        subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
        after = quiet.read()
        assert after.own_s > before.own_s
        assert after.all_s > before.all_s


class TestMeasuring:
    @pytest.fixture(autouse=True)
    def ledger(self, tmp_path, monkeypatch):
        ledger = tmp_path / "ledger"
        ledger.touch()
        monkeypatch.setenv(LEDGER, str(ledger))
        monkeypatch.setattr(measures, "_workers", lambda *_: nullcontext())
        for pause in ("SETTLE_S", "WARM_S", "EVERY_S"):
            monkeypatch.setattr(measures, pause, 0)

    @staticmethod
    def peer(times=1):
        """One whose tasks run while they are submitted, `times` times each."""

        def append(data):
            with open(os.environ[LEDGER], "ab") as file:
                file.write(data)

        client = SimpleNamespace(
            many=lambda number: append(b"." * number * times),
            one=lambda sent_ns: append(STAMP.pack(3_000_000)),
            close=lambda: None,
        )
        return SimpleNamespace(prepare=lambda url: None, Client=lambda url: client)

    def test_rates_are_of_tasks_that_ran(self):
        found = measures.throughput(self.peer(), "toy", "", 10, ["1"])
        assert found.keys() == {"enqueue", "drain", "combined"}
        assert found["enqueue"] > 0 == found["drain"]
        assert found["combined"] > 0

    def test_a_task_that_ran_twice_ends_the_measurement(self):
        with pytest.raises(RuntimeError, match="10 tasks were submitted, 20 ran"):
            measures.throughput(self.peer(times=2), "toy", "", 10, ["1"])

    def test_a_task_that_never_ran_ends_the_measurement(self, monkeypatch):
        monkeypatch.setattr(measures, "STALLED_S", 0)
        with pytest.raises(TimeoutError, match="has 0 of 1 bytes"):
            measures.throughput(self.peer(times=0), "toy", "", 10, ["1"])

    def test_times_are_those_that_the_bodies_wrote(self):
        assert measures.latency(self.peer(), "toy", "", 5, ["1"]) == {"p50": 3.0, "p99": 3.0}


class TestPeers:
    def test_every_file_is_of_a_peer_and_every_peer_has_one(self):
        assert {*map(file_of, PEERS)} == FILES

    @pytest.mark.parametrize("peer", PEERS)
    def test_a_file_has_what_the_measurements_call(self, peer):
        assert signatures(peer) == SIGNATURES

    @pytest.mark.parametrize("peer", PEERS)
    def test_all_versions_of_an_environment_are_pinned(self, peer):
        lines = pins(peer).read_text().splitlines()
        assert file_of(peer) in [line.partition("==")[0] for line in lines]
        assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []

    def test_a_peer_is_measured_where_rota_is(self):
        assert {peer.store for peer in PEERS.values()} <= ROTAS.keys() == STORES.keys()
