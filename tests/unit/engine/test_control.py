import json
from contextlib import contextmanager

import pytest

from rota.domain.errors import Invalid, NotFound, Refused, TooLarge, Unavailable
from rota.domain.facts import RunsSettled
from rota.domain.priority import Priority, rank
from rota.domain.records import Audit, Blob, Queue, Session, Tally, Unique
from rota.domain.retry import Retry
from rota.domain.run import TERMINAL, Cause, End, Outcome, Run, State
from rota.domain.schedule import Overlap, Policy
from rota.engine.control import (
    SLOT_LIMIT,
    cancel,
    drain,
    order_queue,
    pause_queue,
    relabel,
    resize,
    resume_queue,
    retry,
    trigger,
)
from rota.engine.define import delete_task, update_task
from rota.engine.query import run_detail
from rota.engine.report import report
from rota.engine.sessions import leave
from rota.engine.submit import Order
from rota.ports.desk import Progress
from rota.ports.store import Change, Group
from rota.testing.clock import START_AT
from rota.testing.faults import LOST_REPLY, UNAVAILABLE, at
from tests.unit.engine.support import FAILURE, MINUTE, SUCCESS, clocks


@pytest.fixture(autouse=True)
async def ready(house):
    await house.task(payload=b"1", retry=Retry(retries=1, delay_ms=50, jitter=0))
    await house.session()


async def in_state(house, state):
    """A run in this state."""
    if state is State.SCHEDULED:
        return await house.submit(due_at=START_AT + 500)
    if state is State.BLOCKED:
        await house.schedule(policy=Policy(overlap=Overlap.BUFFER_ONE))
        await house.fire(MINUTE)
        await house.fire(MINUTE)
        return (await house.all(Run))[-1]
    run = await house.submit(unique="u")
    if state is not State.PENDING:
        one = await house.claim_one()
        ends = {
            State.RETRYING: FAILURE,
            State.SUCCESS: SUCCESS,
            State.FAILED: FAILURE._replace(final=True),
            State.CANCELLED: Outcome(End.CANCELLED),
        }
        if state in ends:
            await house.settle(one, ends[state])
    return await house.run(run.id)


class TestCancel:
    @pytest.mark.parametrize("state", [State.SCHEDULED, State.BLOCKED, State.PENDING, State.RETRYING])
    async def test_of_a_run_without_an_attempt_is_absolute(self, house, engine, state):
        run = await in_state(house, state)
        assert run.state is state
        ear = house.store.watch(["done", "gate"])
        assert await cancel(engine, run.id, "ann") == "cancelled"
        assert (await ear.wait(0)).keys() == {"done", *(["gate"] if run.gate else [])}
        after = await house.run(run.id)
        assert (after.state, after.cancel, after.due_at) == (State.CANCELLED, "ann", None)
        assert await cancel(engine, run.id, "bob") == "cancelled"
        assert await house.all(Unique) == []
        assert run.id not in {one.run.id for one in await house.claim()}
        assert [cell.outcome for cell in await house.all(Tally)] == ["cancelled"]
        (fact,) = house.facts.of(RunsSettled)[-1:]
        assert [one.id for one in fact.runs] == [run.id]
        assert ("ann", "cancel", f"run:{run.id}") in await house.deeds()

    async def test_of_a_running_one_is_told_to_its_worker(self, house, engine):
        run = await in_state(house, State.RUNNING)
        ear = house.store.watch(["session:session-1"])
        assert await cancel(engine, run.id, "ann") == "cancelling"
        assert await ear.wait(0) == {"session:session-1": 1}
        assert (await house.store.beat(["session-1"]))[0].cancels == (run.id,)
        assert await cancel(engine, run.id, "bob") == "cancelling"
        assert [deed[0] for deed in await house.deeds() if deed[1] == "cancel"] == ["ann"]

    @pytest.mark.parametrize("state", [State.SUCCESS, State.FAILED])
    async def test_of_an_ended_one_is_refused(self, house, engine, state):
        run = await in_state(house, state)
        with pytest.raises(Refused, match=f"has ended as {state}; nothing to cancel"):
            await cancel(engine, run.id, "ann")
        assert await house.run(run.id) == run

    async def test_of_a_cancelled_one_is_done_already(self, house, engine):
        run = await in_state(house, State.CANCELLED)
        assert await cancel(engine, run.id, "ann") == "cancelled"

    async def test_of_nothing_is_refused(self, engine):
        with pytest.raises(NotFound):
            await cancel(engine, "0" * 32, "ann")

    async def test_that_got_no_answer_counts_once(self, house, engine):
        run = await in_state(house, State.PENDING)
        house.store.plan = at(len(house.store.calls) + 1, LOST_REPLY)
        assert await cancel(engine, run.id, "ann") == "cancelled"
        assert sum(deed[1] == "cancel" for deed in await house.deeds()) == 1
        assert [cell.count for cell in await house.all(Tally)] == [1]


@contextmanager
def meddled(house, deed, times=10**9):
    """Somebody does `deed` just before each of the next commits."""
    original, calls = house.store.commit, []

    async def commit(groups, guard=None, hints=()):
        house.store.commit = original
        calls.append(1)
        if len(calls) <= times:
            await deed(len(calls))
            house.store.commit = commit
        return await original(groups, guard, hints)

    house.store.commit = commit
    yield
    house.store.commit = original


class TestMeddling:
    async def test_a_settle_in_between_ends_the_run_first(self, house, engine):
        run = await in_state(house, State.PENDING)
        one = await house.claim_one()
        with meddled(house, lambda _: house.settle(one), times=1), pytest.raises(Refused, match="has ended as success"):
            await cancel(engine, run.id, "ann")

    async def test_a_claim_in_between_makes_it_a_wish(self, house, engine):
        run = await in_state(house, State.PENDING)
        with meddled(house, lambda _: house.claim_one(), times=1):
            assert await cancel(engine, run.id, "ann") == "cancelling"

    async def test_a_run_that_vanishes_in_between_is_not_found(self, house, engine):
        run = await in_state(house, State.PENDING)
        held = (await house.store.get(Run, [run.id]))[0]

        async def vanish(_):
            await house.store.commit([Group((Change(held, None),))])

        with meddled(house, vanish, times=1), pytest.raises(NotFound):
            await cancel(engine, run.id, "ann")

    async def test_without_end_is_given_up(self, house, engine):
        run = await in_state(house, State.RUNNING)

        async def progress(number):
            await report(engine, [Progress(run.fence, None, f"step {number}")], [])

        with meddled(house, progress), pytest.raises(Refused, match="changes too quickly"):
            await cancel(engine, run.id, "ann")

    async def test_of_queues_sessions_and_schedules_without_end_is_given_up(self, house, engine):
        await house.schedule("task-1", policy=Policy(overlap=Overlap.BUFFER_ALL))

        async def resized(number):
            await resize(engine, "session-1", number, "eve")

        async def paused(number):
            await pause_queue(engine, "main", "default", f"reason {number}", "eve")

        async def fired(_):
            await house.fire(MINUTE)

        with meddled(house, resized), pytest.raises(Refused, match="session session-1 changes too quickly"):
            await drain(engine, "session-1", "ann")
        with meddled(house, paused), pytest.raises(Refused, match="queue main/default changes too quickly"):
            await resume_queue(engine, "main", "default", "ann")
        with meddled(house, fired), pytest.raises(Refused, match="schedule main/task-1 changes too quickly"):
            await trigger(engine, Order("task-1"), "ann", overlap=True)


class TestRetry:
    @pytest.mark.parametrize("state", sorted(TERMINAL - {State.SKIPPED}))
    async def test_makes_a_new_run_that_points_back(self, house, engine, state):
        run = await in_state(house, state)
        receipt = await retry(engine, run.id, "ann")
        again = await house.run(receipt.id)
        assert (again.origin, again.cause, again.actor, again.state) == (
            run.id,
            Cause.RETRY,
            "ann",
            State.PENDING,
        )
        assert (again.tries, again.attempt, again.history) == (0, 0, ())
        assert await house.run(run.id) == run
        assert ("ann", "retry", f"run:{again.id}") in await house.deeds()

    async def test_brings_all_that_the_first_one_brought(self, house, engine):
        policy = Retry(retries=9)
        run = await house.submit(
            payload=b"9".rjust(9_000), queue="bulk", priority=Priority.LOW, retry=policy, timeout_ms=77
        )
        await cancel(engine, run.id, "ann")
        again = await house.run((await retry(engine, run.id, "ann")).id)
        assert (again.queue, again.priority, again.retry, again.timeout_ms) == ("bulk", Priority.LOW, policy, 77)
        assert (await run_detail(engine, again.id)).payload == b"9".rjust(9_000)
        assert len(await house.all(Blob)) == 2

    async def test_of_one_that_is_pruned_meanwhile_does_not_take_the_tasks_arguments(self, house, engine):
        await house.task(2, payload=b"1")
        run = await house.submit("task-2", payload=b"9".rjust(9_000))
        await cancel(engine, run.id, "ann")
        original = house.store.get

        async def get(kind, ids):
            if kind is Blob:
                await engine.commit_one(Group((Change((await original(Run, [run.id]))[0], None),)))
            return await original(kind, ids)

        house.store.get = get
        with pytest.raises(NotFound, match=f"no payload '{run.id}/payload'"):
            await retry(engine, run.id, "ann")
        assert await house.all(Run) == []

    @pytest.mark.parametrize(("given", "then"), [(None, 900), (0, None), (77, 77)])
    async def test_takes_the_tasks_timeout_unless_the_first_one_had_its_own(self, house, engine, given, then):
        await house.task(2, **clocks(attempt_ms=500))
        run = await house.submit("task-2", timeout_ms=given)
        await cancel(engine, run.id, "ann")
        changed = clocks(attempt_ms=900)
        await update_task(engine, "main/task-2", changed, "ann")
        assert (await house.run((await retry(engine, run.id, "ann")).id)).timeout_ms == then

    async def test_of_an_occurrence_keeps_its_nominal_time(self, house, engine):
        await house.schedule()
        await house.fire(MINUTE)
        (run,) = await house.all(Run)
        await cancel(engine, run.id, "ann")
        again = await house.run((await retry(engine, run.id, "ann")).id)
        assert (again.schedule, again.nominal_at) == ("s", START_AT + MINUTE)

    @pytest.mark.parametrize("state", [State.PENDING, State.RUNNING, State.RETRYING])
    async def test_of_a_live_one_is_refused(self, house, engine, state):
        run = await in_state(house, state)
        with pytest.raises(Refused, match=f"is {state}; cancel it first, or wait"):
            await retry(engine, run.id, "ann")

    async def test_of_a_run_whose_task_is_gone_is_refused(self, house, engine):
        run = await in_state(house, State.SUCCESS)
        await delete_task(engine, "main/task-1", "ann")
        with pytest.raises(NotFound, match="no task 'main/task-1'"):
            await retry(engine, run.id, "ann")


class TestQueues:
    async def test_paused_ones_are_not_claimed_from(self, house, engine):
        await house.submit()
        queue = await pause_queue(engine, "main", "default", "stock-taking", "ann")
        assert (queue.paused, queue.updated_at) == ("stock-taking", START_AT)
        assert await house.claim() == ()
        ear = house.store.watch(["lane:main/default/*"])
        assert (await resume_queue(engine, "main", "default", "ann")).paused == ""
        assert await ear.wait(0)
        assert len(await house.claim()) == 1
        assert (await pause_queue(engine, "main", "default", "", "ann")).paused == "paused"

    async def test_strictness_acts_on_what_becomes_ready_later(self, house, engine):
        before = await house.submit()
        await order_queue(engine, "main", "default", True, "ann")
        after = await house.submit()
        assert (before.rank, after.rank) == (
            rank(START_AT, Priority.NORMAL),
            rank(START_AT, Priority.NORMAL, True),
        )
        await order_queue(engine, "main", "default", False, "ann")
        assert (await house.submit()).rank == before.rank

    @pytest.mark.parametrize(("namespace", "name"), [("main", "a b"), ("main", ""), ("a/b", "q"), ("", "q")])
    async def test_have_names(self, engine, namespace, name):
        with pytest.raises(Invalid):
            await pause_queue(engine, namespace, name, "why", "ann")

    async def test_are_paused_for_a_short_reason(self, engine):
        with pytest.raises(Invalid):
            await pause_queue(engine, "main", "default", "x" * 201, "ann")

    async def test_changes_are_audited_with_what_differs(self, house, engine):
        for _ in range(2):  # the second changes nothing
            await pause_queue(engine, "main", "default", "why", "ann")
        (entry,) = (one for one in await house.all(Audit) if one.action == "queue")
        assert (entry.actor, entry.target) == ("ann", "queue:main/default")
        assert '"paused": ""' in entry.before
        assert '"paused": "why"' in entry.after
        assert "strict" not in entry.after


class TestSessions:
    async def test_are_resized_while_they_work(self, house, engine):
        for most in (1, SLOT_LIMIT, 3):
            assert (await resize(engine, "session-1", most, "ann")).slots == most
        assert (await house.store.beat(["session-1"]))[0].slots == 3
        assert (await house.get(Session, "session-1")).slots == 3
        assert ("ann", "resize", "session:session-1") in await house.deeds()

    async def test_are_relabelled_while_they_work(self, house, engine):
        await house.session(2, lanes=("main/a/python/old", "main/a/python/", "etl/b/shell/"), labels=("old",))
        changed = await relabel(engine, "session-2", ["y", "x", "y"], "ann")
        assert changed.labels == (await house.store.beat(["session-2"]))[0].labels == ("x", "y")
        sets = ("", "x", "x,y", "y")
        assert sorted(changed.lanes) == [f"{one}/{some}" for one in ("etl/b/shell", "main/a/python") for some in sets]
        assert set((await relabel(engine, "session-2", [], "ann")).lanes) == {"etl/b/shell/", "main/a/python/"}
        (entry, _) = (one for one in await house.all(Audit) if one.action == "relabel")
        assert (json.loads(entry.before), json.loads(entry.after)) == ({"labels": ["old"]}, {"labels": ["x", "y"]})

    @pytest.mark.parametrize("labels", [["a b"], [""], [f"l{number}" for number in range(7)]])
    async def test_have_labels_that_are_few_names(self, house, engine, labels):
        before = await house.get(Session, "session-1")
        with pytest.raises(Invalid, match="labels"):
            await relabel(engine, "session-1", labels, "ann")
        assert await house.get(Session, "session-1") == before

    async def test_of_many_queues_have_no_endless_labels(self, house, engine):
        queues = tuple(f"queue-{number}" for number in range(100))
        await house.session(2, queues=queues, lanes=tuple(f"main/{queue}/python/" for queue in queues))
        with pytest.raises(TooLarge, match="labels"):
            await relabel(engine, "session-2", [letter * 128 for letter in "abcdef"], "ann")
        assert len((await house.get(Session, "session-2")).lanes) == 100
        assert len((await relabel(engine, "session-2", list("abcdef"), "ann")).lanes) == 6_400

    async def test_that_take_no_runs_need_no_labels(self, house, engine):
        await house.session(2, executors=(), lanes=("main/default//",))
        with pytest.raises(Refused, match="takes no runs"):
            await relabel(engine, "session-2", ["x"], "ann")

    @pytest.mark.parametrize("slots", [0, -1, SLOT_LIMIT + 1])
    async def test_have_a_bounded_size(self, engine, slots):
        with pytest.raises(Invalid):
            await resize(engine, "session-1", slots, "ann")

    async def test_that_ended_are_left_alone(self, engine):
        await leave(engine, "session-1", "bye")
        for deed in (drain(engine, "session-1", "ann"), resize(engine, "session-1", 3, "ann")):
            with pytest.raises(Refused, match="has ended"):
                await deed
        with pytest.raises(NotFound):
            await drain(engine, "nobody", "ann")


async def test_a_failing_change_leaves_no_audit(house, engine):
    run = await in_state(house, State.PENDING)
    deeds = await house.deeds()
    for deed in (
        lambda: cancel(engine, run.id, "ann"),
        lambda: pause_queue(engine, "main", "default", "why", "ann"),
        lambda: drain(engine, "session-1", "ann"),
        lambda: trigger(engine, Order("task-1"), "ann"),
    ):
        house.store.plan = at(len(house.store.calls) + 1, UNAVAILABLE)
        with pytest.raises(Unavailable):
            await deed()
    assert await house.deeds() == deeds
    assert await house.all(Queue) == []
    assert await house.run(run.id) == run
