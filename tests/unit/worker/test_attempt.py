"""One attempt by itself: what ends it early, and how long it may take."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from rota.domain.run import SUCCESS, End, Outcome, State
from rota.domain.task import OnLost, Task
from rota.ports.desk import Assignment
from rota.ports.executor import Context
from rota.testing.clock import MovableClock
from rota.testing.factories import make_run, make_task
from rota.worker.attempt import CANCELLED, LEAVING, SILENT, TIMEOUT, TOTAL, Attempt, cut_short, perform, time_left
from rota.worker.context import RunContext

TASK = make_task()


class Deaf:
    """An executor that is told to stop as it works, and ends in its own way."""

    kind = "python"

    def __init__(self, why: str, outcome: Outcome) -> None:
        self.why, self.outcome = why, outcome

    async def run(self, _: Assignment, context: Context) -> Outcome:
        assert isinstance(context, RunContext)
        context.stopping = self.why
        return self.outcome

    async def close(self) -> None: ...


def attempt_of(task: Task = TASK, **changes: Any) -> Attempt:
    assignment = Assignment(make_run(attempt=1, state=State.RUNNING, **changes), task, b"{}", 1)
    return Attempt(assignment, RunContext(assignment, None, MovableClock(), lambda _: None), 0, None)


async def test_one_whose_time_ran_out_before_it_began_ends_without_it() -> None:
    late = attempt_of(start_by=999)
    outcome = await perform(late, {}, 1_000)
    assert (outcome.end, outcome.reason, outcome.final, late.started_at) == (End.FAILURE, "missed_start", True, 0)


@pytest.mark.parametrize(
    ("why", "end", "reason"),
    [
        (TIMEOUT, End.FAILURE, "timeout"),
        (SILENT, End.FAILURE, "silent"),
        (TOTAL, End.FAILURE, "total_timeout"),
        (LEAVING, End.SUCCESS, ""),
        (CANCELLED, End.SUCCESS, ""),
    ],
)
async def test_a_result_that_comes_after_its_time_was_over_does_not_count(why: str, end: End, reason: str) -> None:
    outcome = await perform(attempt_of(), {"python": Deaf(why, SUCCESS)}, 1)
    assert (outcome.end, outcome.reason, outcome.final) == (end, reason, why == TOTAL)


@pytest.mark.parametrize(("began", "end"), [(0, End.RETURNED), (1, End.FAILURE)])
def test_what_must_not_run_twice_goes_back_only_if_it_has_not_begun(began: int, end: End) -> None:
    attempt = attempt_of(replace(TASK, on_lost=OnLost.FAIL))
    attempt.started_at = began
    attempt.stop(LEAVING, 1)
    outcome = cut_short(attempt)
    assert (outcome.end, outcome.final) == (end, bool(began))


async def test_one_that_is_stopped_before_it_began_says_so_by_the_first_reason() -> None:
    """Were its coroutine cancelled, nobody would hear of its end."""
    attempt = attempt_of()
    doing = asyncio.create_task(perform(attempt, {}, 1))
    attempt.task = doing  # type: ignore[assignment]  # the pipeline's first half
    attempt.stop(CANCELLED, 1)
    attempt.stop(TIMEOUT, 2)
    assert (await doing).end is End.CANCELLED
    assert attempt.stopped == 1


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({}, None),
        ({"timeout_ms": 50}, 50),
        ({"end_by": 1_030}, 30),
        ({"end_by": 1_030, "timeout_ms": 50}, 30),
        ({"end_by": 1_030, "timeout_ms": 20}, 20),
    ],
)
def test_it_may_take_what_is_left_by_the_clock_that_ends_first(changes: dict[str, Any], left: int | None) -> None:
    assert time_left(make_run(**changes), 1_000) == left
