from dataclasses import replace

import pytest

from rota.domain.errors import Invalid, NotFound, Refused, Unavailable
from rota.domain.priority import Priority
from rota.domain.retry import Retry
from rota.domain.run import Run, State
from rota.domain.schedule import Overlap, Policy, Schedule, Skip, SkipReason
from rota.domain.task import Clocks, Isolation, Owner, Revision, Task
from rota.domain.triggers import Interval, Once
from rota.engine.define import (
    SCHEDULE_LIMIT,
    TRIES,
    check_schedule,
    check_task,
    create_schedule,
    create_task,
    delete_schedule,
    delete_task,
    pause_schedule,
    reset_schedule,
    reset_task,
    resume_schedule,
    schedules_of,
    update_schedule,
    update_task,
)
from rota.testing.clock import START_AT
from rota.testing.factories import make_task
from rota.testing.faults import LOST_REPLY, UNAVAILABLE, at
from tests.unit.engine.support import MINUTE

EVERY_MINUTE = Interval(MINUTE)


def plain(name="s", **changes):
    return replace(Schedule("main", name, "task-1", EVERY_MINUTE), **changes)


class TestTasks:
    async def test_come_with_their_schedules(self, house, engine):
        ear = house.store.watch(["schedules"])
        await create_task(engine, make_task(), [plain("a"), plain("b")], "ann")
        assert await ear.wait(0) == {"schedules": 1}
        task = await house.get(Task, "main/task-1")
        assert (task.revision, task.owner, task.created_at, task.updated_at) == (
            1,
            Owner.PEOPLE,
            START_AT,
            START_AT,
        )
        assert await house.get(Revision, "main/task-1@1") == Revision(task)
        assert {one.record.next_at for one in await schedules_of(engine, task)} == {START_AT + MINUTE}
        assert await house.deeds() == [("ann", "create", "task:main/task-1")]

    async def test_are_not_made_twice_and_then_nothing_is(self, house, engine):
        await create_task(engine, make_task(), [plain("a")], "ann")
        for task, schedule in ((make_task(), plain("b")), (make_task(2), plain("a", task="task-2"))):
            with pytest.raises(Refused, match="exists already"):
                await create_task(engine, task, [schedule], "bob")
        assert len(await house.all(Task)) == len(await house.all(Schedule)) == 1
        assert [deed[0] for deed in await house.deeds()] == ["ann"]

    async def test_have_a_bounded_number_of_schedules(self, engine):
        schedules = [plain(f"s{number}") for number in range(SCHEDULE_LIMIT + 1)]
        with pytest.raises(Invalid, match="21 schedules; a task has at most 20"):
            await create_task(engine, make_task(), schedules, "ann")
        await create_task(engine, make_task(), schedules[:-1], "ann")
        with pytest.raises(Refused, match="has 20 schedules"):
            await create_schedule(engine, schedules[-1], "ann")

    async def test_change_by_revisions(self, house, engine):
        await house.task()
        before = await house.submit()
        house.clock.advance(5)
        task = await update_task(engine, "main/task-1", {"queue": "mail", "priority": Priority.LOW}, "bob")
        assert (task.revision, task.updated_at, task.created_at) == (2, START_AT + 5, START_AT)
        assert (await house.get(Revision, "main/task-1@2")).task == task
        assert (await house.get(Revision, "main/task-1@1")).task.queue == "default"
        after = await house.submit()
        assert [(run.revision, run.queue) for run in (before, after)] == [(1, "default"), (2, "mail")]
        assert ("bob", "update", "task:main/task-1") in await house.deeds()

    async def test_changed_in_nothing_keep_their_revision(self, house, engine):
        await house.task()
        assert (await update_task(engine, "main/task-1", {"queue": "default"}, "bob")).revision == 1

    async def test_have_fields_that_cannot_be_changed(self, house, engine):
        await house.task()
        for field in ("revision", "owner", "name", "nonsense"):
            with pytest.raises(Invalid, match=f"{field}: not a field that can be changed; choose from executor,"):
                await update_task(engine, "main/task-1", {field: 1}, "bob")
        with pytest.raises(Invalid):
            await update_task(engine, "main/task-1", {"queue": "a b"}, "bob")
        with pytest.raises(NotFound, match="no task 'main/none'"):
            await update_task(engine, "main/none", {"queue": "a"}, "bob")
        assert (await house.get(Task, "main/task-1")).revision == 1

    async def test_go_with_their_schedules_and_their_runs_go_on(self, house, engine):
        await create_task(engine, make_task(), [plain("a"), plain("b")], "ann")
        await house.session()
        run = await house.submit()
        await delete_task(engine, "main/task-1", "bob")
        assert await house.all(Task) == await house.all(Schedule) == []
        with pytest.raises(NotFound):
            await house.submit()
        await house.settle(await house.claim_one())
        assert (await house.run(run.id)).state is State.SUCCESS
        assert ("bob", "delete", "task:main/task-1") in await house.deeds()

    async def test_of_code_may_have_more_schedules_than_a_group_holds_and_go_too(self, house, engine):
        await house.task()
        for number in range(SCHEDULE_LIMIT):
            await house.schedule(f"a{number}")
        await house.task(2)
        for number in range(SCHEDULE_LIMIT):
            await house.schedule(f"b{number}", "task-2")
            await update_schedule(engine, f"main/b{number}", {"task": "task-1"}, "ann")
        await delete_task(engine, "main/task-1", "ann")
        assert await house.all(Schedule) == []

    async def test_made_anew_do_not_reuse_a_revision(self, house, engine):
        await house.task(command="old")
        await update_task(engine, "main/task-1", {"command": "older"}, "ann")
        old = await house.submit()
        await delete_task(engine, "main/task-1", "ann")
        again = await house.task(command="new")
        assert again.revision == 3
        await house.session()
        assert (await house.claim_one()).task.command == "older"
        assert old.revision == 2

    async def test_are_seen_at_once_here_and_within_a_second_elsewhere(self, house, engine):
        await house.task()
        other = house.another()
        assert (await other.tasks(["main/task-1"]))["main/task-1"].queue == "default"
        await update_task(engine, "main/task-1", {"queue": "mail"}, "ann")
        assert (await house.submit()).queue == "mail"
        assert (await other.tasks(["main/task-1"]))["main/task-1"].queue == "default"
        house.clock.advance(1_001)
        assert (await other.tasks(["main/task-1"]))["main/task-1"].queue == "mail"

    async def test_lost_replies_make_no_second_change(self, house, engine):
        house.store.plan = at(len(house.store.calls) + 1, LOST_REPLY)
        await house.task()
        house.store.plan = at(len(house.store.calls) + 1, LOST_REPLY)
        assert (await update_task(engine, "main/task-1", {"queue": "mail"}, "ann")).revision == 2
        assert sorted(deed[1] for deed in await house.deeds()) == ["create", "update"]


class TestSchedules:
    async def test_come_accounted_for_from_now_on(self, house, engine):
        await house.task()
        house.clock.advance(5 * MINUTE + 7)
        schedule = await create_schedule(engine, plain(), "ann")
        assert (schedule.cursor_at, schedule.accounted_from) == (START_AT + 5 * MINUTE + 7,) * 2
        assert schedule.next_at == START_AT + 6 * MINUTE
        assert await house.get(Schedule, "main/s") == schedule
        assert ("ann", "create", "schedule:main/s") in await house.deeds()

    async def test_need_a_task_a_free_name_and_a_future(self, house, engine):
        with pytest.raises(NotFound, match="no task 'main/task-1'"):
            await create_schedule(engine, plain(), "ann")
        await house.task()
        await create_schedule(engine, plain(), "ann")
        with pytest.raises(Refused, match="exists already"):
            await create_schedule(engine, plain(), "bob")
        with pytest.raises(Invalid, match="never fire"):
            await create_schedule(engine, plain("past", trigger=Once(START_AT)), "ann")
        assert len(await house.all(Schedule)) == 1

    async def test_change_from_now_on(self, house, engine):
        await house.task()
        await house.schedule()
        house.clock.advance(2 * MINUTE + 5)
        after = await update_schedule(engine, "main/s", {"trigger": Interval(10_000)}, "bob")
        assert (after.revision, after.next_at) == (2, START_AT + 2 * MINUTE + 10_000)
        assert await house.all(Skip) == [
            Skip("main/s", 1, START_AT + MINUTE, START_AT + 2 * MINUTE, 2, SkipReason.EDITED)
        ]
        await house.fire(5_000)
        assert await house.all(Run) == []

    async def test_have_fields_that_cannot_be_changed(self, house, engine):
        await house.task()
        await house.schedule()
        with pytest.raises(Invalid, match="choose from task, trigger, payload, policy"):
            await update_schedule(engine, "main/s", {"next_at": 5}, "bob")
        with pytest.raises(NotFound, match="no task 'main/none'"):
            await update_schedule(engine, "main/s", {"task": "none"}, "bob")
        with pytest.raises(Invalid, match="never fire again"):
            await update_schedule(engine, "main/s", {"trigger": Once(5)}, "bob")
        assert (await house.get(Schedule, "main/s")).revision == 1

    async def test_paused_fire_nothing_and_resumed_nothing_of_the_past(self, house, engine):
        await house.task()
        await house.schedule()
        paused = await pause_schedule(engine, "main/s", "holidays", "ann")
        assert (paused.paused, paused.next_at) == ("holidays", None)
        assert await house.fire(10 * MINUTE) is None
        ear = house.store.watch(["schedules"])
        after = await resume_schedule(engine, "main/s", "ann")
        assert await ear.wait(0) == {"schedules": 1}
        assert after.next_at == START_AT + 11 * MINUTE
        (skip,) = await house.all(Skip)
        assert (skip.count, skip.reason) == (10, SkipReason.PAUSED)
        await house.fire()
        assert await house.all(Run) == []
        await house.fire(MINUTE)
        assert len(await house.all(Run)) == 1

    async def test_resumed_with_catch_up_go_by_their_policy(self, house, engine):
        await house.task()
        await house.schedule()
        await pause_schedule(engine, "main/s", "", "ann")
        house.clock.advance(10 * MINUTE + MINUTE // 2)
        await resume_schedule(engine, "main/s", "ann", catch_up=True)
        await house.fire()
        assert [run.nominal_at for run in await house.all(Run)] == [START_AT + 10 * MINUTE]

    async def test_resumed_without_a_pause_stay_as_they_are(self, house, engine):
        await house.task()
        before = await house.schedule()
        house.clock.advance(MINUTE // 2)
        assert await resume_schedule(engine, "main/s", "ann") == before

    async def test_go_and_their_runs_go_on(self, house, engine):
        await house.task()
        await house.schedule(policy=Policy(overlap=Overlap.BUFFER_ALL))
        await house.fire(MINUTE)
        await delete_schedule(engine, "main/s", "ann")
        await house.fire(MINUTE)
        assert len(await house.all(Run)) == 1
        with pytest.raises(NotFound, match="no schedule 'main/s'"):
            await delete_schedule(engine, "main/s", "ann")
        assert ("ann", "delete", "schedule:main/s") in await house.deeds()

    @pytest.mark.parametrize("deed", ["update", "pause", "resume", "delete"])
    async def test_a_fire_in_between_is_not_undone(self, house, engine, deed):
        """I12: what was fired before the answer stays fired, and nothing is fired after it."""
        await house.task()
        await house.schedule()
        original = house.store.commit

        async def commit(groups, guard=None, hints=()):
            house.store.commit = original
            await house.fire(MINUTE)
            return await original(groups, guard, hints)

        house.store.commit = commit
        deeds = {
            "update": lambda: update_schedule(engine, "main/s", {"payload": b"2"}, "ann"),
            "pause": lambda: pause_schedule(engine, "main/s", "why", "ann"),
            "resume": lambda: resume_schedule(engine, "main/s", "ann"),
            "delete": lambda: delete_schedule(engine, "main/s", "ann"),
        }
        await deeds[deed]()
        after = await house.get(Schedule, "main/s")
        assert after is None or after.fired == 1
        await house.fire(MINUTE)
        assert len(await house.all(Run)) == (1 if deed in ("pause", "delete") else 2)

    async def test_that_change_all_the_time_are_given_up(self, house, engine):
        await house.task()
        await house.schedule()
        original, calls = house.store.commit, []

        async def commit(groups, guard=None, hints=()):
            house.store.commit = original
            calls.append(1)
            await house.fire(MINUTE)
            await update_task(engine, "main/task-1", {"queue": f"q{len(calls)}"}, "eve")
            house.store.commit = commit
            return await original(groups, guard, hints)

        deeds = [
            lambda: pause_schedule(engine, "main/s", "", "ann"),
            lambda: delete_schedule(engine, "main/s", "ann"),
            lambda: update_task(engine, "main/task-1", {"queue": "mine"}, "ann"),
            lambda: delete_task(engine, "main/task-1", "ann"),
        ]
        for number, deed in enumerate(deeds, 1):
            house.store.commit = commit
            with pytest.raises(Refused, match="changes too quickly"):
                await deed()
            assert len(calls) == number * TRIES


async def test_overrides_of_code_are_dropped_by_a_reset(house, engine):
    code = make_task(owner=Owner.CODE, app="shop", version="1")
    await create_task(engine, code, [plain(owner=Owner.CODE, app="shop", version="1")], "ann")
    await update_task(engine, "main/task-1", {"queue": "mail"}, "bob")
    await update_schedule(engine, "main/s", {"trigger": Interval(5_000)}, "bob")
    assert (await house.get(Task, "main/task-1")).overrides == {"queue": "default"}
    assert (await house.get(Schedule, "main/s")).overrides == {"trigger": EVERY_MINUTE}
    again = await update_schedule(engine, "main/s", {"trigger": Interval(7_000)}, "bob")
    assert again.overrides == {"trigger": EVERY_MINUTE}
    assert (await reset_task(engine, "main/task-1", "bob")).queue == "default"
    after = await reset_schedule(engine, "main/s", "bob")
    assert (after.trigger, after.overrides, after.revision) == (EVERY_MINUTE, {}, 4)
    assert {("bob", "reset", "task:main/task-1"), ("bob", "reset", "schedule:main/s")} <= set(await house.deeds())


async def test_a_reset_of_nothing_skips_nothing(house, engine):
    await house.task()
    await house.schedule()
    house.clock.advance(MINUTE)
    assert (await reset_schedule(engine, "main/s", "bob")).skipped == 0
    await house.fire()
    assert (await house.get(Schedule, "main/s")).fired == 1


async def test_a_reset_goes_back_to_code_that_has_outlived_its_instants(house, engine):
    await house.task()
    await house.schedule(owner=Owner.CODE, app="shop", trigger=Once(START_AT + MINUTE))
    await update_schedule(engine, "main/s", {"trigger": Interval(5_000)}, "bob")
    house.clock.advance(2 * MINUTE)
    after = await reset_schedule(engine, "main/s", "bob")
    assert (after.trigger, after.next_at) == (Once(START_AT + MINUTE), None)


async def test_a_failing_change_leaves_no_trace(house, engine):
    await house.task()
    before = await house.schedule()
    deeds = await house.deeds()
    for deed in (
        lambda: create_task(engine, make_task(2), [plain("b", task="task-2")], "ann"),
        lambda: update_task(engine, "main/task-1", {"queue": "mail"}, "ann"),
        lambda: delete_task(engine, "main/task-1", "ann"),
        lambda: pause_schedule(engine, "main/s", "", "ann"),
        lambda: delete_schedule(engine, "main/s", "ann"),
        lambda: create_schedule(engine, plain("c"), "ann"),
    ):
        house.store.plan = at(len(house.store.calls) + 1, UNAVAILABLE)
        with pytest.raises(Unavailable):
            await deed()
    assert await house.deeds() == deeds
    assert await house.all(Schedule) == [before]
    assert len(await house.all(Revision)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "a b"},
        {"namespace": "a/b"},
        {"executor": ""},
        {"queue": "-"},
        {"requires": ("a,b",)},
        {"command": "a\0"},
        {"command": "x" * 32_001},
        {"description": "x" * 4_001},
        {"payload": b"x" * 262_145},
        {"payload": b"{"},
        {"payload": b'{"a": 1, "a": 2}'},
        {"executor": "shell", "command": ""},
        {"executor": "shell", "isolation": Isolation.PROCESS},
        {"retry": Retry(retries=-1)},
        {"retry": Retry(retries=1_001)},
        {"retry": Retry(delay_ms=-1)},
        {"retry": Retry(cap_ms=-1)},
        {"retry": Retry(rate=0)},
        {"retry": Retry(rate=float("inf"))},
        {"retry": Retry(rate=float("nan"))},
        {"retry": Retry(jitter=1.1)},
        {"clocks": Clocks(attempt_ms=0)},
        {"clocks": Clocks(queue_ms=-1)},
        {"clocks": Clocks(total_ms=0)},
        {"clocks": Clocks(silence_ms=0)},
    ],
)
async def test_a_task_that_makes_no_sense_is_refused(engine, changes):
    with pytest.raises(Invalid):
        await create_task(engine, make_task(**changes), [], "ann")
    assert check_task(make_task()) == make_task()


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "a b"},
        {"namespace": ""},
        {"task": "a/b"},
        {"payload": b"x" * 262_145},
        {"payload": b"nothing"},
        {"policy": Policy(window_ms=-1)},
        {"policy": Policy(max_runs=0)},
        {"policy": Policy(misfire_ms=-1)},
        {"policy": Policy(start_deadline_ms=0)},
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(changes):
    with pytest.raises(Invalid):
        check_schedule(plain(**changes))
    assert check_schedule(plain()) == plain()
