"""What is due is found by one look and read by another: what changes between them must not be given as it was found."""

from dataclasses import replace

import pytest

from rota.domain.run import Run, State
from rota.domain.schedule import Schedule
from rota.ports.store import APPLIED, Change, Due, Group, Versioned
from rota.testing.clock import START_AT
from rota.testing.factories import make_run, make_schedule
from tests.unit.stores.files import put, reached

DUE = START_AT + 60_001
LATER = DUE + 500


@pytest.mark.parametrize(
    ("first", "moved"),
    [
        (make_schedule(1), replace(make_schedule(1), paused="ann", next_at=None)),
        (make_schedule(1), replace(make_schedule(1), next_at=LATER + 1)),
        (make_run(1, state=State.SCHEDULED, due_at=DUE), make_run(1, state=State.CANCELLED, ended_at=DUE)),
        (make_run(1, state=State.RETRYING, due_at=DUE), make_run(1, state=State.RETRYING, due_at=LATER + 1)),
    ],
)
async def test_who_moves_between_the_looks_is_not_given_and_asked_for_again_at_once(prefix, first, moved):
    kind: type = type(first)
    async with reached(prefix) as store:
        assert await put(store, first) == [APPLIED]
        found = await store.due(kind, LATER, 10)
        assert [one.record for one in found.items] == [first]
        ask = store._link.ask

        async def slowly(ranges):
            replies = await ask(ranges)
            store._link.ask = ask
            (held,) = found.items
            assert await store.commit([Group((Change(Versioned(first, held.version), moved),))]) == [APPLIED]
            return replies

        store._link.ask = slowly
        assert await store.due(kind, LATER, 10) == Due((), LATER)
        again = await store.due(kind, LATER, 10)
        assert again == Due((), getattr(moved, {Schedule: "next_at", Run: "due_at"}[kind]))
