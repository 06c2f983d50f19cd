"""Campaigns by hand; `make chaos` and `make chaos-planted` call this.

python -m tests.chaos campaign MINUTES SEED     on every store, and the report into docs/chaos.md
python -m tests.chaos planted [NAME …]          each planted bug is looked for, and the time that it took told
"""

import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.campaign import Campaign
from tests.chaos.checkers import vacuous, violations
from tests.chaos.history import History
from tests.chaos.homes import HOMES
from tests.chaos.planted import BUGS
from tests.chaos.report import Result, write

SLICE_MS = 180_000
"""A long campaign is a row of short ones, each with a seed of its own: a history has to be read in one piece."""


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def one(store: str, seed: int, ms: int) -> History:
    """One campaign; its logs stay where something was violated."""
    folder = Path(tempfile.mkdtemp(prefix="rota-chaos-"))
    with HOMES[store](folder) as home:
        history = asyncio.run(Campaign(folder, home.url, seed, ms, home.kinds, service=home).run())
    if violations(history):
        say(f"the logs are in {folder}")
    else:
        shutil.rmtree(folder)
    return history


def campaign(minutes: float, seed: int) -> int:
    """As long on each store as on the others; 1 if anything was violated."""
    results = []
    for store in HOMES:
        left, number = int(minutes * 60_000 / len(HOMES)), seed
        while left > 0:
            history = one(store, number, min(left, SLICE_MS))
            results.append(Result.of(store, number, history))
            say(f"{store}, seed {number}: {violations(history) or 'nothing violated'}; {vacuous(history)}")
            left, number = left - SLICE_MS, number + 1
    write(results)
    return int(any(result.violations for result in results))


def planted(names: list[str]) -> int:
    """1 if a bug was not caught."""
    missed = 0
    for name, bug in BUGS.items():
        if names and name not in names:
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="rota-chaos-") as folder:
            url = f"sqlite:///{folder}/rota.db"
            found = violations(asyncio.run(Campaign(Path(folder), url, 1, bug.ms, bug.kinds, name).run()))
        caught = bug.caught_by & found.keys()
        missed += not caught
        took = time.monotonic() - began
        example = (found[min(caught)][0] if caught else str(found))[:200]
        say(f"{'caught' if caught else 'MISSED'} {bug.number:2} {name}: {sorted(caught)} in {took:.0f} s: {example}")
    return int(missed > 0)


if __name__ == "__main__":
    if sys.argv[1] == "planted":
        sys.exit(planted(sys.argv[2:]))
    sys.exit(campaign(float(sys.argv[2]), int(sys.argv[3])))
