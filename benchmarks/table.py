"""Measurements as text: medians over the rounds, and Rota beside each peer."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.field import ROTA

RATES = ("enqueue", "drain", "combined")
TIMES = ("p50", "p99")
NOTE = """\
tasks/s and ms: medians over the rounds (lowest to highest). A peer's task counts when its body has run, Rota's when its
end is durably stored. drain: the queue is filled first; combined: one process submits while the workers perform.
p50, p99: from before the submit call to the first line of the task, one task every 50 ms. others: the part of one core
that other programs took meanwhile; what they disturbed much was measured twice, and the quieter one counts."""


class Measured(NamedTuple):
    """One measurement: rates and the number of tasks, or times."""

    who: str
    store: str
    setting: str
    tasks: int
    figures: Mapping[str, float]
    others: float
    """Percent of one core that others took meanwhile."""


class Row(NamedTuple):
    """All measurements of one setting."""

    who: str
    store: str
    setting: str
    tasks: int
    rounds: int
    figures: Mapping[str, tuple[float, float, float]]
    """Lowest, median, highest."""
    others: float

    def middle(self, name: str) -> float:
        """The median of a figure."""
        return self.figures[name][1]


def rows(measured: Iterable[Measured]) -> list[Row]:
    """One for each setting and number of tasks, in the order they came in."""
    gathered: dict[tuple[str, str, str, int], list[Measured]] = {}
    for one in measured:
        gathered.setdefault(one[:4], []).append(one)
    return [_row(found) for found in gathered.values()]


def _row(found: Sequence[Measured]) -> Row:
    spread = {name: _spread([one.figures[name] for one in found]) for name in found[0].figures}
    return Row(*found[0][:4], len(found), spread, median(one.others for one in found))


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return min(values), median(values), max(values)


def ratios(found: Sequence[Row]) -> list[dict[str, object]]:
    """Rota's figure divided by the peer's, for each peer and store, each at the better of its settings."""
    told = []
    for store, who in dict.fromkeys((row.store, row.who) for row in found if row.who != ROTA):
        divided: dict[str, object] = {}
        for names in (RATES, TIMES):
            ours, theirs = _best(found, store, ROTA, names), _best(found, store, who, names)
            if ours and theirs:
                divided |= {name: ours.middle(name) / theirs.middle(name) for name in names}
        told.append({"peer": who, "store": store, **divided})
    return told


def _best(found: Iterable[Row], store: str, who: str, names: Sequence[str]) -> Row | None:
    """The quickest to drain and to do both, or the one with the least median time."""
    own = [row for row in found if (row.store, row.who) == (store, who) and names[0] in row.figures]
    if names == RATES:
        return max(own, key=lambda row: row.middle("drain") + row.middle("combined"), default=None)
    return min(own, key=lambda row: row.middle("p50"), default=None)


def text(found: Sequence[Row]) -> str:
    """Tables for people."""
    parts = []
    for names, digits in ((RATES, 0), (TIMES, 2)):
        head = ("store", "who", "setting", "tasks", "rounds", *names, "others %")
        shown = sorted((row for row in found if names[0] in row.figures), key=lambda row: row.store)
        parts.append(_aligned([head, *(_line(row, names, digits) for row in shown)]))
    head = ("Rota : peer", "store", *RATES, *TIMES)
    lines = [[str(one["peer"]), str(one["store"]), *_divided(one)] for one in ratios(found)]
    parts.append(_aligned([head, *lines]))
    return "\n\n".join([*parts, NOTE])


def _line(row: Row, names: Iterable[str], digits: int) -> list[str]:
    def told(low: float, middle: float, high: float) -> str:
        span = f" ({low:,.{digits}f} to {high:,.{digits}f})" if row.rounds > 1 else ""
        return f"{middle:,.{digits}f}{span}"

    about = [row.store, row.who, row.setting, f"{row.tasks:,}", str(row.rounds)]
    return [*about, *(told(*row.figures[name]) for name in names), f"{row.others:.0f}"]


def _divided(one: Mapping[str, object]) -> Iterator[str]:
    for name in (*RATES, *TIMES):
        yield f"{one[name]:.2f}" if name in one else "-"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
