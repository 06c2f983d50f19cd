import pytest

from rota.domain.errors import Stale, Unavailable, Unclear
from rota.domain.facts import SchedulesFired
from rota.domain.ids import occurrence_id
from rota.domain.priority import Priority, rank
from rota.domain.records import VALUE_LIMIT, Blob
from rota.domain.run import Cause, Run, State
from rota.domain.schedule import CatchUp, Overlap, Policy, Schedule
from rota.domain.triggers import Once
from rota.engine.control import order_queue, pause_queue
from rota.engine.define import delete_schedule, delete_task, pause_schedule, resume_schedule
from rota.engine.fire import CANCEL_LIMIT, LIMIT, fire
from rota.engine.query import run_detail
from rota.ports.store import GROUP_LIMIT, Hint
from rota.testing.clock import START_AT
from rota.testing.faults import LOST_REPLY, UNAVAILABLE, at
from tests.unit.engine.support import MINUTE, opened

SECOND = 1_000


@pytest.fixture(autouse=True)
async def task(house):
    return await house.task(payload=b"1")


async def states(house):
    return [run.state for run in await house.all(Run)]


async def interfered(house, deed):
    """The house's store does `deed` between what `fire` reads and what it writes."""
    original = house.store.commit

    async def commit(groups, guard=None, hints=()):
        house.store.commit = original
        await deed()
        return await original(groups, guard, hints)

    house.store.commit = commit


class TestAnOccurrence:
    async def test_becomes_the_run_whose_id_is_known_beforehand(self, house):
        schedule = await house.schedule(payload=b"[7]", policy=Policy(start_deadline_ms=9_000))
        assert await house.fire(MINUTE + 3) == START_AT + 2 * MINUTE
        (run,) = await house.all(Run)
        assert run.id == occurrence_id("main/s", START_AT + MINUTE)
        assert (run.state, run.cause, run.schedule, run.nominal_at) == (
            State.PENDING,
            Cause.SCHEDULE,
            "s",
            START_AT + MINUTE,
        )
        assert (run.payload, run.created_at, run.start_by) == (
            b"[7]",
            START_AT + MINUTE + 3,
            START_AT + MINUTE + 9_000,
        )
        assert run.due_at == run.start_by
        after = await house.get(Schedule, "main/s")
        assert (after.fired, after.next_at, after.cursor_at, after.open) == (
            1,
            START_AT + 2 * MINUTE,
            START_AT + MINUTE + 3,
            (run.id,),
        )
        assert after.revision == schedule.revision
        (fact,) = house.facts.of(SchedulesFired)
        assert fact.schedules == [after]

    async def test_is_not_fired_before_its_time(self, house):
        await house.schedule()
        assert await house.fire(MINUTE - 1) == START_AT + MINUTE
        assert await house.all(Run) == []

    async def test_without_arguments_takes_the_tasks(self, house):
        await house.schedule()
        await house.fire(MINUTE)
        assert (await house.all(Run))[0].payload == b"1"

    async def test_in_a_strict_queue_gets_an_endless_head_start(self, house, engine):
        await house.schedule()
        await order_queue(engine, "main", "default", True, "ann")
        await house.fire(MINUTE)
        (run,) = await house.all(Run)
        assert run.rank == rank(START_AT + MINUTE, Priority.NORMAL, strict=True)

    async def test_of_a_paused_queue_is_fired_and_waits(self, house, engine):
        await house.schedule()
        await pause_queue(engine, "main", "default", "why", "ann")
        await house.fire(MINUTE)
        assert await states(house) == [State.PENDING]

    async def test_wakes_the_lane_and_what_looks_at_deadlines(self, house):
        await house.schedule(policy=Policy(start_deadline_ms=9_000))
        ear = house.store.watch(["lane:main/default/python/", "due"])
        await house.fire(MINUTE)
        assert set(await ear.wait(0)) == {Hint("lane:main/default/python/").topic, "due"}

    async def test_is_the_last_of_an_exhausted_schedule(self, house):
        await house.schedule(trigger=Once(START_AT + MINUTE))
        assert await house.fire(MINUTE) is None
        assert (await house.get(Schedule, "main/s")).next_at is None
        assert await house.fire(MINUTE) is None
        assert len(await house.all(Run)) == 1


class TestAtomicity:
    async def test_run_and_schedule_move_together_or_not_at_all(self, house):
        before = await house.schedule()
        house.store.plan = at(len(house.store.calls) + 1, UNAVAILABLE)
        with pytest.raises(Unavailable):
            await house.fire(MINUTE)
        assert await house.all(Run) == []
        assert await house.get(Schedule, "main/s") == before
        await house.fire()
        assert len(await house.all(Run)) == 1

    @pytest.mark.parametrize("lost", [1, 2])
    async def test_lost_replies_double_nothing(self, house, lost):
        await house.schedule()
        first = len(house.store.calls) + 1
        house.store.plan = lambda call: LOST_REPLY if first <= call.number < first + lost else at(0, LOST_REPLY)(call)
        if lost == 1:
            assert await house.fire(MINUTE) == START_AT + 2 * MINUTE
        else:
            with pytest.raises(Unclear):
                await house.fire(MINUTE)
        assert await house.fire() == START_AT + 2 * MINUTE
        assert len(await house.all(Run)) == 1
        assert (await house.get(Schedule, "main/s")).fired == 1

    async def test_a_leader_of_the_past_writes_nothing(self, house, engine):
        before = await house.schedule()
        old = house.term
        await house.lead()
        house.clock.advance(MINUTE)
        with pytest.raises(Stale):
            await fire(engine, old)
        assert await house.all(Run) == []
        assert await house.get(Schedule, "main/s") == before

    async def test_an_edit_in_between_wins_and_the_next_look_sees_it(self, house, engine):
        await house.schedule()

        async def pause():
            await pause_schedule(engine, "main/s", "why", "ann")

        await interfered(house, pause)
        assert await house.fire(MINUTE) == 0
        assert await house.all(Run) == []
        assert house.facts.of(SchedulesFired) == []
        assert await house.fire() is None

    async def test_other_schedules_are_not_held_up_by_it(self, house, engine):
        await house.schedule("a")
        await house.schedule("b")

        async def pause():
            await pause_schedule(engine, "main/a", "why", "ann")

        await interfered(house, pause)
        assert await house.fire(MINUTE) == 0
        assert [run.schedule for run in await house.all(Run)] == ["b"]

    async def test_an_occurrence_that_has_its_run_already_does_not_hold_up_the_next_ones(self, house, engine):
        """A schedule made anew on a machine whose clock is behind, or a clock set back."""
        await house.schedule()
        await house.fire(MINUTE)
        await delete_schedule(engine, "main/s", "ann")
        house.clock.jump(-2 * SECOND)
        await house.schedule()
        house.clock.jump(2 * SECOND)
        await house.fire()
        assert len(await house.all(Run)) == 1
        assert await house.fire() == START_AT + 2 * MINUTE
        await house.fire(MINUTE)
        assert len(await house.all(Run)) == 2


class TestOrphans:
    async def test_are_paused_with_the_reason_and_do_not_hold_up_others(self, house, engine):
        await house.task(2)
        await house.schedule("b", "task-1")

        async def vanish():
            await delete_task(engine, "main/task-2", "ann")

        await interfered(house, vanish)
        await house.schedule("a", "task-2")
        assert await house.fire(MINUTE) == START_AT + 2 * MINUTE
        orphan = await house.get(Schedule, "main/a")
        assert (orphan.paused, orphan.next_at) == ("its task task-2 does not exist", None)
        assert [run.schedule for run in await house.all(Run)] == ["b"]
        await house.task(2)
        await resume_schedule(engine, "main/a", "ann")
        await house.fire(MINUTE)
        assert {run.schedule for run in await house.all(Run)} == {"a", "b"}


class TestGroups:
    @pytest.mark.parametrize(
        ("size", "each"), [(10, 20), (4_096, 20), (4_097, 10), (50_000, 9), (200_000, 1), (VALUE_LIMIT, 1)]
    )
    async def test_hold_as_many_runs_as_fit_with_their_payload(self, house, engine, size, each):
        await house.schedule(policy=Policy(CatchUp.ALL, overlap=Overlap.ALLOW), payload=b"9".rjust(size))
        sizes: list[int] = []
        original = house.store.commit

        async def commit(groups, guard=None, hints=()):
            sizes.extend(len(group.changes) for group in groups)
            return await original(groups, guard, hints)

        house.store.commit = commit
        house.clock.advance(25 * MINUTE)
        while await fire(engine, house.term) <= house.clock.now():
            pass
        runs = await house.all(Run)
        assert len(runs) == 25
        assert max(sizes) <= GROUP_LIMIT
        assert max(sizes) == 1 + each * (2 if size > 4_096 else 1)
        assert len(await house.all(Blob)) == (25 if size > 4_096 else 0)
        assert len((await run_detail(engine, runs[-1].id)).payload) == size

    async def test_more_schedules_than_one_look_takes_are_fired_by_the_next(self, house, engine):
        # One task has a bounded number of schedules: each gets its own.
        for number in range(2, LIMIT // 20 + 4):
            await house.task(number)
        for number in range(LIMIT + 1):
            await house.schedule(f"s{number}", f"task-{number // 20 + 2}")
        assert await house.fire(MINUTE) == 0
        assert await fire(engine, house.term) == START_AT + 2 * MINUTE
        assert len(await house.all(Run)) == LIMIT + 1


async def test_nothing_due_is_nothing_done(house, engine):
    assert await fire(engine, house.term) is None


async def test_two_leaders_in_turn_fire_each_occurrence_once():
    async with opened() as house:
        await house.task()
        await house.schedule()
        for _ in range(10):
            old = house.term
            await house.lead()
            house.clock.advance(MINUTE)
            with pytest.raises(Stale):
                await fire(house.another(), old)
            await fire(house.another(), house.term)
        runs = await house.all(Run)
        assert [run.nominal_at for run in runs] == [START_AT + number * MINUTE for number in range(1, 11)]


def test_the_most_that_a_group_of_fire_can_hold_fits():
    # The schedule, one new run with its payload, three ranges of skips, and those cancelled.
    assert 1 + 2 + 3 + CANCEL_LIMIT <= GROUP_LIMIT
    # The schedule, the most runs of one look, three ranges.
    assert GROUP_LIMIT >= 1 + 20 + 3
