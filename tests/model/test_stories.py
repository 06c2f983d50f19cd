"""Stories worth telling at every run: each one was, or could have been, the shrunken end of a random one."""

from collections import Counter

import pytest

from rota.domain.records import Session
from rota.domain.run import End, Outcome, Run, State
from rota.domain.states import Cancel, Settle
from rota.ports.store import Term, Want
from rota.testing.factories import make_run, make_session
from rota.testing.faults import LOST_REPLY, REPEATED, UNAVAILABLE
from tests.model.comparison import TERM, Comparison, Move, Moves
from tests.model.homes import Homes

LANE = make_run().lane
KEY = "main/unique/x"
ONE, TWO = make_run(1), make_run(2)
DONE, BACK, LOST = (Settle(Outcome(end)) for end in (End.SUCCESS, End.RETURNED, End.LOST))


@pytest.fixture
def both(tmp_path):
    story = Comparison(Homes(tmp_path).another(), Counter())
    story.commit([Moves([Move(None, make_session(1))])])
    yield story
    story.check()
    story.leave()


def want(limit: int = 1, token: int = 7) -> Want:
    return Want("session-1", "worker-1", token, limit, (LANE,))


def test_a_lost_claim_is_found_with_its_session_and_settled_once(both):
    both.submit([ONE, TWO], [KEY, ""])
    both.claim(want(), LOST_REPLY)
    both.check()
    held = both.newest(Run, ONE.id)
    both.move(held, DONE, None, LOST_REPLY)
    both.check()
    both.move(held, DONE)
    assert both.last_answer == ["Already"]
    assert [run.id for run in both.having(State.SUCCESS)] == [ONE.id]


def test_a_claim_that_the_network_doubles_takes_two_runs_and_loses_none(both):
    both.submit([ONE, TWO], ["", ""])
    both.claim(want(), REPEATED)
    both.check()
    assert len(both.having(State.RUNNING)) == 2


def test_the_settle_of_a_lost_attempt_changes_nothing_after_the_next_claim(both):
    both.submit([ONE], [KEY])
    both.claim(want())
    both.check()
    zombie = both.newest(Run, ONE.id)
    both.move(zombie, LOST)
    both.claim(want(token=8))
    both.check()
    both.move(zombie, DONE)
    assert both.last_answer == ["Conflict"]
    assert both.newest(Run, ONE.id).store.record.fence == (ONE.id, 2, 8)


def test_a_run_cancelled_between_read_and_settle_is_read_again(both):
    both.submit([ONE], [""])
    both.claim(want())
    both.check()
    held = both.newest(Run, ONE.id)
    both.move(held, Cancel("ann"))
    both.check()
    both.move(held, DONE)
    assert both.last_answer == ["Conflict"]
    both.move(both.newest(Run, ONE.id), DONE)
    both.check()
    assert [run.id for run in both.having(State.CANCELLED)] == [ONE.id]


def test_what_was_acknowledged_before_the_death_is_there_after_it(both):
    both.submit([ONE, TWO], [KEY, ""])
    both.claim(want(), LOST_REPLY)
    both.lead("x", False)
    both.die()
    both.check()
    both.lead("y", False)
    both.move(both.newest(Run, ONE.id), BACK)
    both.die()
    both.check()
    both.claim(want(2, token=9))


def test_a_key_passes_to_the_next_run_only_with_the_end_of_the_first(both):
    both.submit([ONE], [KEY])
    both.check()
    both.submit([TWO], [KEY])
    assert both.last_answer == ["Conflict"]
    both.move(both.newest(Run, ONE.id), Cancel("ann"), None, LOST_REPLY)
    both.check()
    both.submit([TWO], [KEY])
    assert both.last_answer == ["Applied"]


def test_a_leader_that_slept_writes_nothing_and_the_next_one_leads_on(both):
    both.lead("x", False, LOST_REPLY)
    both.submit([ONE], [""], Term(TERM, 1))
    both.lead("x", True, REPEATED)
    both.lead("y", False, UNAVAILABLE)
    both.lead("y", False)
    both.submit([TWO], [""], Term(TERM, 1))
    assert both.last_answer == "Stale"
    both.submit([TWO], [""], Term(TERM, 2), LOST_REPLY)
    assert both.last_answer == ["Already"]


def test_a_closed_session_claims_nothing_and_what_it_holds_is_taken_back(both):
    both.submit([ONE, TWO], ["", ""])
    both.claim(want())
    both.check()
    held = both.newest(Run, ONE.id)
    both.commit(
        [Moves([Move(both.newest(Session, "session-1"), make_session(1, closed_at=both.now))])], None, LOST_REPLY
    )
    both.claim(want())
    both.move(held, LOST)
    assert both.last_answer == ["Applied"]
