"""The hands of all verbs: ids, memory, resending; and that nothing needs a listener."""

import pytest

from rota.domain.errors import NotFound, Unclear
from rota.domain.records import Queue
from rota.domain.run import Run, State
from rota.domain.schedule import Schedule
from rota.domain.task import Revision, Task
from rota.domain.triggers import Interval
from rota.engine import engine as module
from rota.engine.admit import ripen
from rota.engine.claim import claim
from rota.engine.control import cancel, order_queue
from rota.engine.define import create_task, update_schedule
from rota.engine.engine import BATCH, Engine, every, read
from rota.engine.fire import fire
from rota.engine.sessions import enter, leave
from rota.engine.settle import settle
from rota.engine.submit import Order, submit
from rota.ports.desk import Settlement
from rota.ports.store import APPLIED, Already, Change, Group, Hint, Want
from rota.testing.clock import START_AT, SeededChance
from rota.testing.factories import make_run, make_session, make_task
from rota.testing.faults import LOST_REPLY, NO_FAULT, UNAVAILABLE, at
from tests.unit.engine.support import FAILURE, MINUTE, SUCCESS


def test_ids_are_fresh_and_those_of_one_call_sort_in_their_order(engine):
    ids = engine.new_ids(START_AT, 1_000)
    assert ids == sorted(set(ids))
    assert not set(ids) & set(engine.new_ids(START_AT, 1_000))
    assert engine.new_id(START_AT) != engine.new_id(START_AT)


class TestCommit:
    async def test_resends_once_what_got_no_answer(self, house, engine):
        house.store.plan = at(len(house.store.calls) + 1, LOST_REPLY)
        assert await engine.commit_one(Group((Change(None, make_run(1)),))) == Already()
        house.store.plan = lambda _: LOST_REPLY
        with pytest.raises(Unclear):
            await engine.commit_one(Group((Change(None, make_run(2)),)))

    async def test_what_others_built_on_before_it_was_resent_has_happened(self, house, monkeypatch):
        await house.task()
        committed = house.store.commit

        async def commit(*given):
            monkeypatch.setattr(house.store, "commit", committed)
            await committed(*given)
            await house.fire(MINUTE)
            raise Unclear("no answer")

        monkeypatch.setattr(house.store, "commit", commit)
        made = await house.schedule()
        assert (await house.get(Schedule, made.id)).fired == 1
        assert (await house.deeds()).count(("ann", "create", "schedule:main/s")) == 1
        monkeypatch.setattr(house.store, "commit", commit)
        await update_schedule(house.engine, made.id, {"trigger": Interval(2 * MINUTE)}, "ann")
        assert (await house.deeds()).count(("ann", "update", "schedule:main/s")) == 1

    async def test_does_not_say_that_nothing_happened_where_only_the_second_try_did_nothing(self, house, engine):
        faults = [UNAVAILABLE, LOST_REPLY]
        house.store.plan = lambda _: faults.pop()
        with pytest.raises(Unclear):
            await engine.commit_one(Group((Change(None, make_run(1)),)))
        assert await house.run(make_run(1).id) is not None

    async def test_does_not_say_that_nothing_happened_where_only_the_last_part_did_not(self, house, engine):
        house.store.plan = at(len(house.store.calls) + 2, UNAVAILABLE)
        with pytest.raises(Unclear, match=f"{BATCH} of {BATCH + 1} "):
            await engine.commit([Group((Change(None, make_run(number)),)) for number in range(BATCH + 1)])
        assert len(await every(engine, Run)) == BATCH

    async def test_goes_in_parts_and_hints_follow_the_last(self, house, engine):
        groups = [Group((Change(None, make_run(number)),)) for number in range(2 * BATCH + 1)]
        before = len(house.store.calls)
        ear = house.store.watch(["news"])
        assert await engine.commit(groups, None, [Hint("news", 5)]) == [APPLIED] * (2 * BATCH + 1)
        assert len(house.store.calls) == before + 3
        assert await ear.wait(0) == {"news": 5}
        assert await engine.commit([]) == []

    async def test_a_lost_part_among_others_is_resent_alone(self, house, engine):
        house.store.plan = at(len(house.store.calls) + 2, LOST_REPLY)
        groups = [Group((Change(None, make_run(number)),)) for number in range(2 * BATCH + 1)]
        results = await engine.commit(groups)
        assert [type(result) for result in results].count(Already) == BATCH
        house.store.plan = lambda _: NO_FAULT
        assert len(await every(engine, Run)) == 2 * BATCH + 1


class TestMemory:
    async def test_is_emptied_when_it_is_full(self, house, engine, monkeypatch):
        monkeypatch.setattr(module, "REMEMBERED", 3)
        for number in range(8):
            await house.task(number)
            run = await house.submit(f"task-{number}")
            assert (await engine.revisions([(f"main/task-{number}", run.revision)])).popitem()[1].name == run.task
        assert (await engine.tasks(["main/task-0"]))["main/task-0"].name == "task-0"

    async def test_may_be_emptied_while_somebody_reads(self, house, engine):
        """What a caller found there stays found."""
        await house.task()
        await house.task(2)
        await engine.tasks(["main/task-1"])
        await engine.revisions([("main/task-1", 1)])
        original = house.store.get

        async def get(kind, ids):
            engine.forget("main/task-1")
            engine._revisions.clear()
            return await original(kind, ids)

        house.store.get = get
        assert len(await engine.tasks(["main/task-1", "main/task-2"])) == 2
        assert len(await engine.revisions([("main/task-1", 1), ("main/task-2", 1)])) == 2
        await engine.revisions([("main/task-1", 1)])
        assert len(await engine.revisions([("main/task-1", 1), ("main/task-2", 1)])) == 2

    async def test_a_revision_that_is_nowhere_is_left_out(self, engine):
        assert await engine.revisions([("main/none", 7)]) == {}

    async def test_revisions_are_read_once(self, house, engine):
        await house.task()
        key = ("main/task-1", 1)
        await engine.revisions([key])
        house.store.down = True
        assert (await engine.revisions([key, key]))[key].name == "task-1"

    async def test_tasks_that_are_missing_are_remembered_until_they_come(self, house, engine):
        assert await engine.existing(["main/task-1"]) == {}
        await house.task()
        assert list(await engine.existing(["main/task-1", "main/none"])) == ["main/task-1"]

    async def test_queues_without_a_record_have_defaults(self, engine):
        assert await engine.queues(["main/a"]) == {"main/a": Queue("main", "a")}
        await order_queue(engine, "main", "a", True, "ann")
        assert (await engine.queues(["main/a"]))["main/a"].strict


async def test_reading_what_is_not_there_says_where_to_look(engine):
    with pytest.raises(NotFound, match="no task 'main/none'; see `rota tasks list`"):
        await read(engine, Task, "main/none", "task")


async def test_listings_are_read_to_their_end(house, engine):
    for number in range(3):
        await house.task(number)
    assert [one.record.task.name for one in await every(engine, Revision, oldest=True)] == [
        "task-0",
        "task-1",
        "task-2",
    ]


async def test_nothing_needs_a_listener(house):
    engine = Engine(house.store, house.clock, SeededChance(9))
    await create_task(engine, make_task(), [], "ann")
    await house.schedule()
    await enter(engine, make_session(1))
    runs = await submit(engine, [Order("task-1"), Order("task-1"), Order("task-1", due_at=START_AT + 5)])
    (taken,) = await claim(engine, [Want("session-1", "worker-1", 1, 2, make_session(1).lanes)])
    one, other = taken.assignments
    ends = [Settlement(one.run.fence, SUCCESS, one.held), Settlement(other.run.fence, FAILURE, other.held)]
    await settle(engine, ends)
    house.clock.advance(MINUTE)
    await ripen(engine, house.term)
    await fire(engine, house.term)
    await cancel(engine, runs[2].id, "ann")
    await leave(engine, "session-1", "bye")
    states = {run.state for run in await house.all(Run)}
    assert states == {State.SUCCESS, State.CANCELLED, State.PENDING}
