"""Whatever happens to a run, in whatever order, some things never change."""

from hypothesis import given, settings
from hypothesis import strategies as st

from rota.domain.errors import Refused
from rota.domain.retry import Retry
from rota.domain.run import HISTORY_LIMIT, LOST_LIMIT, TERMINAL, End, Outcome, Reason, State
from rota.domain.states import (
    TABLE,
    Cancel,
    Claim,
    Due,
    Release,
    Settle,
    Submit,
    Verdict,
    advance,
    digest,
    judge,
)
from rota.domain.task import OnLost
from rota.testing.clock import START_AT
from rota.testing.factories import make_run

times = st.one_of(st.none(), st.integers(1, 100_000))
retries = st.builds(
    Retry,
    retries=st.integers(0, 4),
    delay_ms=st.integers(0, 5_000),
    rate=st.sampled_from([0.5, 1.0, 2.0]),
    cap_ms=st.integers(0, 20_000),
    jitter=st.sampled_from([0.0, 0.1, 1.0]),
    never_on=st.sampled_from([(), ("OSError",)]),
)
outcomes = st.builds(
    Outcome,
    st.sampled_from(End),
    result=st.sampled_from([None, b"1"]),
    reason=st.sampled_from(["", Reason.TIMEOUT]),
    error=st.sampled_from(["", "Boom"]),
    errors=st.sampled_from([(), ("OSError",), ("ValueError",)]),
    final=st.sampled_from([False, False, False, True]),
    delay_ms=st.integers(0, 3_000),
    started_at=st.one_of(st.none(), st.just(START_AT)),
)
events = st.one_of(
    st.builds(Due, st.booleans()),
    st.builds(Release, st.booleans()),
    st.builds(Claim, st.just("session-1"), st.just("worker-1"), st.integers(1, 9)),
    st.builds(Claim, st.just("session-2"), st.just("worker-2"), st.integers(1, 9)),
    st.builds(
        Settle,
        outcomes,
        retries,
        st.sampled_from([OnLost.RETRY, OnLost.RETRY, OnLost.FAIL]),
        st.floats(0, 1, exclude_max=True),
        st.integers(1, 9),
    ),
    st.just(Cancel("ann")),
)
runs = st.builds(
    make_run,
    queue_ms=times,
    timeout_ms=times,
    start_by=times.map(lambda ms: ms and START_AT + ms),
    end_by=times.map(lambda ms: ms and START_AT + ms),
    retry=st.one_of(st.none(), retries),
    keys=st.sampled_from([(), ("main/unique/k",)]),
    gate=st.sampled_from(["", "g"]),
    due_at=times.map(lambda ms: ms and START_AT + ms),
)
submits = st.builds(Submit, st.booleans(), st.sampled_from(["", "", "earlier"]))


class Story:
    """A run, and what its life adds up to."""

    def __init__(self, run, submit):
        self.now = START_AT
        self.run = advance(run, submit, self.now)
        self.keys = run.keys
        self.counts = dict.fromkeys(End, 0)

    def tell(self, event, later):
        self.now += later
        before = self.run
        try:
            self.run = advance(before, event, self.now)
        except Refused:
            assert (before.state, type(event)) not in TABLE
            return
        assert before.state not in TERMINAL
        if isinstance(event, Settle):
            self.counts[event.outcome.end] += 1
            self.check_retry(before, event)
        assert self.run.attempt == before.attempt + isinstance(event, Claim)
        assert self.run.tries >= before.tries
        assert self.run.lost >= before.lost
        self.check()

    def check_retry(self, before, event):
        policy = before.retry or event.retry
        if self.run.state is State.RETRYING and event.outcome.end is End.FAILURE:
            base = min(policy.delay_ms * policy.rate**before.tries, policy.cap_ms)
            waited = (self.run.due_at or 0) - self.now
            assert waited >= max(int(base * (1 - policy.jitter)), event.outcome.delay_ms)
            assert self.run.tries <= policy.retries
        if event.outcome.end is End.LOST and event.on_lost is OnLost.FAIL:
            assert self.run.state in TERMINAL

    def check(self):
        run, counts = self.run, self.counts
        assert run.tries == counts[End.SUCCESS] + counts[End.FAILURE] + counts[End.CANCELLED]
        assert run.lost == counts[End.LOST] <= LOST_LIMIT + 1
        ended = sum(counts.values())
        assert run.attempt == ended + (run.state is State.RUNNING)
        # I9: no more starts than tries, losses, hand-backs and snoozes, and the one that runs.
        assert run.attempt <= run.tries + run.lost + counts[End.RETURNED] + counts[End.SNOOZE] + 1
        assert len(run.history) <= HISTORY_LIMIT
        assert [old.number for old in run.history] == sorted({old.number for old in run.history})
        assert all(old.number <= run.attempt for old in run.history)
        assert (run.session != "") == (run.state is State.RUNNING)
        assert run.due_at is not None or run.state not in (State.SCHEDULED, State.RETRYING)
        if run.state in TERMINAL:
            assert (run.due_at, run.keys, run.gate, run.ended_at) == (None, (), "", self.now)
        else:
            assert run.keys == self.keys
            assert run.ended_at is None
        if run.state is State.PENDING:
            assert run.ready_at is not None
            assert run.end_by is None or (run.due_at is not None and run.due_at <= run.end_by)


@settings(max_examples=300)
@given(runs, submits, st.lists(st.tuples(events, st.integers(0, 4_000)), max_size=40))
def test_a_random_life_keeps_its_books(run, submit, life):
    story = Story(run, submit)
    for event, later in life:
        story.tell(event, later)


@settings(max_examples=200)
@given(runs, st.lists(outcomes, min_size=1, max_size=30), retries, st.data())
def test_a_life_of_claims_and_settles_ends_or_is_bounded_by_the_policy(run, ends, retry, data):
    """Straight through: each attempt is claimed, settled once as fresh, and known again when it is settled twice."""
    story = Story(run._replace(end_by=None, start_by=None, queue_ms=None), Submit())
    for number, outcome in enumerate(ends):
        if story.run.state in (State.SCHEDULED, State.RETRYING):
            story.tell(Due(), max((story.run.due_at or 0) - story.now, 0))
        if story.run.state is not State.PENDING:
            break
        story.tell(Claim("session-1", "worker-1", number), 1)
        fence, print_ = story.run.fence, digest(outcome)
        assert judge(story.run, fence, print_) is Verdict.FRESH
        story.tell(Settle(outcome, retry, chance=data.draw(st.floats(0, 0.99)), digest=print_), 1)
        assert judge(story.run, fence, print_) is Verdict.ALREADY
        assert judge(story.run, fence, print_ ^ 1) is Verdict.STALE
    policy = story.run.retry or retry
    assert story.run.tries <= policy.retries + 1


@given(st.sampled_from(sorted(TERMINAL)), events, st.integers(0, 10**6))
def test_what_has_ended_moves_no_more(state, event, later):
    ended = make_run(1, state=state, ended_at=START_AT)
    try:
        advance(ended, event, START_AT + later)
    except Refused:
        return
    raise AssertionError("a terminal run moved")
