"""Triggers by people: at once, or in turn with what a schedule has fired."""

import pytest

from rota.domain.errors import Invalid, NotFound, Refused
from rota.domain.facts import RunsSubmitted
from rota.domain.priority import Priority, rank
from rota.domain.records import VALUE_LIMIT
from rota.domain.run import Cause, Run, State
from rota.domain.schedule import Overlap, Policy, Schedule
from rota.engine.admit import release
from rota.engine.control import order_queue, trigger
from rota.engine.submit import Order
from rota.testing.clock import START_AT
from rota.testing.faults import LOST_REPLY, UNAVAILABLE, at
from tests.unit.engine.support import MINUTE


@pytest.fixture(autouse=True)
async def ready(house):
    await house.task(payload=b"1")
    await house.session()


class TestTrigger:
    async def test_runs_a_task_now_whatever_its_schedule_does(self, house, engine):
        await house.schedule("task-1", policy=Policy(overlap=Overlap.SKIP))
        await house.fire(MINUTE)
        run = await house.run((await trigger(engine, Order("task-1", payload=b"2"), "ann")).id)
        assert (run.cause, run.actor, run.payload, run.gate) == (Cause.TRIGGER, "ann", b"2", "")
        assert ("ann", "trigger", f"run:{run.id}") in await house.deeds()

    async def test_in_turn_is_refused_under_skip_while_a_run_is_not_over(self, house, engine):
        await house.schedule("task-1", policy=Policy(overlap=Overlap.SKIP))
        await house.fire(MINUTE)
        with pytest.raises(Refused, match="is not over; wait for it, or trigger without overlap"):
            await trigger(engine, Order("task-1"), "ann", overlap=True)
        await house.settle(await house.claim_one())
        assert (await trigger(engine, Order("task-1"), "ann", overlap=True)).created

    async def test_in_turn_reaches_no_schedule_of_another_task(self, house, engine):
        await house.task(2)
        await house.schedule("task-1", "task-2", policy=Policy(overlap=Overlap.CANCEL_OTHER))
        await house.fire(MINUTE)
        with pytest.raises(Refused, match="schedule main/task-1 is of another task; trigger task-1 without overlap"):
            await trigger(engine, Order("task-1"), "ann", overlap=True)
        assert [run.state for run in await house.all(Run)] == [State.PENDING]

    async def test_in_turn_waits_in_the_buffer_and_is_waited_for(self, house, engine):
        await house.schedule("task-1", policy=Policy(overlap=Overlap.BUFFER_ALL))
        first = await trigger(engine, Order("task-1"), "ann", overlap=True)
        second = await trigger(engine, Order("task-1"), "ann", overlap=True)
        await house.fire(MINUTE)
        runs = [await house.run(first.id), await house.run(second.id), (await house.all(Run))[-1]]
        assert [run.state for run in runs] == [State.PENDING, State.BLOCKED, State.BLOCKED]
        assert [run.detail for run in runs] == ["", first.id, second.id]
        assert (await house.get(Schedule, "main/task-1")).open == tuple(run.id for run in runs)
        assert len(house.facts.of(RunsSubmitted)) == 2

    async def test_in_turn_is_looked_after_as_soon_as_it_waits_and_as_what_it_waits_for_ends(self, house, engine):
        """What it waits for may have ended while it was written."""
        await house.schedule("task-1", policy=Policy(overlap=Overlap.BUFFER_ALL))
        ear = house.store.watch(["gate"])
        await trigger(engine, Order("task-1"), "ann", overlap=True)
        assert await ear.wait(0) == {}
        await trigger(engine, Order("task-1"), "ann", overlap=True)
        assert await ear.wait(0) == {"gate": 1}
        await house.settle(await house.claim_one())
        assert await ear.wait(0) == {"gate": 1}

    async def test_in_turn_is_refused_where_the_buffer_is_full(self, house, engine):
        await house.schedule("task-1", policy=Policy(overlap=Overlap.BUFFER_ONE))
        for _ in range(2):
            await trigger(engine, Order("task-1"), "ann", overlap=True)
        with pytest.raises(Refused):
            await trigger(engine, Order("task-1"), "ann", overlap=True)
        assert len(await house.all(Run)) == 2

    async def test_in_turn_replaces_under_cancel_other(self, house, engine):
        await house.schedule("task-1", policy=Policy(overlap=Overlap.CANCEL_OTHER))
        await house.fire(MINUTE)
        one = await house.claim_one()
        newer = await trigger(engine, Order("task-1"), "ann", overlap=True)
        assert (await house.run(newer.id)).state is State.BLOCKED
        assert (await house.run(one.run.id)).cancel == "schedule:task-1"
        newest = await trigger(engine, Order("task-1"), "ann", overlap=True)
        assert (await house.run(newer.id)).state is State.CANCELLED
        assert (await house.run(newest.id)).state is State.BLOCKED

    async def test_in_turn_is_made_though_the_store_is_away_before_what_it_replaces_is_cancelled(self, house, engine):
        """Told that nothing happened, who asked would ask again."""
        await house.schedule("task-1", policy=Policy(overlap=Overlap.CANCEL_OTHER))
        older = await trigger(engine, Order("task-1"), "ann", overlap=True)
        house.store.plan = at(len(house.store.calls) + 2, UNAVAILABLE)
        newer = await trigger(engine, Order("task-1"), "ann", overlap=True)
        for _ in range(2):
            await release(engine, house.term)
        assert [(await house.run(one.id)).state for one in (older, newer)] == [State.CANCELLED, State.PENDING]

    async def test_in_turn_goes_at_once_under_allow(self, house, engine):
        await house.schedule("task-1", policy=Policy(overlap=Overlap.ALLOW))
        receipts = [await trigger(engine, Order("task-1"), "ann", overlap=True) for _ in range(3)]
        assert {(await house.run(one.id)).state for one in receipts} == {State.PENDING}

    async def test_in_turn_obeys_keys(self, house, engine):
        await house.schedule("task-1", policy=Policy(overlap=Overlap.SKIP))
        order = Order("task-1", key="k", unique="u", payload=b"9".rjust(9_000))
        first = await trigger(engine, order, "ann", overlap=True)
        assert await trigger(engine, order, "ann", overlap=True) == (first.id, False)
        assert await trigger(engine, Order("task-1", unique="u"), "ann", overlap=True) == (first.id, False)
        with pytest.raises(Refused, match="another body"):
            await trigger(engine, Order("task-1", key="k"), "ann", overlap=True)
        assert len(await house.all(Run)) == 1

    async def test_in_turn_that_got_no_answer_is_one_run_even_if_the_schedule_moved_on(self, house, engine):
        await house.schedule("task-1", policy=Policy(overlap=Overlap.BUFFER_ALL))
        lost = len(house.store.calls) + 1
        house.store.plan = at(lost, LOST_REPLY)
        original = house.store.commit

        async def commit(groups, guard=None, hints=()):
            if len(house.store.calls) == lost:
                house.store.commit = original
                await house.fire(MINUTE)
            return await original(groups, guard, hints)

        house.store.commit = commit
        receipt = await trigger(engine, Order("task-1"), "ann", overlap=True)
        runs = await house.all(Run)
        assert receipt.id in {run.id for run in runs}
        assert [run.cause for run in runs] == [Cause.TRIGGER, Cause.SCHEDULE]

    async def test_in_turn_into_a_strict_queue_gets_an_endless_head_start(self, house, engine):
        await house.schedule("task-1")
        await order_queue(engine, "main", "default", True, "ann")
        run = await house.run((await trigger(engine, Order("task-1"), "ann", overlap=True)).id)
        assert run.rank == rank(START_AT, Priority.NORMAL, strict=True)

    @pytest.mark.parametrize("payload", [b"{", b'"%s"' % (b"x" * VALUE_LIMIT)])
    async def test_in_turn_has_arguments_that_make_sense(self, house, engine, payload):
        await house.schedule("task-1")
        with pytest.raises(Invalid):
            await trigger(engine, Order("task-1", payload=payload), "ann", overlap=True)
        assert await house.all(Run) == []

    async def test_in_turn_has_no_time_of_its_own(self, house, engine):
        await house.schedule("task-1")
        with pytest.raises(Invalid, match="overlap: a run that waits its turn has no time of its own"):
            await trigger(engine, Order("task-1", due_at=START_AT + MINUTE), "ann", overlap=True)
        assert await house.all(Run) == []

    async def test_in_turn_wants_a_schedule(self, engine):
        with pytest.raises(NotFound, match="no schedule"):
            await trigger(engine, Order("task-1"), "ann", overlap=True)
