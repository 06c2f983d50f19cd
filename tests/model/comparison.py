"""A store and the model side by side: every step goes to both, and both must answer and look the same."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from rota.domain.errors import Refused, Stale, Unavailable, Unclear
from rota.domain.records import Tally, Unique, Until
from rota.domain.run import TERMINAL, Run, State
from rota.domain.schedule import Schedule
from rota.domain.states import Event, Submit, advance
from rota.ports.store import Change, Group, Guard, Result, Store, Term, Versioned, Want, Where
from rota.testing.contracts.store.steps import FOREVER_MS, NOW, assert_same, everything
from rota.testing.faults import LOST_REPLY, NO_FAULT, REPEATED, UNAVAILABLE, Fault, FaultyStore
from tests.model.model import Key, Model, key

T = TypeVar("T")

TERM = "scheduler"
NEVER_GRANTED = 1_000_000


class Pair(NamedTuple):
    """One record as the model and as the store held it at the same time."""

    model: Versioned[Any]
    store: Versioned[Any]


class Move(NamedTuple):
    """A change with both its befores."""

    was: Pair | None
    now: Any


class Moves(NamedTuple):
    """A group with both its befores."""

    moves: Sequence[Move]
    tally: Tally | None = None

    def group(self, side: int) -> Group:
        """The group as the model (0) or the store (1) is given it."""
        return Group(tuple(Change(was and was[side], now) for was, now in self.moves), self.tally)


def verdicts(results: Sequence[Result]) -> list[str]:
    """By name: a conflict tells the versions of its side."""
    return [type(result).__name__ for result in results]


class Home(Protocol):
    """Where the stores of one story live; a store may be left without closing it, as when its process dies."""

    async def open(self) -> Store: ...

    async def leave(self) -> None: ...


class Comparison:
    """The verbs of a story. `met` counts what befell, so that a proof by nothing can be told from a proof."""

    def __init__(self, home: Home, met: Counter[str]) -> None:
        self.home = home
        self.met = met
        self.loop = asyncio.new_event_loop()
        self.store = FaultyStore(self.run(home.open()))
        self.model = Model()
        self.now = NOW
        self.known: dict[type, set[str]] = defaultdict(set)
        self.seen: dict[Key, list[Pair]] = defaultdict(list)
        self.ended: dict[str, Run] = {}
        self.attempts: set[tuple[str, int]] = set()
        self.terms = {0: 0}
        self.last: tuple[Sequence[Moves], Guard] = ((), None)
        self.last_answer: list[str] | str = []
        self.touched = True

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(call)

    def leave(self) -> None:
        self.run(self.home.leave())
        self.loop.close()

    # Verbs

    def commit(self, groups: Sequence[Moves], guard: Guard = None, fault: Fault = NO_FAULT) -> None:
        self.last = (groups, guard)
        for moves in groups:
            for change in moves.group(0).changes:
                kind, of = key(change)
                self.known[kind].add(of)
        call = [moves.group(1) for moves in groups], self._of_the_store(guard)
        answer = self._meeting(fault, self._answered(*call))
        if fault is UNAVAILABLE:
            return
        if answer is None:
            answer = self.run(self._answered(*call))
        wanted = self._expected(groups, guard)
        if fault is not NO_FAULT:
            wanted = self._expected(groups, guard)
        assert answer == wanted
        self.last_answer = wanted
        self.met.update([wanted] if isinstance(wanted, str) else wanted)
        self._forget_deleted()

    def submit(self, runs: Sequence[Run], keys: Sequence[str], guard: Guard = None, fault: Fault = NO_FAULT) -> None:
        """New runs, each with the unique key beside it, if that is not empty."""
        groups = []
        for new, one in zip(runs, keys, strict=False):
            run = advance(new._replace(keys=(one,) if one else ()), Submit(), self.now)
            unique = [Move(None, Unique(one, run.id, "", Until.TERMINAL))] if one else []
            groups.append(Moves([Move(None, run), *unique]))
        self.commit(groups, guard, fault)

    def move(self, pair: Pair | None, event: Event, guard: Guard = None, fault: Fault = NO_FAULT) -> None:
        """What the state machine makes of a run as read, with the keys that it frees and its tally."""
        if pair is None:
            return
        before: Run = pair.model.record
        try:
            after = advance(before, event, self.now)
        except Refused:
            return
        freed = [Move(self.newest(Unique, one), None) for one in before.keys if one not in after.keys]
        tally = Tally(0, "main", after.task, after.queue, after.state, 1, "n") if after.state in TERMINAL else None
        self.commit([Moves([Move(pair, after), *freed], tally)], guard, fault)

    def claim(self, want: Want, fault: Fault = NO_FAULT) -> None:
        allowed = self.model.candidates(want)
        answer = self._meeting(fault, self.store.claim([want], self.now))
        given = self._newly_running()
        if fault is UNAVAILABLE:
            assert not given
            return
        assert {run.id for run in given} <= {item.record.id for item in allowed}
        assert answer is not None or fault is LOST_REPLY
        if answer is None or not answer[0].contended:
            best = sorted(item.record.rank for item in allowed)[: want.limit * fault.times]
            assert sorted(run.rank for run in given) == best
        for run in given:
            assert (run.id, run.attempt) not in self.attempts
            self.attempts.add((run.id, run.attempt))
            self.met["claimed again" if run.attempt > 1 else "claimed"] += 1
        taken = [item.record for item in self.model.give(want, [run.id for run in given], self.now)]
        if answer is not None:
            got = [item.record for item in answer[0].runs]
            assert answer[0].open == self.model.is_open(want.session)
            assert [run.rank for run in got] == sorted(run.rank for run in got)
            assert all(run in taken for run in got)
            assert len(got) == len(taken) or fault is REPEATED

    def beat(self, session: str, fault: Fault = NO_FAULT) -> None:
        answer = self._meeting(fault, self.store.beat([session]))
        if answer is None:
            return
        (found,), (wanted,) = answer, self.model.beat([session])
        assert found.open == wanted.open
        if wanted.open:
            assert found._replace(cancels=()) == wanted._replace(cancels=())
            assert sorted(found.cancels) == sorted(wanted.cancels)

    def lead(self, holder: str, resigning: bool, fault: Fault = NO_FAULT) -> None:
        ttl_ms = 0 if resigning else FOREVER_MS
        answer = self._meeting(fault, self.store.lead(TERM, holder, ttl_ms))
        if fault is UNAVAILABLE:
            return
        if answer is None:
            answer = self.run(self.store.lead(TERM, holder, ttl_ms))
        wanted = self.model.lead(TERM, holder, ttl_ms)
        assert answer.mine == wanted.mine
        if wanted.holder:
            assert answer.holder == wanted.holder
            assert answer.number == self.terms.setdefault(wanted.number, answer.number)
            assert answer.number == max(self.terms.values())
            assert len(set(self.terms.values())) == len(self.terms)
            self.met["led on"] += wanted.mine and wanted.number > 1

    def die(self) -> None:
        """The process is gone; another one opens the same place."""
        self.met["died"] += 1
        self.touched = True
        self.store = FaultyStore(self.run(self.home.open()))

    # Looks

    def look_for_due(self, limit: int) -> None:
        for kind, field in ((Run, "due_at"), (Schedule, "next_at")):
            found, wanted = self.run(self.store.due(kind, self.now, limit)), self.model.due(kind, self.now, limit)
            moments = [getattr(item.record, field) for item in found.items]
            assert moments == [getattr(item.record, field) for item in wanted.items]
            assert all(self.pairs(item.record)[-1].store == item for item in found.items)
            assert found.next_at == wanted.next_at

    def list_and_count(self, where: Where, oldest: bool, limit: int) -> None:
        wanted = [item.record for item in self.model.find(Run, where, oldest)]
        found = self.run(everything(self.store, Run, where, oldest, limit))
        if where.ended_until is not None:
            # What ended may come by its end instead of its creation: an index of ends serves prune.
            wanted, found = sorted(wanted), sorted(found)
        assert found == wanted
        assert self.run(self.store.count(Run, "state", where)) == self.model.count(Run, "state", where)

    def check(self) -> None:
        """All that must hold after every step."""
        if not self.touched:
            return
        self.touched = False
        self.run(self._agree())
        for item in self.model.find(Run):
            run = item.record
            # A live run has its unique keys, and so no two live runs have the same.
            assert all(self.newest(Unique, one).store.record.run == run.id for one in run.keys)
            if run.state in TERMINAL:
                assert self.ended.setdefault(run.id, run) == run

    def having(self, *states: State) -> list[Run]:
        """The runs in these states, oldest first."""
        return [item.record for item in self.model.find(Run, Where(states=states), oldest=True)]

    def recall(self, kind: type, of: str, age: int = 0) -> Pair | None:
        """The record as read lately: now, or some versions ago."""
        pairs = self.seen[kind, of]
        return pairs[-1 - age] if len(pairs) > age else None

    def newest(self, kind: type, of: str) -> Pair:
        return self.seen[kind, of][-1]

    def pairs(self, record: Any) -> list[Pair]:
        return self.seen[type(record), record.id]

    async def _agree(self) -> None:
        for kind, ids in self.known.items():
            self._compare(self.model.get(kind, ids), await self.store.get(kind, list(ids)))
        assert sorted(await everything(self.store, Tally)) == sorted(self.model.tallies.values())

    def _compare(self, wanted: Sequence[Versioned[Any] | None], found: Sequence[Versioned[Any] | None]) -> None:
        for ours, theirs in zip(wanted, found, strict=True):
            assert (ours is None) == (theirs is None)
            if ours is None or theirs is None:
                continue
            assert_same(theirs.record, ours.record)
            pairs = self.pairs(ours.record)
            same = [
                pair for pair in pairs if pair.model.version == ours.version or pair.store.version == theirs.version
            ]
            assert same in ([], [Pair(ours, theirs)])
            if not same:
                pairs.append(Pair(ours, theirs))

    def _of_the_store(self, guard: Guard) -> Guard:
        """The numbers of terms need not be the model's."""
        return Term(TERM, self.terms.get(guard.number, NEVER_GRANTED)) if isinstance(guard, Term) else guard

    async def _answered(self, groups: Sequence[Group], guard: Guard) -> list[str] | str:
        try:
            return verdicts(await self.store.commit(groups, guard))
        except Stale:
            return "Stale"

    def _expected(self, groups: Sequence[Moves], guard: Guard) -> list[str] | str:
        try:
            return verdicts(self.model.commit([moves.group(0) for moves in groups], guard))
        except Stale:
            return "Stale"

    def _meeting(self, fault: Fault, call: Coroutine[Any, Any, T]) -> T | None:
        """The answer of a call that meets a fault; None where none came."""
        self.met[fault.name] += 1
        self.touched = True
        self.store.plan = lambda _: fault
        try:
            return self.run(call)
        except (Unavailable, Unclear):
            return None
        finally:
            self.store.plan = lambda _: NO_FAULT

    def _newly_running(self) -> list[Run]:
        """The runs that run in the store, but not yet in the model."""
        found = self.run(everything(self.store, Run, Where(states=(State.RUNNING,))))
        before = {run.id for run in self.having(State.RUNNING)}
        return [run for run in found if run.id not in before]

    def _forget_deleted(self) -> None:
        """A deleted run may come again as another one, with attempts and an end of its own."""
        held = {item.record.id for item in self.model.find(Run)}
        self.ended = {run: record for run, record in self.ended.items() if run in held}
        self.attempts = {(run, attempt) for run, attempt in self.attempts if run in held}
