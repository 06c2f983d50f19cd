"""The report of `make chaos`: counts, written into docs/chaos.md."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.chaos.checkers import INVARIANTS, counts, violations
from tests.chaos.history import History

PAGE = Path(__file__).parents[2] / "docs" / "chaos.md"
PART = re.compile(r"(<!-- campaign -->\n).*?(<!-- campaign end -->)", re.DOTALL)


class Result(NamedTuple):
    """What one campaign came to."""

    store: str
    seed: int
    ms: int
    counts: dict[str, int]
    violations: dict[str, int]

    @classmethod
    def of(cls, store: str, seed: int, history: History) -> "Result":
        met = {name: count.met for name, count in counts(history).items()}
        found = {name: len(which) for name, which in violations(history).items()}
        return cls(store, seed, history.until - history.began, met, found)


def table(results: Sequence[Result]) -> str:
    """Violations and counts by store, in Markdown."""
    stores = list(dict.fromkeys(one.store for one in results))
    met: dict[str, Counter[str]] = {store: Counter() for store in stores}
    found: dict[str, Counter[str]] = {store: Counter() for store in stores}
    for one in results:
        met[one.store].update(one.counts)
        found[one.store].update(one.violations)
    minutes = {store: sum(one.ms for one in results if one.store == store) / 60_000 for store in stores}
    seeds = {store: [one.seed for one in results if one.store == store] for store in stores}
    rows = [
        ["", *stores],
        ["---", *("---" for _ in stores)],
        ["minutes of faults", *(f"{minutes[store]:.1f}" for store in stores)],
        ["seeds", *(f"{min(seeds[store])} to {max(seeds[store])}" for store in stores)],
        *[[name, *(f"{met[store][name]:,}" for store in stores)] for name in _names(met)],
        *[[f"violations of {name}", *(str(found[store][name]) for store in stores)] for name in INVARIANTS],
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _names(met: dict[str, Counter[str]]) -> list[str]:
    names = list(dict.fromkeys(name for counter in met.values() for name in counter))
    faults = sorted(name for name in names if name.startswith("faults:"))
    return [name for name in names if name not in faults] + faults


def write(results: Sequence[Result]) -> None:
    """Into the page, in place of the report before."""
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(PART.sub(lambda found: f"{found[1]}\n{table(results)}\n\n{found[2]}", text), encoding="utf-8")
