"""Random stories: which verbs with which arguments Hypothesis may choose."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rota.domain.ids import occurrence_id
from rota.domain.lane import lane
from rota.domain.records import Queue, Session
from rota.domain.run import TERMINAL, End, Outcome, Run, State
from rota.domain.schedule import Schedule
from rota.domain.states import Cancel, Due, Event, Release, Settle
from rota.ports.store import Guard, Term, Want, Where
from rota.testing.clock import START_AT
from rota.testing.contracts.store.steps import NOW
from rota.testing.factories import MINUTE_MS, make_run, make_schedule, make_session
from rota.testing.faults import LOST_REPLY, NO_FAULT, REPEATED, UNAVAILABLE, Fault
from tests.model.comparison import TERM, Comparison, Home, Move, Moves

RUNS = 8
QUEUES = ("a", "b")
LANES = tuple(lane("main", queue, "python") for queue in QUEUES)
KEYS = ("main/unique/x", "main/unique/y", "", "")
SCHEDULE = make_schedule(1)

numbers = st.integers(1, RUNS)
sessions = st.integers(1, 3).map("session-{}".format)
ages = st.sampled_from((0, 0, 0, 0, 1, 2))
seldom = st.sampled_from((*[False] * 5, True))
faults = st.sampled_from((NO_FAULT, NO_FAULT, NO_FAULT, NO_FAULT, LOST_REPLY, REPEATED, UNAVAILABLE))
nothing = st.none()
guards: st.SearchStrategy[Guard] = st.one_of(
    nothing, nothing, nothing, nothing, st.integers(0, 4).map(partial(Term, TERM))
)
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
    st.sampled_from(("", "", SCHEDULE.name)),
    st.sampled_from((None, None, START_AT + 3)),
    st.sampled_from((None, None, NOW + 20)),
).map(lambda few: Where(states=few[0], queue=few[1], session=few[2], schedule=few[3], since=few[4], ended_until=few[5]))


def having(*states: State) -> Callable[["StoreMachine"], bool]:
    return lambda machine: bool(machine.both.having(*states))


class StoreMachine(RuleBasedStateMachine):
    def __init__(self, home: Home, met: Counter[str]) -> None:
        super().__init__()
        self.both = Comparison(home, met)

    def teardown(self) -> None:
        self.both.leave()

    @initialize()
    def begin(self) -> None:
        self.both.commit([Moves([Move(None, make_session(number))]) for number in (1, 2, 3)])
        self.both.commit([Moves([Move(None, SCHEDULE)])])
        self.both.submit([make_run(number, queue="a") for number in (1, 2, 3)], KEYS[1:])

    @rule(
        wanted=st.dictionaries(
            numbers, st.tuples(st.sampled_from(QUEUES), st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=3
        ),
        keys=st.permutations(KEYS),
        guard=guards,
        fault=faults,
    )
    def submit(self, wanted: dict[int, tuple[str, int, int]], keys: list[str], guard: Guard, fault: Fault) -> None:
        runs = [
            make_run(number, queue=queue, priority=priority, due_at=self.both.now + delay)
            for number, (queue, priority, delay) in wanted.items()
        ]
        self.both.submit(runs, keys, guard, fault)

    @rule(queue=st.sampled_from(QUEUES), count=st.integers(1, 4), key=st.sampled_from(KEYS))
    def submit_new(self, queue: str, count: int, key: str) -> None:
        new = (make_run(number, queue=queue) for number in range(1, RUNS + 1))
        free = [run for run in new if self.both.model.get(Run, [run.id]) == [None]]
        self.both.submit(free[:count], [key, "", "", ""])

    @rule(number=numbers, age=ages, event=events, guard=guards, fault=faults)
    def move(self, number: int, age: int, event: Event, guard: Guard, fault: Fault) -> None:
        self.both.move(self.both.recall(Run, make_run(number).id, age), event, guard, fault)

    @precondition(having(State.RUNNING))
    @rule(number=numbers, event=events, fault=faults)
    def move_running(self, number: int, event: Event, fault: Fault) -> None:
        running = self.both.having(State.RUNNING)
        pair = self.both.newest(Run, running[number % len(running)].id)
        self.both.move(pair, event, None, fault)

    @rule(age=ages, fault=faults, guard=guards)
    def fire(self, age: int, fault: Fault, guard: Guard) -> None:
        pair = self.both.recall(Schedule, SCHEDULE.id, age)
        if pair is None:
            return
        was: Schedule = pair.model.record
        assert was.next_at is not None
        later = replace(was, next_at=was.next_at + MINUTE_MS, fired=was.fired + 1)
        run = make_run(100 + was.fired, id=occurrence_id(was.id, was.next_at), schedule=was.name, queue="b")
        self.both.commit([Moves([Move(pair, later), Move(None, run)])], guard, fault)

    @precondition(having(*TERMINAL))
    @rule(number=numbers, age=ages, fault=faults)
    def prune(self, number: int, age: int, fault: Fault) -> None:
        ended = self.both.having(*TERMINAL)
        pair = self.both.recall(Run, ended[number % len(ended)].id, age)
        if pair is not None:
            self.both.commit([Moves([Move(pair, None)])], None, fault)

    @rule(number=st.integers(1, 3), closing=seldom, age=ages, fault=faults)
    def open_or_close(self, number: int, closing: bool, age: int, fault: Fault) -> None:
        now = make_session(number, closed_at=self.both.now if closing else None)
        self.both.commit([Moves([Move(self.both.recall(Session, now.id, age), now)])], None, fault)

    @rule(name=st.sampled_from(QUEUES), paused=seldom, age=ages, fault=faults)
    def pause_or_resume(self, name: str, paused: bool, age: int, fault: Fault) -> None:
        queue = Queue("main", name, "ann" if paused else "")
        self.both.commit([Moves([Move(self.both.recall(Queue, queue.id, age), queue)])], None, fault)

    @rule(fault=faults)
    def same_commit_again(self, fault: Fault) -> None:
        self.both.commit(*self.both.last, fault)

    @rule(holder=st.sampled_from("xyz"), resigning=st.booleans(), fault=faults)
    def lead(self, holder: str, resigning: bool, fault: Fault) -> None:
        _, leader = self.both.model.terms.get(TERM, (0, ""))
        self.both.lead(leader if resigning and leader else holder, resigning, fault)

    @rule(holder=st.sampled_from("xyz"), fault=faults)
    def hand_over(self, holder: str, fault: Fault) -> None:
        """A leader, its end, and the next one: alone, `lead` seldom draws them in this order."""
        self.lead(holder, False, NO_FAULT)
        self.lead(holder, True, NO_FAULT)
        self.lead(holder, False, fault)

    @rule(session=sessions, fault=faults)
    def beat(self, session: str, fault: Fault) -> None:
        self.both.beat(session, fault)

    @rule(
        session=sessions,
        limit=st.integers(0, 5),
        lanes=st.sampled_from((LANES, LANES[:1], LANES[1:], ())),
        named=st.one_of(nothing, st.sets(numbers, min_size=1)),
        excluding=seldom,
        fault=faults,
    )
    def claim(
        self, session: str, limit: int, lanes: tuple[str, ...], named: set[int] | None, excluding: bool, fault: Fault
    ) -> None:
        runs = tuple(make_run(number).id for number in named or ())
        exclude = ("main/report",) if excluding else ("other/report",)
        want = Want(session, "worker", self.both.now, limit, () if named else lanes, exclude, runs)
        self.both.claim(want, fault)

    @precondition(having(State.PENDING))
    @rule(session=sessions, limit=st.integers(1, 3), then=st.lists(events, max_size=3))
    def work(self, session: str, limit: int, then: list[Event]) -> None:
        self.both.claim(Want(session, "worker", self.both.now, limit, LANES))
        self.both.check()
        for run, event in zip(self.both.having(State.RUNNING), then, strict=False):
            self.both.move(self.both.newest(Run, run.id), event)
            self.both.check()

    @precondition(having(State.PENDING))
    @rule(session=sessions, fault=faults)
    def hand_back(self, session: str, fault: Fault) -> None:
        """Claimed, returned, and claimed again, which needs many steps otherwise."""
        self.work(session, RUNS, [Settle(Outcome(End.RETURNED))] * RUNS)
        self.both.claim(Want(session, "worker", self.both.now, RUNS, LANES), fault)

    @rule(ms=st.integers(1, 10), dying=seldom)
    def pass_time(self, ms: int, dying: bool) -> None:
        self.both.now += ms
        if dying:
            self.both.die()

    @rule(limit=st.integers(1, 9), where=wheres, oldest=st.booleans())
    def look(self, limit: int, where: Where, oldest: bool) -> None:
        self.both.look_for_due(limit)
        self.both.list_and_count(where, oldest, limit)

    @invariant()
    def all_is_well(self) -> None:
        self.both.check()
