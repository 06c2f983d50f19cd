"""What an app's code says of its tasks and schedules, over deploys, roll-backs and edits by people."""

from dataclasses import replace

import pytest

from rota.domain.errors import Invalid, Refused
from rota.domain.facts import Trouble
from rota.domain.run import Run
from rota.domain.schedule import Policy, Schedule, Skip, SkipReason
from rota.domain.task import Owner, Revision, Task
from rota.domain.triggers import Interval, Once
from rota.engine.define import (
    SCHEDULE_LIMIT,
    TRIES,
    delete_schedule,
    delete_task,
    pause_schedule,
    register,
    resume_schedule,
    update_schedule,
    update_task,
)
from rota.testing.clock import START_AT
from rota.testing.factories import make_task
from rota.testing.faults import LOST_REPLY, at
from tests.unit.engine.support import MINUTE


def code(version="1", number=1, **changes):
    return make_task(number, owner=Owner.CODE, app="shop", version=version, **changes)


def timed(version="1", name="s", task="task-1", every=MINUTE, **changes):
    plain = Schedule("main", name, task, Interval(every), owner=Owner.CODE, app="shop", version=version)
    return replace(plain, **changes)


async def deploy(engine, version="1", schedules=None, **changes):
    await register(
        engine, "shop", [code(version, **changes)], [timed(version)] if schedules is None else schedules, whole=True
    )


async def test_a_first_deploy_makes_everything_known(house, engine):
    await deploy(engine)
    task, schedule = await house.get(Task, "main/task-1"), await house.get(Schedule, "main/s")
    assert (task.owner, task.app, task.version, task.revision) == (Owner.CODE, "shop", "1", 1)
    assert (schedule.next_at, schedule.cursor_at) == (START_AT + MINUTE, START_AT)
    assert set(await house.deeds()) == {
        ("app:shop", "register", "task:main/task-1"),
        ("app:shop", "register", "schedule:main/s"),
    }
    assert (await house.submit()).revision == 1


async def test_the_same_again_writes_nothing(house, engine):
    await deploy(engine)
    deeds = await house.deeds()
    house.clock.advance(5)
    await deploy(engine)
    await deploy(house.another())
    assert await house.deeds() == deeds


async def test_a_newer_version_revises_what_differs_and_the_older_never_comes_back(house, engine):
    await deploy(engine, "1.9")
    house.clock.advance(MINUTE // 2)
    await deploy(engine, "1.10", [timed("1.10", every=5_000)], command="new")
    await deploy(house.another(), "1.9", command="report")
    task, schedule = await house.get(Task, "main/task-1"), await house.get(Schedule, "main/s")
    assert (task.command, task.version, task.revision) == ("new", "1.10", 2)
    assert (schedule.trigger, schedule.version, schedule.revision) == (Interval(5_000), "1.10", 2)
    assert (await house.get(Revision, "main/task-1@2")).task.command == "new"


async def test_overrides_survive_a_deploy_and_learn_the_codes_value(house, engine):
    await deploy(engine)
    await update_task(engine, "main/task-1", {"queue": "mail"}, "ann")
    await update_schedule(engine, "main/s", {"trigger": Interval(5_000)}, "ann")
    await deploy(engine, "2", [timed("2", every=9_000, payload=b"2")], queue="slow", command="new")
    task, schedule = await house.get(Task, "main/task-1"), await house.get(Schedule, "main/s")
    assert (task.queue, task.command, task.overrides) == ("mail", "new", {"queue": "slow"})
    assert (schedule.trigger, schedule.payload) == (Interval(5_000), b"2")
    assert schedule.overrides == {"trigger": Interval(9_000)}


async def test_a_schedule_gone_from_the_code_rests_until_it_comes_back(house, engine):
    await deploy(engine)
    house.clock.advance(MINUTE // 2)
    await deploy(engine, "2", [])
    gone = await house.get(Schedule, "main/s")
    assert (gone.paused, gone.next_at) == ("gone from the code of shop 2", None)
    assert ("app:shop", "pause", "schedule:main/s") in await house.deeds()
    house.clock.advance(3 * MINUTE)
    await deploy(engine, "3")
    back = await house.get(Schedule, "main/s")
    assert (back.paused, back.next_at, back.version) == ("", START_AT + 4 * MINUTE, "3")
    assert [(skip.count, skip.reason) for skip in await house.all(Skip)] == [(3, SkipReason.PAUSED)]
    await house.fire(MINUTE // 2)
    assert [run.nominal_at for run in await house.all(Run)] == [START_AT + 4 * MINUTE]


async def test_a_schedule_that_comes_back_otherwise_is_not_fired_for_the_past(house, engine):
    await deploy(engine)
    await deploy(engine, "2", [])
    house.clock.advance(3 * MINUTE + 1)
    await deploy(engine, "3", [timed("3", every=7_000)])
    back = await house.get(Schedule, "main/s")
    assert (back.paused, back.revision, back.cursor_at) == ("", 2, START_AT + 3 * MINUTE + 1)
    assert (back.next_at or 0) > back.cursor_at
    assert [(skip.count, skip.reason) for skip in await house.all(Skip)] == [(3, SkipReason.PAUSED)]


async def test_an_older_version_pauses_nothing_that_a_newer_one_brought(house, engine):
    await deploy(engine, "2")
    await deploy(house.another(), "1", [])
    assert (await house.get(Schedule, "main/s")).paused == ""


async def test_an_unversioned_app_without_schedules_or_anything_pauses_its_own(house, engine):
    await register(engine, "shop", [code("")], [timed("")])
    await register(engine, "shop", [], [])
    assert not (await house.get(Schedule, "main/s")).paused, "a program that only submits may know a part"
    await register(engine, "shop", [], [], whole=True)
    assert (await house.get(Schedule, "main/s")).paused == "gone from the code of shop"


async def test_what_is_gone_in_one_namespace_goes_on_in_another(house, engine):
    elsewhere = replace(timed(), namespace="other")
    await register(engine, "shop", [code(), replace(code(), namespace="other")], [timed(), elsewhere], whole=True)
    await deploy(engine, "2", [])
    assert (await house.get(Schedule, "main/s")).paused
    assert not (await house.get(Schedule, "other/s")).paused


async def test_a_pause_by_people_is_theirs_to_end(house, engine):
    await deploy(engine)
    await pause_schedule(engine, "main/s", "audit", "ann")
    await deploy(engine, "2", [])
    await deploy(engine, "3", [timed("3", every=5_000)])
    schedule = await house.get(Schedule, "main/s")
    assert (schedule.paused, schedule.next_at, schedule.trigger) == ("audit", None, Interval(5_000))
    await resume_schedule(engine, "main/s", "ann")
    assert (await house.get(Schedule, "main/s")).next_at is not None


async def test_what_people_own_or_another_app_is_left_alone(house, engine):
    await deploy(engine, schedules=[])
    mine = await house.schedule(policy=Policy(max_runs=3))
    theirs = timed("7", "theirs", app="other")
    await register(engine, "other", [], [theirs])
    await deploy(engine, "1", [timed("1", every=5_000)])
    await deploy(engine, "2", [])
    assert await house.get(Schedule, "main/s") == mine
    assert (await house.get(Schedule, "main/theirs")).paused == ""


async def test_a_deleted_task_comes_back_with_a_higher_revision(house, engine):
    await deploy(engine)
    await update_task(engine, "main/task-1", {"queue": "mail"}, "ann")
    await delete_task(engine, "main/task-1", "ann")
    await deploy(engine, "1")
    task = await house.get(Task, "main/task-1")
    assert (task.revision, task.queue, task.overrides) == (3, "default", {})
    assert (await house.get(Schedule, "main/s")).paused == ""
    await delete_schedule(engine, "main/s", "ann")


async def test_two_nodes_that_start_at_once_agree(house, engine):
    original = house.store.commit

    async def commit(groups, guard=None, hints=()):
        house.store.commit = original
        await deploy(house.another(), "2", command="newer")
        return await original(groups, guard, hints)

    house.store.commit = commit
    await deploy(engine, "1")
    task = await house.get(Task, "main/task-1")
    assert (task.version, task.command, task.revision) == ("2", "newer", 1)


async def test_definitions_that_change_all_the_time_are_given_up(house, engine):
    original, calls = house.store.commit, []
    await deploy(engine)

    async def commit(groups, guard=None, hints=()):
        house.store.commit = original
        calls.append(1)
        await update_task(engine, "main/task-1", {"description": f"{len(calls)}"}, "eve")
        house.store.commit = commit
        return await original(groups, guard, hints)

    house.store.commit = commit
    with pytest.raises(Refused, match="the definitions of shop change too quickly"):
        await deploy(engine, "2", command="new")
    assert len(calls) == TRIES


async def test_a_lost_reply_makes_no_second_revision(house, engine):
    await deploy(engine)
    house.store.plan = at(len(house.store.calls) + 1, LOST_REPLY)
    await deploy(engine, "2", command="new")
    assert (await house.get(Task, "main/task-1")).revision == 2
    assert len(await house.all(Revision)) == 2


async def test_hundreds_of_tasks_and_schedules_are_known_in_one_go(house, engine):
    tasks = [code(number=number) for number in range(700)]
    schedules = [timed(name=f"s{number}", task=f"task-{number}") for number in range(700)]
    await register(engine, "shop", tasks, schedules)
    assert len(await house.all(Task)) == len(await house.all(Schedule)) == 700
    tasks = [code("2", number=number) for number in range(700)]
    await register(engine, "shop", tasks, [], whole=True)
    assert all(schedule.paused for schedule in await house.all(Schedule))


async def test_code_may_outlive_the_instants_of_its_schedules(house, engine):
    """An app must start after its single occurrence too, whatever else its code changes."""
    once = timed(trigger=Once(START_AT + MINUTE))
    await deploy(engine, schedules=[once])
    await house.fire(2 * MINUTE)
    await deploy(engine, "2", [replace(once, version="2", payload=b"2")])
    await register(engine, "shop", [], [replace(once, name="late")])
    assert {(one.name, one.next_at) for one in await house.all(Schedule)} == {("s", None), ("late", None)}
    await house.fire(MINUTE)
    assert len(await house.all(Run)) == 1


async def test_a_task_has_a_bounded_number_of_schedules_in_code_too(house, engine):
    schedules = [timed(name=f"s{number}") for number in range(SCHEDULE_LIMIT + 1)]
    with pytest.raises(Invalid, match="task task-1 has 21 schedules"):
        await deploy(engine, schedules=schedules)
    assert await house.all(Task) == []


async def test_an_older_version_is_told_that_it_changes_nothing(house, engine):
    await deploy(engine, "1.10")
    await register(engine, "shop", [code("1.10")], [])
    assert house.facts.of(Trouble) == []
    await register(house.another(), "shop", [code("1.9", command="older")], [])
    await deploy(engine, "1.9", command="older")
    (told,) = house.facts.of(Trouble)
    said = "this is version 1.9, the store knows 1.10 of app shop; what is older changes nothing there"
    assert str(told.error) == said
