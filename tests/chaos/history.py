"""The history of a campaign: four logs by four witnesses. Instants are ms of the clock that all processes of a machine
share and nobody sets (`boot`); `offset` leads from there to the wall clock of an honest process.
"""

import json
import os
import time
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from rota.domain.records import Session, Tally, Unique
from rota.domain.run import Run
from rota.domain.schedule import Schedule, Skip
from rota.engine.account import Report

ROUNDING_MS = 3
NOBODY = -1
OK, FAILED, UNCLEAR, REFUSED = "ok", "failed", "unclear", "refused"


def boot() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class Op(NamedTuple):
    """The client log: what was asked, and what came of it."""

    id: str
    verb: str
    subject: str
    """Of a submission its idempotency key, else the run or schedule."""
    began: int
    ended: int | None = None
    """None: whoever asked was killed, or never heard."""
    answer: str = UNCLEAR
    """`ok`, `failed` (nothing happened), `unclear`, `refused`, or the class of an error that nobody should see."""
    run: str = ""
    more: str = ""
    """Submit: the task. Cancel: `cancelled` or `cancelling`. Look: the state seen. Edit: the phase in ms."""


class Effect(NamedTuple):
    """The effects ledger: what tasks did to the world."""

    event: str
    """`start`, `end` or `fail`."""
    run: str
    attempt: int
    token: int
    task: str
    nominal: int | None
    schedule: str
    pid: int
    at: int


class Lead(NamedTuple):
    """The store log: a term as the store answered it to one process. `began`: when it was asked."""

    pid: int
    holder: str
    number: int
    mine: bool
    began: int
    ended: int


class Write(NamedTuple):
    """The store log: a leader's commit. `result`: `applied`, `conflict`, `stale` or the class of an error."""

    pid: int
    number: int
    began: int
    ended: int
    result: str


class Refusal(NamedTuple):
    """The store log: a late report that was told so."""

    pid: int
    runs: tuple[str, ...]
    at: int


class Strike(NamedTuple):
    """The nemesis log: a fault, from when to when, on whom. `hit`: whether it met what it was meant for.

    `pid`: 0 for all and the store, NOBODY for what harms nobody, and explains no loss.
    """

    kind: str
    victim: str
    pid: int
    began: int
    ended: int
    ms: int = 0
    hit: bool = True


class Exit(NamedTuple):
    """The nemesis log: the end of a process that was asked to leave."""

    name: str
    pid: int
    began: int
    ended: int
    code: int


class Final(NamedTuple):
    """The store log: all records, read after everything was healed and had its time."""

    at: int
    runs: tuple[Run, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    skips: tuple[Skip, ...] = ()
    uniques: tuple[Unique, ...] = ()
    sessions: tuple[Session, ...] = ()
    tallies: tuple[Tally, ...] = ()
    blobs: frozenset[str] = frozenset()
    report: Report | None = None


class History(NamedTuple):
    """All four logs; `until`: the instant at which the last fault was healed."""

    began: int
    until: int
    offset: int
    lease_ms: int
    final: Final
    ops: tuple[Op, ...] = ()
    effects: tuple[Effect, ...] = ()
    leads: tuple[Lead, ...] = ()
    writes: tuple[Write, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    strikes: tuple[Strike, ...] = ()
    exits: tuple[Exit, ...] = ()
    workers: frozenset[int] = frozenset()
    """Processes of the workers that were there at the end."""
    behind: bool = False
    """Whether workers are behind a broker, and heard through whichever scheduler is there."""

    def skew(self, at: int) -> int:
        """By how much a clock may have been set wrong at this instant, or so lately that it still shows; each clock
        rounds for itself.
        """
        wrong = (abs(one.ms) for one in self.strikes if one.kind == "clock" and self._shows(one, at))
        return ROUNDING_MS + max(wrong, default=0)

    def _shows(self, one: Strike, at: int) -> bool:
        return one.began - abs(one.ms) - 1_000 <= at <= one.ended + abs(one.ms) + 1_000

    def wall(self, at: int) -> int:
        return at + self.offset


class Told:
    """A file that many processes append lines of JSON to, each by one write."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def tell(self, **what: Any) -> None:
        os.write(self._file, json.dumps(what).encode() + b"\n")


def told(path: Path) -> Iterator[dict[str, Any]]:
    """The lines so far; one that is being written at this moment is not there yet, and its rest may come at once."""
    if path.exists():
        with path.open() as lines:
            yield from map(json.loads, takewhile(lambda line: line.endswith("\n"), lines))
