"""What a store means, in dictionaries: the specification that every store is compared with.

No I/O, no paging, no ties resolved: where the port leaves a choice (which of two runs of one rank, fewer runs when
contended), `candidates` says what is allowed and `give` takes over what the store chose.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any

from rota.domain.errors import Stale
from rota.domain.lane import queue_of
from rota.domain.people import Token
from rota.domain.records import Audit, Blob, Pulse, Queue, Seal, Session, Tally, Unique
from rota.domain.run import TERMINAL, Run, State
from rota.domain.schedule import Schedule, Skip
from rota.domain.states import Claim, advance
from rota.domain.task import Revision
from rota.ports.store import (
    ALREADY,
    APPLIED,
    BeatReply,
    Change,
    Claimed,
    Conflict,
    Due,
    Group,
    Guard,
    Lead,
    Result,
    Versioned,
    Want,
    Where,
)

Key = tuple[type, str]

BORN: dict[type, Callable[[Any], int]] = {
    Audit: lambda record: int(record.at),
    Seal: lambda record: int(record.at),
    Blob: lambda record: int(record.created_at),
    Revision: lambda record: int(record.task.updated_at),
    Session: lambda record: int(record.opened_at),
    Skip: lambda record: int(record.first_at),
    Tally: lambda record: int(record.minute),
    # Keys, queues and pulses have no time of birth.
    Pulse: lambda _: 0,
    Queue: lambda _: 0,
    Unique: lambda _: 0,
}
ENDED: dict[type, Callable[[Any], int | None]] = {
    Run: lambda run: run.ended_at if run.state in TERMINAL else None,
    Session: lambda session: session.closed_at,
    Unique: lambda unique: unique.expires_at,
    Token: lambda token: token.expires_at,
    Audit: lambda entry: entry.sealed_at,
}


def born(record: Any) -> int:
    """The instant by which listings are ordered."""
    return BORN.get(type(record), lambda other: int(other.created_at))(record)


def matches(record: Any, where: Where) -> bool:
    """Whether a listing by `where` shows the record."""
    for name in ("namespace", "task", "queue", "schedule", "session"):
        wanted = getattr(where, name)
        if wanted and getattr(record, name, None) != wanted:
            return False
    if where.states and record.state not in where.states:
        return False
    if where.prefix and not record.id.startswith(where.prefix):
        return False
    opened = isinstance(record, Session | Audit)
    if where.open is not None and not (opened and (ENDED[type(record)](record) is None) is where.open):
        return False
    if where.ended_until is not None:
        ended = ENDED[type(record)](record)
        if ended is None or ended >= where.ended_until:
            return False
    return (where.since is None or born(record) >= where.since) and (where.until is None or born(record) < where.until)


class Model:
    """The state of a store, and its verbs as plain functions. Terms lapse only by `lapse`."""

    def __init__(self) -> None:
        self.records: dict[Key, Versioned[Any]] = {}
        self.tallies: dict[tuple[Any, ...], Tally] = {}
        self.beats: Counter[str] = Counter()
        self.terms: dict[str, tuple[int, str]] = {}
        self._versions = count(1)

    def get(self, kind: type[Any], ids: Iterable[str]) -> list[Versioned[Any] | None]:
        """As the port; a session that never beat has no pulse."""
        if kind is Pulse:
            return [
                Versioned(Pulse(one, self.beats[one]), self.beats[one]) if one in self.beats else None for one in ids
            ]
        return [self.records.get((kind, one)) for one in ids]

    def find(self, kind: type[Any], where: Where = Where(), oldest: bool = False) -> list[Versioned[Any]]:
        """The whole listing."""
        if kind is Tally:
            held = [Versioned(cell, 1) for cell in self.tallies.values()]
        else:
            held = [held for (of, _), held in self.records.items() if of is kind]
        found = [item for item in held if matches(item.record, where)]
        return sorted(found, key=lambda item: born(item.record), reverse=not oldest)

    def count(self, kind: type[Any], by: str, where: Where = Where()) -> dict[str, int]:
        """As the port."""
        total: Counter[str] = Counter()
        for item in self.find(kind, where):
            total[str(getattr(item.record, by))] += item.record.count if kind is Tally else 1
        return dict(total)

    def commit(self, groups: Sequence[Group], guard: Guard = None) -> list[Result]:
        """As the port."""
        self._check(guard)
        return [self._try(group) for group in groups]

    def due(self, kind: type[Any], now: int, limit: int) -> Due[Any]:
        """As the port; items of one instant are in no order."""
        field = "next_at" if kind is Schedule else "due_at"
        waiting = [(getattr(item.record, field), item) for item in self.find(kind)]
        timed = sorted(((at, item) for at, item in waiting if at is not None), key=lambda pair: pair[0])
        later = [at for at, _ in timed if at > now]
        return Due(tuple(item for at, item in timed if at <= now)[:limit], later[0] if later else None)

    def candidates(self, want: Want) -> list[Versioned[Run]]:
        """All that a want may be given now, best first."""
        if not self.is_open(want.session):
            return []
        ready = (item for item in self.find(Run, Where(states=(State.PENDING,))) if self._suits(item.record, want))
        return sorted(ready, key=lambda item: (item.record.rank, item.record.id))

    def give(self, want: Want, runs: Iterable[str], now: int) -> tuple[Versioned[Run], ...]:
        """The session of the want takes these runs."""
        event = Claim(want.session, want.worker, want.token)
        return tuple(self._set(advance(self.records[Run, run].record, event, now)) for run in runs)

    def claim(self, wants: Sequence[Want], now: int) -> list[Claimed]:
        """As the port: each want in turn gets the best there is."""
        return [
            Claimed(
                self.give(want, [item.record.id for item in self.candidates(want)[: want.limit]], now),
                contended=False,
                open=self.is_open(want.session),
            )
            for want in wants
        ]

    def beat(self, sessions: Sequence[str]) -> list[BeatReply]:
        """As the port; each beat of an open session counts one."""
        return [self._beat(session) for session in sessions]

    def lead(self, name: str, holder: str, ttl_ms: int) -> Lead:
        """As the port, with terms that do not lapse by themselves."""
        number, current = self.terms.get(name, (0, ""))
        if current == holder and ttl_ms == 0:
            current = ""
        elif not current and ttl_ms > 0:
            number, current = number + 1, holder
        self.terms[name] = (number, current)
        return Lead(number, current, current == holder)

    def lapse(self, name: str) -> None:
        """The term's time runs out."""
        number, _ = self.terms.get(name, (0, ""))
        self.terms[name] = (number, "")

    def _check(self, guard: Guard) -> None:
        if guard and (guard.number < 1 or self.terms.get(guard.name, (0, ""))[0] != guard.number):
            raise Stale(f"term {guard.number} of {guard.name} is over")

    def is_open(self, session: str) -> bool:
        held = self.records.get((Session, session))
        return held is not None and held.record.open

    def _try(self, group: Group) -> Result:
        current = tuple(self.records.get(key(change)) for change in group.changes)
        pairs = list(zip(group.changes, current, strict=True))
        if all((change.was and change.was.version) == (held and held.version) for change, held in pairs):
            for change in group.changes:
                self._apply(change)
            self._tally(group.tally)
            return APPLIED
        if all(change.now == (held and held.record) for change, held in pairs):
            return ALREADY
        return Conflict(current)

    def _apply(self, change: Change) -> None:
        if change.now is None:
            kind, of = key(change)
            del self.records[kind, of]
            for what in ("payload", "result") if kind is Run else ():
                self.records.pop((Blob, f"{of}/{what}"), None)
        else:
            self._set(change.now)

    def _set(self, record: Any) -> Versioned[Any]:
        held = Versioned(record, next(self._versions))
        self.records[type(record), record.id] = held
        return held

    def _tally(self, tally: Tally | None) -> None:
        if tally is None:
            return
        cell = tally[:7]
        held = self.tallies.get(cell)
        total = (held.count, held.total_ms) if held else (0, 0)
        self.tallies[cell] = tally._replace(count=total[0] + tally.count, total_ms=total[1] + tally.total_ms)

    def _suits(self, run: Run, want: Want) -> bool:
        queue = self.records.get((Queue, queue_of(run.lane)))
        if queue is not None and queue.record.paused:
            return False
        wanted = run.id in want.runs if want.runs else run.lane in want.lanes
        return wanted and f"{run.namespace}/{run.task}" not in want.exclude

    def _beat(self, session: str) -> BeatReply:
        if not self.is_open(session):
            return BeatReply(False, 0, 0, (), 0, False)
        self.beats[session] += 1
        record: Session = self.records[Session, session].record
        running = [item.record for item in self.find(Run, Where(states=(State.RUNNING,), session=session))]
        return BeatReply(
            open=True,
            held=len(running),
            digest=sum(run.token % (1 << 31) for run in running),
            cancels=tuple(run.id for run in running if run.cancel),
            slots=record.slots,
            draining=record.draining,
            labels=record.labels,
        )


def key(change: Change) -> Key:
    """Kind and id of what a change is about."""
    record = change.now if change.now is not None else change.was.record if change.was else None
    return type(record), record.id if record is not None else ""
