from dataclasses import replace

import pytest

from rota.domain.errors import Stale, Unavailable
from rota.domain.facts import RunsSettled
from rota.domain.priority import rank
from rota.domain.records import Tally, Unique
from rota.domain.run import Reason, Run, State
from rota.domain.schedule import CatchUp, Overlap, Policy, Schedule, Skip
from rota.domain.task import Owner
from rota.domain.triggers import Interval
from rota.engine.admit import release
from rota.engine.control import cancel, order_queue, trigger
from rota.engine.define import delete_schedule, register, update_schedule
from rota.engine.fire import CANCEL_LIMIT
from rota.engine.submit import Order, submit
from rota.ports.store import Change, Group, Page
from rota.testing.clock import START_AT
from rota.testing.factories import make_run
from rota.testing.faults import UNAVAILABLE, at
from tests.unit.engine.support import FAILURE, MINUTE, SUCCESS, House

SECOND = 1_000


@pytest.fixture(autouse=True)
async def task(house):
    return await house.task(payload=b"1")


async def states(house):
    return [run.state for run in await house.all(Run)]


async def minutes(house: House, number: int) -> None:
    """The next occurrences, one a minute, each fired in time."""
    for _ in range(number):
        await house.fire(MINUTE)
        await release(house.engine, house.term)


async def test_a_leader_of_the_past_releases_nobody(house, engine):
    await house.schedule(policy=Policy(overlap=Overlap.BUFFER_ALL))
    await house.session()
    await minutes(house, 2)
    await house.settle(await house.claim_one())
    old, _ = house.term, await house.lead()
    with pytest.raises(Stale):
        await release(engine, old)
    assert await states(house) == [State.SUCCESS, State.BLOCKED]


async def test_schedules_of_one_name_in_two_namespaces_wait_for_their_own_runs(house, engine):
    await house.task(namespace="other")
    for space in ("main", "other"):
        await house.schedule(namespace=space, policy=Policy(overlap=Overlap.BUFFER_ALL))
    await minutes(house, 2)
    await house.session()
    await house.settle(await house.claim_one())
    assert await release(engine, house.term) == 1
    found = [(run.namespace, run.state) for run in await house.all(Run) if run.state is not State.SUCCESS]
    assert sorted(found) == [("main", "pending"), ("other", "blocked"), ("other", "pending")]


async def test_a_page_without_runs_is_not_the_end_of_those_that_wait(house, engine):
    """A store that looks through an index page by page may find nothing on one."""
    await house.schedule(policy=Policy(overlap=Overlap.BUFFER_ALL))
    await minutes(house, 2)
    await house.session()
    await house.settle(await house.claim_one())
    original = house.store.find

    async def find(kind, where, cursor="", limit=50, oldest=False):
        return await original(kind, where, "", limit, oldest) if cursor else Page((), "further on")

    house.store.find = find
    assert await release(engine, house.term) == 1


async def test_what_is_released_into_a_strict_queue_gets_an_endless_head_start(house, engine):
    await house.schedule(policy=Policy(overlap=Overlap.BUFFER_ALL))
    await order_queue(engine, "main", "default", True, "ann")
    await minutes(house, 2)
    await house.session()
    await house.settle(await house.claim_one())
    assert await release(engine, house.term) == 1
    (run,) = await house.claim()
    assert run.run.rank == rank(run.run.ready_at, run.run.priority, strict=True)


class TestOverlap:
    async def test_skip_fires_again_only_when_the_run_is_over(self, house):
        await house.schedule(policy=Policy(overlap=Overlap.SKIP))
        await house.session()
        await minutes(house, 3)
        assert await states(house) == [State.PENDING]
        await house.settle(await house.claim_one())
        await minutes(house, 1)
        assert await states(house) == [State.SUCCESS, State.PENDING]
        (skip,) = await house.all(Skip)
        assert (skip.first_at, skip.last_at, skip.count, skip.reason) == (
            START_AT + 2 * MINUTE,
            START_AT + 3 * MINUTE,
            2,
            "overlap",
        )

    async def test_skip_counts_a_run_that_waits_to_be_tried_again(self, house):
        await house.schedule(policy=Policy(overlap=Overlap.SKIP))
        await house.session()
        await minutes(house, 1)
        await house.settle(await house.claim_one(), FAILURE)
        assert await states(house) == [State.RETRYING]
        await minutes(house, 1)
        assert (await house.get(Schedule, "main/s")).skipped == 1

    async def test_buffer_one_keeps_one_waiting(self, house):
        await house.schedule(policy=Policy(overlap=Overlap.BUFFER_ONE))
        await house.session()
        await minutes(house, 3)
        assert await states(house) == [State.PENDING, State.BLOCKED]
        first, second = await house.all(Run)
        assert (second.reason, second.detail, second.gate) == (Reason.OVERLAP, first.id, "s")
        one = await house.claim_one()
        ear = house.store.watch(["gate"])
        await house.settle(one)
        assert await ear.wait(0) == {"gate": 1}
        assert await release(house.engine, house.term) == 1
        assert await states(house) == [State.SUCCESS, State.PENDING]
        assert (await house.run(second.id)).reason == Reason.RELEASED

    async def test_buffer_all_releases_one_after_the_other_in_order(self, house):
        await house.schedule(policy=Policy(overlap=Overlap.BUFFER_ALL))
        await house.session()
        await minutes(house, 5)
        order = []
        for _ in range(5):
            assert sum(state in (State.PENDING, State.RUNNING) for state in await states(house)) == 1
            one = await house.claim_one()
            assert await house.claim() == ()
            assert await release(house.engine, house.term) == 0
            order.append(one.run.nominal_at)
            await house.settle(one)
            await release(house.engine, house.term)
            assert await release(house.engine, house.term) == 0
        assert order == [START_AT + number * MINUTE for number in range(1, 6)]

    async def test_one_fired_during_the_look_waits_for_the_one_fired_before_it(self, house, engine):
        await house.schedule(policy=Policy(overlap=Overlap.BUFFER_ALL, catch_up=CatchUp.ALL))
        await minutes(house, 2)
        first, second = await house.all(Run)
        await cancel(engine, first.id, "ann")
        original = house.store.get

        async def get(kind, ids):
            found = await original(kind, ids)
            if kind is Schedule:
                house.store.get = original
                await cancel(engine, second.id, "ann")
                await house.fire(2 * MINUTE)
            return found

        house.store.get = get
        await release(engine, house.term)
        assert await states(house) == [State.CANCELLED, State.CANCELLED, State.PENDING, State.BLOCKED]

    async def test_one_that_many_wait_for_does_not_keep_another_waiting(self, house, engine):
        for name in ("many", "few"):
            await house.schedule(name, policy=Policy(overlap=Overlap.BUFFER_ALL))
        await house.session()
        await minutes(house, 1)
        many, few = sorted(await house.claim(), key=lambda one: one.run.schedule, reverse=True)
        waiting = [
            make_run(number, task="task-1", state=State.BLOCKED, schedule="many", gate="many", ready_at=None)
            for number in range(10, 2_200)
        ]
        await house.store.commit([Group((Change(None, run),)) for run in waiting])
        await minutes(house, 1)
        await house.settle(few)
        assert await release(engine, house.term) == 1
        assert {run.schedule for run in await house.all(Run) if run.state is State.PENDING} == {"few"}
        await house.settle(many)
        assert await release(engine, house.term) == 1

    async def test_cancel_other_ends_what_waits_and_tells_what_runs(self, house):
        await house.schedule(policy=Policy(overlap=Overlap.CANCEL_OTHER))
        await house.session()
        await minutes(house, 1)
        first = await house.claim_one()
        ear = house.store.watch(["session:session-1", "gate", "done"])
        await minutes(house, 1)
        assert set(await ear.wait(0)) == {"session:session-1", "gate"}
        assert (await house.run(first.run.id)).cancel == "schedule:s"
        await minutes(house, 1)
        assert await states(house) == [State.RUNNING, State.CANCELLED, State.BLOCKED]
        assert "done" in await ear.wait(0)
        (cell,) = await house.all(Tally)
        assert (cell.outcome, cell.count, cell.bucket, cell.node) == ("cancelled", 1, 0, "")
        (fact,) = house.facts.of(RunsSettled)
        assert [run.nominal_at for run in fact.runs] == [START_AT + 2 * MINUTE]
        await house.settle(first, SUCCESS)
        await release(house.engine, house.term)
        assert await states(house) == [State.CANCELLED, State.CANCELLED, State.PENDING]

    async def test_cancel_other_leaves_alone_whose_cancel_was_asked_before(self, house, engine):
        """It stays that of who asked for it, and nothing is written for it again with each occurrence."""
        await house.session()
        await house.schedule(policy=Policy(overlap=Overlap.CANCEL_OTHER))
        await minutes(house, 1)
        run = (await house.claim_one()).run
        await cancel(engine, run.id, "ann")
        (before,) = await house.store.get(Run, [run.id])
        await minutes(house, 2)
        (after,) = await house.store.get(Run, [run.id])
        assert after.record.cancel == "ann"
        assert after == before

    async def test_cancel_other_tells_as_many_as_a_group_holds_and_the_others_once_that_is_done(self, house, engine):
        """So many run at once only where the schedule allowed it before."""
        await house.session()
        made = await house.schedule()
        await minutes(house, CANCEL_LIMIT + 3)
        assert len(await house.claim(limit=100)) == CANCEL_LIMIT + 3
        await update_schedule(engine, made.id, {"policy": Policy(overlap=Overlap.CANCEL_OTHER)}, "ann")
        told, ear = [], house.store.watch(["session:session-1"])
        for step in (house.fire(MINUTE), release(engine, house.term)):
            await step
            assert await ear.wait(0), "its worker hears of it at its next beat only"
            told.append(len([run for run in await house.all(Run) if run.cancel and run.state is State.RUNNING]))
        assert told == [CANCEL_LIMIT, CANCEL_LIMIT + 3]

    async def test_cancel_other_ends_what_waits_though_its_leader_did_not_get_so_far(self, house, engine):
        await house.schedule(policy=Policy(overlap=Overlap.CANCEL_OTHER))
        await house.session()
        await minutes(house, 1)
        await house.settle(await house.claim_one(), FAILURE)
        house.store.plan = at(len(house.store.calls) + 2, UNAVAILABLE)
        with pytest.raises(Unavailable):
            await house.fire(MINUTE)
        assert await states(house) == [State.RETRYING, State.BLOCKED]
        await release(engine, house.term)
        await release(engine, house.term)
        assert await states(house) == [State.CANCELLED, State.PENDING]

    async def test_cancel_other_frees_the_keys_of_what_it_ends(self, house, engine):
        await house.schedule("task-1", policy=Policy(overlap=Overlap.CANCEL_OTHER))
        await trigger(engine, Order("task-1", unique="u"), "ann", overlap=True)
        assert len(await house.all(Unique)) == 1
        await minutes(house, 1)
        assert await states(house) == [State.CANCELLED, State.PENDING]
        assert await house.all(Unique) == []

    async def test_cancel_other_copes_with_more_than_a_group_holds(self, house, engine):
        await house.schedule(trigger=Interval(SECOND), policy=Policy(overlap=Overlap.BUFFER_ALL))
        await house.session()
        for _ in range(40):
            await house.fire(SECOND)
        await house.claim_one()
        policy = Policy(overlap=Overlap.CANCEL_OTHER)
        await update_schedule(engine, "main/s", {"policy": policy, "trigger": Interval(SECOND)}, "ann")
        await house.fire(SECOND)
        assert await house.store.count(Run, "state") == {"running": 1, "cancelled": 39, "blocked": 1}

    async def test_allow_keeps_no_book(self, house):
        await house.schedule()
        await minutes(house, 3)
        assert await states(house) == [State.PENDING] * 3
        assert (await house.get(Schedule, "main/s")).open == ()

    @pytest.mark.parametrize("edit", ["by people", "by a deploy"])
    async def test_runs_fired_under_allow_count_once_it_is_forbidden(self, house, engine, edit):
        await house.schedule(owner=Owner.CODE, app="shop")
        await submit(engine, [Order("task-1")])
        await minutes(house, 2)
        policy = Policy(overlap=Overlap.SKIP)
        if edit == "by people":
            await update_schedule(engine, "main/s", {"policy": policy}, "ann")
        else:
            known = await house.get(Schedule, "main/s")
            await register(engine, "shop", [], [replace(known, policy=policy)])
        assert len((await house.get(Schedule, "main/s")).open) == 2
        await minutes(house, 1)
        assert await states(house) == [State.PENDING] * 3
        await house.session()
        for one in await house.claim():
            await house.settle(one)
        await minutes(house, 1)
        assert (await states(house))[3:] == [State.PENDING]

    async def test_released_are_all_when_the_schedule_is_gone(self, house, engine):
        await house.schedule(policy=Policy(overlap=Overlap.BUFFER_ALL))
        await minutes(house, 3)
        await delete_schedule(engine, "main/s", "ann")
        assert await release(engine, house.term) == 1
        assert await release(engine, house.term) == 1
        assert await states(house) == [State.PENDING] * 3

    async def test_a_blocked_run_that_is_cancelled_lets_the_next_one_pass(self, house, engine):
        await house.schedule(policy=Policy(overlap=Overlap.BUFFER_ALL))
        await house.session()
        await minutes(house, 3)
        first, second, third = await house.all(Run)
        await trigger(engine, Order("task-1"), "ann")
        one = next(item for item in await house.claim() if item.run.id == first.id)
        assert await cancel(engine, second.id, "ann") == "cancelled"
        assert await release(engine, house.term) == 0
        await house.settle(one)
        assert await release(engine, house.term) == 1
        assert (await house.run(third.id)).state is State.PENDING

    async def test_many_schedules_with_buffers_do_not_hide_each_other(self, house, engine):
        """More blocked runs than one page of a listing."""
        for number in range(2, 10):
            await house.task(number)
            policy = Policy(overlap=Overlap.BUFFER_ALL)
            await house.schedule(f"s{number}", f"task-{number}", trigger=Interval(SECOND), policy=policy)
        for _ in range(75):
            await house.fire(SECOND)
        assert (await house.store.count(Run, "state"))["blocked"] == 8 * 74
        await house.session()
        for one in await house.claim():
            await house.settle(one)
        assert await release(engine, house.term) == 8


async def test_a_plain_submit_does_not_count_as_an_open_run(house, engine):
    await house.schedule(policy=Policy(overlap=Overlap.SKIP))
    await submit(engine, [Order("task-1")])
    await house.fire(MINUTE)
    assert len(await house.all(Run)) == 2
