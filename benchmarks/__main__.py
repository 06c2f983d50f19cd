"""Rota beside its peers, in turns, on the same stores; `make bench-peers` calls this.

python -m benchmarks [--peers NAME …] [--runs 60000] [--rounds 3] [--results FILE] [--json]
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from benchmarks import quiet
from benchmarks.environments import python
from benchmarks.field import LEDGER, LIGHT, PEERS, ROTA, ROTAS, Entrant
from benchmarks.stores import STORES, Fresh, Place
from benchmarks.table import Measured, ratios, rows, text

ROOT = Path(__file__).parents[1]


class Turn(NamedTuple):
    """One measurement to make."""

    who: str
    what: str
    store: str
    setting: str
    tasks: int
    numbers: tuple[int, ...]


def turns(who: str, entrant: Entrant, most: int) -> list[Turn]:
    """Throughput by each setting, then latency."""
    tasks = min(most, entrant.tasks)
    rates = [
        Turn(who, "throughput", entrant.store, setting, tasks, numbers) for setting, numbers in entrant.settings.items()
    ]
    return [*rates, Turn(who, "latency", entrant.store, "light load", LIGHT, entrant.light)]


def one_round(store: str, peers: Sequence[str], most: int) -> list[Turn]:
    """Rota's turns between those of the peers, the quickest of them first, so that a noisy minute hits both."""
    ours = turns(ROTA, ROTAS[store], most)
    theirs = [turn for peer in peers for turn in turns(peer, PEERS[peer], most)]
    return [turn for pair in zip_longest(theirs, ours) for turn in pair if turn]


def measure(turn: Turn, place: Place) -> Measured:
    """Have it measured by a process of its own, Rota by `rota bench`."""
    before = quiet.read()
    figures = _rota(turn, place) if turn.who == ROTA else _peer(turn, place.by or place.store)
    return Measured(turn.who, turn.store, turn.setting, turn.tasks, figures, quiet.others(before, quiet.read()))


def _rota(turn: Turn, place: Place) -> dict[str, float]:
    command = [sys.executable, "-m", "rota", "bench", turn.what, "--store", place.store, "--runs", str(turn.tasks)]
    command += ["--by", place.by] if place.by else []
    workers = ["--slots", str(turn.numbers[0]), "--workers", str(len(turn.numbers)), "--json"]
    told = json.loads(_output([*command, *workers], {}))
    if turn.what == "latency":
        return {"p50": told["start_p50_ms"], "p99": told["start_p99_ms"]}
    return {name: told[f"{name}_per_s"] for name in ("enqueue", "drain", "combined")}


def _peer(turn: Turn, url: str) -> dict[str, float]:
    command = [str(python(turn.who)), "-m", "benchmarks.measures", turn.what, turn.who, url, str(turn.tasks)]
    with tempfile.TemporaryDirectory(prefix="rota-peers-") as folder:
        ledger = {LEDGER: str(Path(folder) / "ledger")}
        figures: dict[str, float] = json.loads(_output([*command, *map(str, turn.numbers)], ledger))
    return figures


def _output(command: Sequence[str], environment: dict[str, str]) -> str:
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE) as process:
        try:
            told, _ = process.communicate()
        except BaseException:
            process.send_signal(signal.SIGINT)  # after which it ends the workers that it has started
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return told.decode()


def all_rounds(peers: Sequence[str], most: int, rounds: int) -> Iterator[Measured]:
    """Every measurement, as soon as it is made."""
    for peer in peers:
        python(peer)
    for store, made in STORES.items():
        own = [peer for peer in peers if PEERS[peer].store == store]
        if own:
            with made() as fresh:
                for number in range(rounds):
                    yield from _round(one_round(store, own, most), number, fresh)


def _round(planned: Sequence[Turn], number: int, fresh: Fresh) -> Iterator[Measured]:
    for turn in planned:
        found = _quieter(turn, fresh)
        told = "  ".join(f"{name} {value:,.1f}" for name, value in found.figures.items())
        about = f"{turn.who}, {turn.store}, {turn.setting}: {told}  others {found.others:.0f} %"
        print(f"round {number + 1}: {about}", file=sys.stderr)
        yield found


def _quieter(turn: Turn, fresh: Fresh) -> Measured:
    """The first measurement, or the quieter of two where others were loud."""
    made: list[Measured] = []
    while not made or (len(made) < 2 and made[0].others > quiet.LOUD):
        quiet.wait()
        with fresh() as place:
            made.append(measure(turn, place))
    return min(made, key=lambda one: one.others)


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), help="which ones, else all")
    parser.add_argument("--runs", type=int, default=60_000, help="tasks at most; slow peers get fewer")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    parser.add_argument("--results", type=Path, help="keep measurements in this file, and count those already there")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    measured = _kept(given.results)
    for one in all_rounds(given.peers, given.runs, given.rounds):
        measured.append(one)
        if given.results:
            with given.results.open("a") as file:
                file.write(json.dumps(one) + "\n")
    found = rows(measured)
    if given.json:
        print(json.dumps({"measured": [row._asdict() for row in found], "ratios": ratios(found)}, indent=2))
    else:
        print(text(found))


def _kept(place: Path | None) -> list[Measured]:
    if not place or not place.exists():
        return []
    return [Measured(*json.loads(line)) for line in place.read_text().splitlines()]


if __name__ == "__main__":
    main()
