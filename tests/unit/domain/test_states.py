"""The table, arrow by arrow: what each event makes of a run in each state, and which outcome leads where."""

import re
from pathlib import Path
from typing import get_args

import pytest

from rota.domain.errors import Refused
from rota.domain.priority import rank
from rota.domain.retry import Retry
from rota.domain.run import (
    GRACE_MS,
    HISTORY_LIMIT,
    LIVE,
    LOST_LIMIT,
    TERMINAL,
    Attempt,
    End,
    Fence,
    Outcome,
    Reason,
    State,
)
from rota.domain.states import (
    TABLE,
    Cancel,
    Claim,
    Due,
    Event,
    Release,
    Settle,
    Submit,
    Verdict,
    advance,
    digest,
    judge,
    too_late,
    word,
)
from rota.domain.task import OnLost
from rota.testing.clock import START_AT
from rota.testing.factories import make_run

NOW = START_AT + 10_000
RETRY = Retry(retries=2, delay_ms=1_000, jitter=0)
CLAIM = Claim("session-1", "worker-1", 77)
EVENTS: list[Event] = [Submit(), Due(), Release(), CLAIM, Settle(Outcome(End.SUCCESS)), Cancel("ann")]


def run(state=State.PENDING, **changes):
    due_at = START_AT if state in (State.SCHEDULED, State.RETRYING) else None
    held = {"session": "session-1", "worker": "worker-1", "token": 77, "attempt": 1, "claimed_at": START_AT}
    return make_run(1, state=state, **{"due_at": due_at} | (held if state is State.RUNNING else {}) | changes)


def settled(outcome, before=None, retry=RETRY, digest=5, on_lost=OnLost.RETRY):
    return advance(before or run(State.RUNNING), Settle(outcome, retry, on_lost, digest=digest), NOW)


def failure(**changes):
    return Outcome(End.FAILURE, reason=Reason.ERROR, error="Boom: it broke", **changes)


@pytest.mark.parametrize("event", EVENTS[1:], ids=[word(type(event)) for event in EVENTS[1:]])
@pytest.mark.parametrize("state", State)
def test_each_event_in_each_state_leads_where_the_table_says_or_is_refused(state, event):
    allowed = TABLE.get((state, type(event)))
    if allowed is None:
        with pytest.raises(Refused, match=rf"is {state}: cannot {word(type(event))}"):
            advance(run(state), event, NOW)
    else:
        assert advance(run(state), event, NOW).state in allowed


def test_every_arrow_of_the_table_is_reached():
    late = run(State.RUNNING, end_by=NOW)
    reached = {
        State.SUCCESS: settled(Outcome(End.SUCCESS)),
        State.FAILED: settled(failure(final=True)),
        State.CANCELLED: settled(Outcome(End.CANCELLED)),
        State.RETRYING: settled(failure()),
        State.PENDING: settled(Outcome(End.RETURNED)),
    }
    assert {after.state for after in reached.values()} == TABLE[State.RUNNING, Settle] == reached.keys()
    assert settled(failure(), late).reason == Reason.TOTAL_TIMEOUT
    submitted = [
        advance(run(due_at=NOW + 1), Submit(), NOW),
        advance(run(), Submit(blocked="earlier"), NOW),
        advance(run(), Submit(), NOW),
    ]
    assert {after.state for after in submitted} == TABLE[None, Submit]


def test_no_arrow_leaves_a_terminal_state_and_every_live_one_can_be_left():
    assert set(State) == LIVE | TERMINAL
    assert {state for state, _ in TABLE} == LIVE | {None}
    assert {type(event) for event in EVENTS} == set(get_args(Event)) == {event for _, event in TABLE}


def test_a_step_that_breaks_the_table_is_a_fault_of_ours(monkeypatch):
    monkeypatch.setattr(Release, "step", lambda self, run, now: run._replace(state=State.SUCCESS))
    with pytest.raises(AssertionError, match="blocked may not become success by release"):
        advance(run(State.BLOCKED), Release(), NOW)


def test_the_drawing_shows_every_arrow():
    drawing = (Path(__file__).parents[3] / "docs" / "architecture.md").read_text()
    shown = re.findall(r"^    (\S+) --> (\w+): (.+)$", drawing, re.MULTILINE)
    arrows = {(one, event, other) for one, other, events in shown for event in events.split(", ")}
    assert arrows == {
        (str(state or "[*]"), word(event), str(after)) for (state, event), states in TABLE.items() for after in states
    }
    assert all(f"    {state} --> [*]" in drawing for state in TERMINAL)


class TestSubmitAndDue:
    def test_what_is_due_is_ready_and_what_is_not_is_scheduled(self):
        for due_at in (None, NOW - 5, NOW):
            ready = advance(run(due_at=due_at, priority=2), Submit(), NOW)
            assert (ready.state, ready.reason) == (State.PENDING, Reason.SUBMITTED)
            assert (ready.ready_at, ready.due_at, ready.rank) == (NOW, None, rank(NOW, 2))
        later = advance(run(due_at=NOW + 1), Submit(), NOW)
        assert (later.state, later.reason, later.due_at) == (State.SCHEDULED, Reason.DELAYED, NOW + 1)

    def test_a_delayed_run_stands_in_line_as_if_it_had_been_looked_at_in_time(self):
        ready = advance(run(State.SCHEDULED, due_at=NOW - 700), Due(strict=True), NOW)
        assert (ready.state, ready.reason, ready.ready_at) == (State.PENDING, Reason.DUE, NOW)
        assert ready.rank == rank(NOW - 700, ready.priority, strict=True)

    def test_its_queue_clock_begins_when_it_was_looked_at(self):
        ready = advance(run(State.SCHEDULED, due_at=NOW - 700, queue_ms=500), Due(), NOW)
        assert ready.due_at == NOW + 500, "nobody could have started it while nobody looked"

    def test_a_blocked_run_says_whom_it_waits_for_until_it_is_released(self):
        blocked = advance(run(start_by=NOW + 50, queue_ms=1), Submit(blocked="earlier"), NOW)
        assert (blocked.state, blocked.reason, blocked.detail) == (State.BLOCKED, Reason.OVERLAP, "earlier")
        assert blocked.due_at == NOW + 50
        ready = advance(blocked, Release(), NOW + 10)
        assert (ready.state, ready.reason, ready.detail) == (State.PENDING, Reason.RELEASED, "")
        assert ready.due_at == NOW + 11


class TestClocks:
    @pytest.mark.parametrize(
        ("clocks", "due_at"),
        [
            ({}, None),
            ({"queue_ms": 500}, NOW + 500),
            ({"start_by": NOW + 300}, NOW + 300),
            ({"end_by": NOW + 400}, NOW + 400),
            ({"queue_ms": 500, "start_by": NOW + 600, "end_by": NOW + 700}, NOW + 500),
            ({"queue_ms": 500, "start_by": NOW + 600, "end_by": NOW + 300}, NOW + 300),
            ({"start_by": NOW + 300, "attempt": 1, "tries": 1, "queue_ms": 500}, NOW + 500),
        ],
    )
    def test_the_first_clock_to_end_is_the_limit_of_waiting(self, clocks, due_at):
        assert advance(run(**clocks), Submit(), NOW).due_at == due_at

    @pytest.mark.parametrize("state", [State.PENDING, State.BLOCKED])
    def test_waiting_too_long_is_a_missed_start_or_the_end_of_all_time(self, state):
        missed = advance(run(state, due_at=NOW, end_by=NOW + 1), Due(), NOW)
        assert (missed.state, missed.reason, missed.due_at) == (State.FAILED, Reason.MISSED_START, None)
        over = advance(run(state, due_at=NOW, end_by=NOW), Due(), NOW)
        assert (over.state, over.reason) == (State.FAILED, Reason.TOTAL_TIMEOUT)

    def test_blocked_runs_end_with_the_total_clock_but_not_by_the_queue_clock(self):
        assert advance(run(queue_ms=5), Submit(blocked="x"), NOW).due_at is None
        assert advance(run(queue_ms=5, end_by=NOW + 9), Submit(blocked="x"), NOW).due_at == NOW + 9

    @pytest.mark.parametrize(
        ("clocks", "due_at"),
        [
            ({}, None),
            ({"timeout_ms": 100}, NOW + 100 + GRACE_MS),
            ({"end_by": NOW + 50}, NOW + 50 + GRACE_MS),
            ({"timeout_ms": 100, "end_by": NOW + 150}, NOW + 100 + GRACE_MS),
            ({"timeout_ms": 100, "end_by": NOW + 50}, NOW + 50 + GRACE_MS),
        ],
    )
    def test_an_attempt_is_looked_at_after_its_first_deadline_and_grace(self, clocks, due_at):
        assert advance(run(**clocks), CLAIM, NOW).due_at == due_at

    def test_no_next_try_begins_at_or_after_the_total_end(self):
        for outcome in (failure(), Outcome(End.SNOOZE, delay_ms=1_000)):
            again = settled(outcome, run(State.RUNNING, end_by=NOW + 1_001))
            assert (again.state, again.due_at) == (State.RETRYING, NOW + 1_000)
            over = settled(outcome, run(State.RUNNING, end_by=NOW + 1_000))
            assert (over.state, over.reason) == (State.FAILED, Reason.TOTAL_TIMEOUT)
        for outcome in (Outcome(End.RETURNED), Outcome(End.LOST)):
            assert settled(outcome, run(State.RUNNING, end_by=NOW + 1)).state is State.PENDING
            assert settled(outcome, run(State.RUNNING, end_by=NOW)).reason == Reason.TOTAL_TIMEOUT

    @pytest.mark.parametrize(
        ("outcome", "holds"),
        [
            (Outcome(End.RETURNED, reason="its worker had no room for it"), True),
            (Outcome(End.RETURNED, reason=Reason.NO_HANDLER, started_at=NOW), True),
            (Outcome(End.RETURNED, reason="its worker was stopped", started_at=NOW), False),
            (Outcome(End.LOST), False),
        ],
    )
    def test_what_was_handed_back_before_it_began_must_still_start_in_time(self, outcome, holds):
        back = settled(outcome, run(State.RUNNING, start_by=NOW + 300))
        assert back.due_at == (NOW + 300 if holds else None)
        assert too_late(advance(back, CLAIM, NOW + 200), NOW + 301) is (Reason.MISSED_START if holds else None)


def test_a_claim_mints_a_new_attempt_and_forgets_what_was_the_last_ones():
    before = run(attempt=4, detail="its worker left", started_at=3, digest=9, progress="half", cancel="")
    after = advance(before, Claim("session-2", "worker-2", 99), NOW)
    assert after.fence == Fence(before.id, 5, 99)
    assert (after.state, after.session, after.worker, after.claimed_at) == (
        State.RUNNING,
        "session-2",
        "worker-2",
        NOW,
    )
    assert (after.detail, after.started_at, after.digest, after.progress) == ("", None, 0, "")


class TestCancel:
    @pytest.mark.parametrize("state", sorted(LIVE - {State.RUNNING}))
    def test_without_an_attempt_it_is_absolute(self, state):
        before = run(state, keys=("main/unique/k",), gate="g", due_at=NOW + 5)
        after = advance(before, Cancel("ann"), NOW)
        assert (after.state, after.reason, after.cancel) == (State.CANCELLED, Reason.CANCELLED, "ann")
        assert (after.keys, after.gate, after.due_at, after.ended_at) == ((), "", None, NOW)

    def test_of_a_running_one_it_is_a_wish_of_whoever_came_first(self):
        asked = advance(advance(run(State.RUNNING), Cancel("ann"), NOW), Cancel("bob"), NOW)
        assert asked == run(State.RUNNING, cancel="ann")

    @pytest.mark.parametrize("end", End)
    def test_whatever_ends_the_attempt_then_the_run_is_cancelled(self, end):
        asked = run(State.RUNNING, cancel="ann", lost=LOST_LIMIT)
        after = settled(Outcome(end, result=b"42", delay_ms=5), asked, on_lost=OnLost.FAIL)
        assert (after.state, after.reason, after.cancel, after.session) == (
            State.CANCELLED,
            Reason.CANCELLED,
            "ann",
            "",
        )

    def test_a_success_that_comes_too_late_is_kept_as_information(self):
        after = settled(Outcome(End.SUCCESS, result=b"42"), run(State.RUNNING, cancel="ann"))
        assert (after.state, after.result, after.detail) == (
            State.CANCELLED,
            b"42",
            "it had finished with success",
        )

    def test_a_task_that_gives_up_by_itself_is_named_as_the_one_who_did(self):
        after = settled(Outcome(End.CANCELLED, error="pointless"))
        assert (after.state, after.cancel, after.error, after.tries) == (
            State.CANCELLED,
            "the task itself",
            "pointless",
            1,
        )


class TestOutcomes:
    def test_a_success_counts_as_a_try_and_leaves_no_error(self):
        before = run(State.RUNNING, error="Boom", tries=1, keys=("k",), gate="g", started_at=3, due_at=9)
        after = settled(Outcome(End.SUCCESS, result=b"1", started_at=8), before)
        assert (after.state, after.reason, after.result, after.error) == (State.SUCCESS, Reason.DONE, b"1", "")
        assert (after.tries, after.keys, after.gate, after.due_at, after.started_at) == (2, (), "", None, 8)

    def test_a_failure_is_tried_again_until_the_policy_is_exhausted(self):
        one = run()
        for tries in (1, 2):
            one = settled(failure(started_at=NOW - 5), advance(one, CLAIM, NOW))
            assert (one.state, one.tries, one.due_at) == (State.RETRYING, tries, NOW + 1_000 * 2 ** (tries - 1))
            one = advance(one, Due(), one.due_at)
        last = settled(failure(), advance(one, CLAIM, NOW))
        assert (last.state, last.reason, last.tries, last.attempt) == (State.FAILED, Reason.ERROR, 3, 3)
        assert [old.number for old in last.history] == [1, 2]
        assert last.history[0] == Attempt(
            1, 77, "worker-1", "session-1", NOW, NOW - 5, NOW, "error", "Boom: it broke", 5
        )

    def test_some_failures_are_final(self):
        assert settled(failure(final=True)).state is State.FAILED
        never = Retry(never_on=("OSError",))
        assert settled(failure(errors=("FileNotFoundError", "OSError")), retry=never).state is State.FAILED
        assert settled(failure(errors=("ValueError",)), retry=never).state is State.RETRYING
        assert settled(failure(), retry=never).state is State.RETRYING

    def test_a_run_may_bring_its_own_policy(self):
        assert settled(failure(), run(State.RUNNING, retry=Retry(retries=0))).state is State.FAILED

    def test_a_failure_may_ask_for_a_longer_wait_than_the_policy_but_not_for_a_shorter(self):
        assert settled(failure(delay_ms=5_000)).due_at == NOW + 5_000
        assert settled(failure(delay_ms=10)).due_at == NOW + 1_000

    def test_a_snooze_and_a_return_burn_no_try(self):
        snoozed = settled(Outcome(End.SNOOZE, delay_ms=70), run(State.RUNNING, tries=2))
        assert (snoozed.state, snoozed.due_at, snoozed.tries, snoozed.lost) == (State.RETRYING, NOW + 70, 2, 0)
        back = settled(
            Outcome(End.RETURNED, reason="its worker was stopped"),
            run(State.RUNNING, tries=2, error="of the try before"),
        )
        assert (back.error, back.history[-1].error) == ("", "")
        assert (back.state, back.reason, back.detail) == (
            State.PENDING,
            Reason.RETURNED,
            "its worker was stopped",
        )
        assert (back.tries, back.lost, back.due_at) == (2, 0, None)
        assert back.rank == run().rank

    def test_what_comes_back_waits_anew_unless_nobody_could_start_it(self):
        for outcome in (Outcome(End.LOST), Outcome(End.RETURNED, reason="its worker was stopped")):
            back = settled(outcome, run(State.RUNNING, queue_ms=100, ready_at=NOW - 500))
            assert (back.ready_at, back.due_at) == (NOW, NOW + 100)
            assert too_late(advance(back, CLAIM, NOW + 50), NOW + 50) is None
            assert too_late(advance(back, CLAIM, NOW + 101), NOW + 101) is Reason.MISSED_START
        unknown = Outcome(End.RETURNED, reason=Reason.NO_HANDLER)
        back = settled(unknown, run(State.RUNNING, queue_ms=600, ready_at=NOW - 500))
        assert (back.ready_at, back.due_at) == (NOW - 500, NOW + 100)

    def test_a_poison_run_gets_a_last_try_alone_and_only_its_loss_fails_it(self):
        one = run()
        for lost in range(1, LOST_LIMIT + 1):
            assert not one.isolated
            one = settled(Outcome(End.LOST, reason="session-1 ended", error="gone"), advance(one, CLAIM, NOW))
            assert (one.state, one.reason, one.lost, one.tries) == (State.PENDING, Reason.LOST, lost, 0)
        assert one.isolated
        alone = advance(one, CLAIM, NOW)
        assert settled(Outcome(End.SUCCESS), alone).state is State.SUCCESS
        assert settled(failure(), alone).state is State.RETRYING
        poison = settled(Outcome(End.LOST), alone)
        assert (poison.state, poison.reason, poison.lost) == (State.FAILED, Reason.POISON, LOST_LIMIT + 1)
        assert poison.error == "gone"

    def test_what_must_not_run_twice_fails_with_its_first_loss(self):
        after = settled(Outcome(End.LOST), on_lost=OnLost.FAIL)
        assert (after.state, after.reason, after.lost, after.attempt) == (State.FAILED, Reason.LOST, 1, 1)


class TestJudge:
    def test_the_awaited_report_is_fresh_its_repetition_known_and_another_one_stale(self):
        held = run(State.RUNNING)
        assert judge(held, held.fence, 5) is Verdict.FRESH
        after = settled(failure())
        assert judge(after, held.fence, 5) is Verdict.ALREADY
        assert judge(after, held.fence, 6) is Verdict.STALE
        ended = settled(Outcome(End.SUCCESS))
        assert judge(ended, held.fence, 5) is Verdict.ALREADY
        assert judge(ended, held.fence, 6) is Verdict.STALE

    def test_another_fence_is_stale_whatever_it_reports(self):
        held = run(State.RUNNING)
        for fence in (Fence(held.id, 0, 77), Fence(held.id, 1, 78), Fence(held.id, 2, 77)):
            assert judge(held, fence, 5) is Verdict.STALE

    def test_old_attempts_are_known_as_long_as_the_history_reaches(self):
        one = run()
        fences = []
        for number in range(HISTORY_LIMIT + 2):
            one = advance(one, Claim("session-1", "worker-1", number), NOW)
            fences.append(one.fence)
            one = settled(Outcome(End.RETURNED), one, digest=100 + number)
        assert len(one.history) == HISTORY_LIMIT
        # The newest attempt is in the history too, for it is over.
        forgotten = 2
        for number, fence in enumerate(fences):
            known = Verdict.STALE if number < forgotten else Verdict.ALREADY
            assert judge(one, fence, 100 + number) is known
            assert judge(one, fence, 1) is Verdict.STALE
            assert judge(one, fence._replace(token=999), 100 + number) is Verdict.STALE

    def test_a_report_of_a_lost_attempt_is_stale_once_its_loss_was_booked(self):
        lost = settled(Outcome(End.LOST), digest=digest(Outcome(End.LOST)))
        zombie = digest(Outcome(End.SUCCESS, result=b"1"))
        assert judge(lost, run(State.RUNNING).fence, zombie) is Verdict.STALE
        elsewhere = advance(lost, Claim("session-2", "worker-2", 99), NOW)
        assert judge(elsewhere, run(State.RUNNING).fence, zombie) is Verdict.STALE
        assert judge(elsewhere, elsewhere.fence, zombie) is Verdict.FRESH

    def test_a_digest_tells_outcomes_apart_and_is_never_none(self):
        outcomes = [
            Outcome(End.SUCCESS),
            Outcome(End.SUCCESS, result=b"1"),
            Outcome(End.FAILURE),
            Outcome(End.FAILURE, reason="error"),
            Outcome(End.FAILURE, error="Boom \ud800"),
            Outcome(End.FAILURE, delay_ms=5),
            Outcome(End.LOST),
        ]
        assert len({digest(outcome) for outcome in outcomes}) == len(outcomes)
        assert all(map(digest, outcomes))
        assert digest(Outcome(End.SUCCESS, started_at=5)) == digest(Outcome(End.SUCCESS))
