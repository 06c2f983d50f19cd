"""Random commands over a store, each compared with the model: answers, and after every step the visible state."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rota.domain.errors import Refused, Stale, Unavailable, Unclear
from rota.domain.ids import occurrence_id
from rota.domain.lane import lane
from rota.domain.records import Queue, Session, Tally, Unique, Until
from rota.domain.run import TERMINAL, End, Outcome, Run, State
from rota.domain.schedule import Schedule
from rota.domain.states import Cancel, Due, Event, Release, Settle, Submit, advance
from rota.ports.store import Change, Group, Guard, Open, Store, Term, Versioned, Want, Where
from rota.testing.clock import START_AT
from rota.testing.contracts.store.steps import FOREVER_MS, NOW, assert_same, everything, verdicts
from rota.testing.factories import MINUTE_MS, make_run, make_schedule, make_session
from rota.testing.faults import LOST_REPLY, NO_FAULT, REPEATED, UNAVAILABLE, Fault, FaultyStore, healthy
from rota.testing.model import Key, Model, key

T = TypeVar("T")

QUEUES = ("a", "b")
LANES = tuple(lane("main", queue, "python") for queue in QUEUES)
KEYS = ("main/unique/x", "main/unique/y")
TERM = "scheduler"

numbers = st.integers(1, 6)
sessions = st.integers(1, 3).map("session-{}".format)
ages = st.sampled_from((0, 0, 0, 0, 1, 2))
faults = st.sampled_from((NO_FAULT, NO_FAULT, NO_FAULT, NO_FAULT, LOST_REPLY, REPEATED, UNAVAILABLE))
guards = st.one_of(st.none(), st.none(), sessions.map(Open), st.integers(0, 4).map(partial(Term, TERM)))
outcomes = st.sampled_from(
    (
        Outcome(End.SUCCESS, b"[]"),
        Outcome(End.FAILURE, error="E", errors=("E",)),
        Outcome(End.FAILURE, final=True),
        Outcome(End.SNOOZE, delay_ms=3),
        Outcome(End.RETURNED),
        Outcome(End.LOST),
        Outcome(End.CANCELLED),
    )
)
events: st.SearchStrategy[Event] = st.one_of(
    outcomes.map(Settle), outcomes.map(Settle), st.just(Cancel("ann")), st.just(Due()), st.just(Release())
)

wheres = st.tuples(
    st.sampled_from((*[()] * 3, *((state,) for state in State), tuple(TERMINAL))),
    st.sampled_from(("", "", *QUEUES)),
    st.sampled_from(("", "", "session-1")),
    st.sampled_from(("", "", "schedule-1")),
    st.sampled_from((None, None, START_AT + 3)),
    st.sampled_from((None, None, NOW + 20)),
).map(lambda few: Where(states=few[0], queue=few[1], session=few[2], schedule=few[3], since=few[4], ended_until=few[5]))


class Pair(NamedTuple):
    """One record as the model and as the store held it at the same time."""

    model: Versioned[Any]
    store: Versioned[Any]


class Move(NamedTuple):
    """A change with both its befores."""

    was: Pair | None
    now: Any


class Home(Protocol):
    """Where the stores of one example live; a store may be left without closing it, as when its process dies."""

    async def open(self) -> Store: ...

    async def leave(self) -> None: ...


def is_open(session: str) -> Where:
    return Where(session=session, states=(State.RUNNING,))


class StoreMachine(RuleBasedStateMachine):
    def __init__(self, home: Home, met: Counter[str] | None = None) -> None:
        super().__init__()
        self.home = home
        self.met: Counter[str] = Counter() if met is None else met
        self.runner = asyncio.Runner()
        self.store = FaultyStore(self.run(home.open()))
        self.model = Model()
        self.now = NOW
        self.known: dict[type, set[str]] = defaultdict(set)
        self.seen: dict[Key, list[Pair]] = defaultdict(list)
        self.ended: dict[str, Run] = {}
        self.attempts: set[tuple[str, int]] = set()
        self.numbers = {0: 0}
        self.last: tuple[list[tuple[list[Move], Tally | None]], Guard] = ([], None)

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    def teardown(self) -> None:
        self.run(self.home.leave())
        self.runner.close()

    # Writes

    @initialize()
    def begin(self) -> None:
        self.commit([([Move(None, make_session(1))], None)])
        self.commit([([Move(None, make_schedule(1))], None)])

    @rule(
        wanted=st.dictionaries(
            numbers, st.tuples(st.sampled_from(QUEUES), st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=3
        ),
        keys=st.permutations((*KEYS, "", "")),
        guard=guards,
        fault=faults,
    )
    def submit(self, wanted: dict[int, tuple[str, int, int]], keys: list[str], guard: Guard, fault: Fault) -> None:
        groups: list[tuple[list[Move], Tally | None]] = []
        for (number, (queue, priority, delay)), one in zip(wanted.items(), keys, strict=False):
            new = make_run(number, queue=queue, priority=priority, due_at=self.now + delay, keys=(one,) if one else ())
            run = advance(new, Submit(), self.now)
            unique = [Move(None, Unique(one, run.id, "", Until.TERMINAL))] if one else []
            groups.append(([Move(None, run), *unique], None))
        self.commit(groups, guard, fault)

    @rule(number=numbers, age=ages, event=events, guard=guards, fault=faults)
    def move(self, number: int, age: int, event: Event, guard: Guard, fault: Fault) -> None:
        self.move_on(self.recall(Run, make_run(number).id, age), event, guard, fault)

    @rule(session=sessions, event=events, guarded=st.booleans(), fault=faults)
    def settle_what_is_held(self, session: str, event: Event, guarded: bool, fault: Fault) -> None:
        held = self.model.find(Run, is_open(session))
        if held:
            self.move_on(self.recall(Run, held[0].record.id), event, Open(session) if guarded else None, fault)

    @rule(age=ages, fault=faults, guard=guards)
    def fire(self, age: int, fault: Fault, guard: Guard) -> None:
        pair = self.recall(Schedule, "main/schedule-1", age)
        if pair is None:
            return
        schedule: Schedule = pair.model.record
        assert schedule.next_at is not None
        later = replace(schedule, next_at=schedule.next_at + MINUTE_MS, fired=schedule.fired + 1)
        run = make_run(
            100 + schedule.fired, id=occurrence_id(schedule.id, schedule.next_at), schedule=schedule.name, queue="b"
        )
        self.commit([([Move(pair, later), Move(None, run)], None)], guard, fault)

    @rule(number=numbers, age=ages, fault=faults)
    def prune(self, number: int, age: int, fault: Fault) -> None:
        pair = self.recall(Run, make_run(number).id, age)
        if pair is not None and pair.model.record.state in TERMINAL:
            self.commit([([Move(pair, None)], None)], None, fault)

    @rule(session=sessions, closing=st.booleans(), age=ages, fault=faults)
    def open_or_close(self, session: str, closing: bool, age: int, fault: Fault) -> None:
        pair = self.recall(Session, session, age)
        now = make_session(int(session[-1]), closed_at=self.now if closing else None)
        if pair is None or closing:
            self.commit([([Move(pair, now)], None)], None, fault)

    @rule(queue=st.sampled_from(QUEUES), paused=st.sampled_from(("", "ann")), age=ages, fault=faults)
    def pause_or_resume(self, queue: str, paused: str, age: int, fault: Fault) -> None:
        pair = self.recall(Queue, f"main/{queue}", age)
        self.commit([([Move(pair, Queue("main", queue, paused))], None)], None, fault)

    @rule(fault=faults)
    def same_commit_again(self, fault: Fault) -> None:
        groups, guard = self.last
        self.commit(groups, guard, fault)

    @rule(session=sessions, holder=st.sampled_from("xyz"), resigning=st.booleans(), fault=faults)
    def lead(self, session: str, holder: str, resigning: bool, fault: Fault) -> None:
        ttl_ms = 0 if resigning else FOREVER_MS
        answer = self.meeting(fault, self.store.lead(TERM, holder, ttl_ms))
        if fault is UNAVAILABLE:
            return
        wanted = self.model.lead(TERM, holder, ttl_ms)
        if answer is None:
            answer = self.run(self.store.lead(TERM, holder, ttl_ms))
        assert answer.mine == wanted.mine
        if wanted.holder:
            assert answer.holder == wanted.holder
            assert answer.number == self.numbers.setdefault(wanted.number, answer.number)
            assert answer.number == max(self.numbers.values())
            assert len(set(self.numbers.values())) == len(self.numbers)
            self.met["led on"] += wanted.mine and wanted.number > 1

    @rule(session=sessions, fault=faults)
    def beat(self, session: str, fault: Fault) -> None:
        answer = self.meeting(fault, self.store.beat([session]))
        if fault is UNAVAILABLE or answer is None:
            return
        (wanted,) = self.model.beat([session])
        assert answer[0].open == wanted.open
        if wanted.open:
            assert answer[0]._replace(cancels=()) == wanted._replace(cancels=())
            assert sorted(answer[0].cancels) == sorted(wanted.cancels)

    @rule(
        session=sessions,
        limit=st.integers(0, 4),
        lanes=st.sampled_from((LANES, LANES[:1], LANES[1:], ())),
        named=st.one_of(st.none(), st.none(), st.sets(numbers, min_size=1)),
        exclude=st.sampled_from(((), (), ("main/report",), ("other/report",))),
        fault=faults,
    )
    def claim(
        self,
        session: str,
        limit: int,
        lanes: tuple[str, ...],
        named: set[int] | None,
        exclude: tuple[str, ...],
        fault: Fault,
    ) -> None:
        runs = tuple(make_run(number).id for number in named or ())
        want = Want(session, "worker", self.now, limit, () if named else lanes, exclude, runs)
        allowed = self.model.candidates(want)
        answer = self.meeting(fault, self.store.claim([want], self.now))
        given = self.newly_running()
        if fault is UNAVAILABLE:
            assert not given
            return
        assert {run.id for run in given} <= {item.record.id for item in allowed}
        best = sorted(item.record.rank for item in allowed)[: limit * fault.times]
        assert answer is not None or fault is LOST_REPLY
        if answer is None or not answer[0].contended:
            assert sorted(run.rank for run in given) == best
        for run in given:
            assert (run.id, run.attempt) not in self.attempts
            self.attempts.add((run.id, run.attempt))
            self.met["claimed again" if run.attempt > 1 else "claimed"] += 1
        taken = self.model.give(want, [run.id for run in given], self.now)
        if answer is not None:
            assert answer[0].open == self.model.is_open(session)
            got = [item.record for item in answer[0].runs]
            assert [run.rank for run in got] == sorted(run.rank for run in got)
            assert all(run in [item.record for item in taken] for run in got)
            assert len(got) == len(taken) or fault is REPEATED

    # Time, death, reading

    @rule(ms=st.integers(1, 10))
    def pass_time(self, ms: int) -> None:
        self.now += ms

    @rule()
    def die(self) -> None:
        self.met["died"] += 1
        self.store = FaultyStore(self.run(self.home.open()))

    @rule(limit=st.integers(1, 9))
    def due(self, limit: int) -> None:
        for kind, field in ((Run, "due_at"), (Schedule, "next_at")):
            found, wanted = self.run(self.store.due(kind, self.now, limit)), self.model.due(kind, self.now, limit)
            moments = [getattr(item.record, field) for item in found.items]
            assert moments == [getattr(item.record, field) for item in wanted.items]
            assert all(self.pairs(item.record)[-1].store == item for item in found.items)
            assert found.next_at == wanted.next_at

    @rule(
        where=wheres,
        oldest=st.booleans(),
        limit=st.integers(1, 5),
    )
    def list_and_count(self, where: Where, oldest: bool, limit: int) -> None:
        wanted = [item.record for item in self.model.find(Run, where, oldest)]
        assert self.run(everything(self.store, Run, where, oldest, limit)) == wanted
        assert self.run(self.store.count(Run, "state", where)) == self.model.count(Run, "state", where)

    # What holds after every step

    @invariant()
    def all_is_well(self) -> None:
        self.store_and_model_agree()
        self.every_live_key_has_its_run()
        self.what_ended_stays_as_it_was()

    def store_and_model_agree(self) -> None:
        for kind, ids in self.known.items():
            self.compare(kind, sorted(ids))
        found = self.run(everything(self.store, Tally))
        assert sorted(found) == sorted(self.model.tallies.values())

    def every_live_key_has_its_run(self) -> None:
        for item in self.model.find(Run):
            for one in item.record.keys:
                assert self.newest(Unique, one).store.record.run == item.record.id

    def what_ended_stays_as_it_was(self) -> None:
        for item in self.model.find(Run):
            if item.record.state in TERMINAL:
                assert self.ended.setdefault(item.record.id, item.record) == item.record

    # Steps

    def commit(
        self, groups: list[tuple[list[Move], Tally | None]], guard: Guard = None, fault: Fault = NO_FAULT
    ) -> None:
        self.last = (groups, guard)
        for moves, _ in groups:
            for one in moves:
                kind, of = key(Change(one.was and one.was.model, one.now))
                self.known[kind].add(of)
        ours, theirs = (
            [Group(tuple(Change(was and was[side], now) for was, now in moves), tally) for moves, tally in groups]
            for side in (0, 1)
        )
        number = guard.number if isinstance(guard, Term) else 0
        real = Term(TERM, self.numbers.get(number, 1_000_000)) if isinstance(guard, Term) else guard
        answer = self.meeting(fault, self.answered(theirs, real))
        if fault is UNAVAILABLE:
            return
        if answer is None:
            answer = self.run(self.answered(theirs, real))
        wanted = self.expected(ours, guard)
        if fault is not NO_FAULT:
            wanted = self.expected(ours, guard)
        assert answer == wanted
        self.met.update([wanted] if isinstance(wanted, str) else wanted)
        self.forget_deleted()

    async def answered(self, groups: Sequence[Group], guard: Guard) -> list[str] | str:
        try:
            return verdicts(await self.store.commit(groups, guard))
        except Stale:
            return "Stale"

    def expected(self, groups: Sequence[Group], guard: Guard) -> list[str] | str:
        try:
            return verdicts(self.model.commit(groups, guard))
        except Stale:
            return "Stale"

    def meeting(self, fault: Fault, call: Coroutine[Any, Any, T]) -> T | None:
        """The answer of a call that meets a fault; None where none came."""
        self.met[fault.name] += 1
        self.store.plan = lambda _: fault
        try:
            return self.run(call)
        except (Unavailable, Unclear):
            return None
        finally:
            self.store.plan = healthy

    def move_on(self, pair: Pair | None, event: Event, guard: Guard, fault: Fault) -> None:
        if pair is None:
            return
        before: Run = pair.model.record
        try:
            after = advance(before, event, self.now)
        except Refused:
            return
        freed = [Move(self.newest(Unique, one), None) for one in before.keys if one not in after.keys]
        tally = Tally(0, "main", after.task, after.queue, after.state, 1, "n") if after.state in TERMINAL else None
        self.commit([([Move(pair, after), *freed], tally)], guard, fault)

    def newly_running(self) -> list[Run]:
        """The runs that run in the store, but not yet in the model."""
        found = self.run(everything(self.store, Run, Where(states=(State.RUNNING,))))
        before = {item.record.id for item in self.model.find(Run, Where(states=(State.RUNNING,)))}
        return [run for run in found if run.id not in before]

    def forget_deleted(self) -> None:
        """A deleted run may come again as another one, with attempts and an end of its own."""
        held = {item.record.id for item in self.model.find(Run)}
        self.ended = {run: record for run, record in self.ended.items() if run in held}
        self.attempts = {(run, attempt) for run, attempt in self.attempts if run in held}

    def recall(self, kind: type, of: str, age: int = 0) -> Pair | None:
        """The record as read lately: now, or up to two versions ago."""
        pairs = self.seen[kind, of]
        return pairs[-1 - age] if len(pairs) > age else None

    def pairs(self, record: Any) -> list[Pair]:
        return self.seen[type(record), record.id]

    def newest(self, kind: type, of: str) -> Pair:
        return self.seen[kind, of][-1]

    def compare(self, kind: type, ids: Iterable[str]) -> None:
        wanted = self.model.get(kind, ids)
        found: list[Any] = self.run(self.store.get(kind, list(ids)))
        for ours, theirs in zip(wanted, found, strict=True):
            assert (ours is None) == (theirs is None)
            if ours is None or theirs is None:
                continue
            assert_same(theirs.record, ours.record)
            pairs = self.seen[kind, ours.record.id]
            same = [
                pair for pair in pairs if pair.model.version == ours.version or pair.store.version == theirs.version
            ]
            if same:
                assert same == [Pair(ours, theirs)]
            else:
                pairs.append(Pair(ours, theirs))
