from datetime import timedelta

import pytest

from rota.domain.flow import Snooze, outcome_of
from rota.domain.names import TEXT_LIMIT
from rota.domain.run import Fence
from rota.ports.desk import Assignment, Settlement, Taken
from rota.testing.factories import make_run, make_task
from rota.worker import wire
from rota.worker.posted import BODY_BYTES


def test_the_longest_snooze_travels():
    end = Settlement(Fence("a" * 32, 1, 1), outcome_of(Snooze(timedelta(days=3_653))))
    (said,) = wire.decode(wire.Settle, wire.encode(wire.Settle((wire.ended(end),)))).settlements
    assert wire.settlement(said) == end


@pytest.mark.parametrize(("params", "error"), [({"body": "x" * 60_000}, ""), ({}, "\n" * TEXT_LIMIT)])
def test_what_one_answer_brings_fits_into_a_letter(params: dict[str, str], error: str):
    def given(number: int) -> Assignment:
        task = make_task(number, params=params)
        return Assignment(make_run(number, task=task.name, error=error), task, b"x" * 8_000, 1)

    left, letters = [given(number) for number in range(wire.GIVEN)], 0
    while left:
        said = wire.work(Taken(tuple(left), False, True), 0)
        assert len(wire.encode(said)) < BODY_BYTES
        left, letters = left[len(said.runs) :], letters + 1
    assert letters > 1
