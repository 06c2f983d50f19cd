"""Many seeds: python -m tests.simulation [--seeds 1000] [--first 0] [--jobs 2]."""

import os
import sys
from argparse import ArgumentParser
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.scenario import Verdict, verdict


def story(found: Verdict) -> str:
    """What went wrong under a seed, and the command that repeats it."""
    wrong = "\n  ".join(found.wrong[:5])
    return f"seed {found.seed}, repeated by `make simulate SEEDS=1 FROM={found.seed}`:\n  {wrong}"


def say(text: str) -> None:
    """A line that is seen at once, in a file as well."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    parser = ArgumentParser(prog="make simulate")
    parser.add_argument("--seeds", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    seen: Counter[str] = Counter()
    failed = 0
    with ProcessPoolExecutor(min(given.jobs, given.seeds)) as pool:
        for found in pool.map(verdict, range(given.first, given.first + given.seeds), chunksize=10):
            seen += found.seen
            if found.wrong:
                failed += 1
                say(story(found))
            elif given.seeds <= 20:
                say(f"seed {found.seed}: trace {found.trace}")
            elif (played := found.seed - given.first + 1) % 1_000 == 0:
                say(f"{played:,} seeds played, {failed} failed")
    met = ", ".join(f"{name}: {number:,}" for name, number in sorted(seen.items()))
    say(f"{met}\n{given.seeds:,} seeds from {given.first}, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
