"""Whether a claimed run may still start: the total clock ends at its instant, the others after theirs."""

from typing import Any

import pytest

from rota.domain.run import HISTORY_LIMIT, Attempt, End, Outcome, Reason, State
from rota.domain.states import Settle, advance, too_late
from rota.testing.factories import make_run

AT = 1_000_000
BACK = Attempt(1, 77, "worker-1", "session-1", AT - 5, None, AT - 4, Reason.RETURNED, "", 5)


@pytest.mark.parametrize(
    ("changes", "late"),
    [
        ({}, None),
        ({"end_by": AT + 1}, None),
        ({"end_by": AT}, Reason.TOTAL_TIMEOUT),
        ({"queue_ms": 500, "ready_at": AT - 500}, None),
        ({"queue_ms": 500, "ready_at": AT - 501}, Reason.MISSED_START),
        ({"start_by": AT}, None),
        ({"start_by": AT - 1}, Reason.MISSED_START),
        ({"start_by": AT - 1, "attempt": 2, "history": (BACK._replace(started_at=AT - 2),)}, None),
        ({"start_by": AT - 1, "attempt": 2, "history": (BACK,)}, Reason.MISSED_START),
        ({"start_by": AT - 1, "attempt": 2, "history": (BACK,), "tries": 1}, None),
        ({"start_by": AT - 1, "attempt": 2, "history": (BACK,), "lost": 1}, None),
        ({"start_by": AT - 1, "attempt": 2}, None),
    ],
)
def test_a_claimed_run_starts_unless_one_of_its_clocks_ran_out_meanwhile(
    changes: dict[str, Any], late: Reason | None
) -> None:
    run = make_run(state=State.RUNNING, **{"attempt": 1, "ready_at": AT, **changes})
    assert too_late(run, AT) is late


def test_what_a_run_remembers_of_its_attempts_is_short() -> None:
    run = make_run(state=State.RUNNING, attempt=1, history=())
    for number in range(HISTORY_LIMIT + 5):
        outcome = Outcome(End.RETURNED, reason="room") if number % 2 else Outcome(End.LOST, error="x" * 10_000)
        back = advance(run._replace(lost=0), Settle(outcome), AT)
        run = back._replace(state=State.RUNNING, attempt=back.attempt + 1)
    assert len(run.history) == HISTORY_LIMIT
    assert max(len(one.error) for one in run.history) == 500
