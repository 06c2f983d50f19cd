import pytest

from rota.domain.errors import Stale
from rota.domain.priority import rank
from rota.domain.records import Blob, Tally
from rota.domain.retry import Retry
from rota.domain.run import GRACE_MS, Reason, Run, State
from rota.domain.schedule import Overlap, Policy
from rota.domain.task import Revision
from rota.engine import admit
from rota.engine.admit import LIMIT, ripen
from rota.engine.claim import claim, given
from rota.engine.control import cancel, order_queue, pause_queue, resume_queue, retry
from rota.engine.define import delete_task, update_task
from rota.engine.query import run_detail
from rota.engine.report import report
from rota.engine.submit import Order, submit
from rota.ports.desk import Progress
from rota.ports.store import Change, Group, Want
from rota.testing.clock import START_AT
from rota.testing.factories import make_session
from tests.unit.engine.support import FAILURE, MINUTE, SUCCESS, clocks


class TestRipen:
    async def test_makes_ready_what_is_due_and_says_when_the_next_is(self, house, engine):
        await house.task()
        early, late = await house.submit(due_at=START_AT + 100), await house.submit(due_at=START_AT + 300)
        assert await ripen(engine, house.term) == START_AT + 100
        house.clock.advance(250)
        assert await ripen(engine, house.term) == START_AT + 300
        ready = await house.run(early.id)
        assert (ready.state, ready.ready_at, ready.reason) == (State.PENDING, START_AT + 250, Reason.DUE)
        assert (await house.run(late.id)).state is State.SCHEDULED

    async def test_makes_ready_what_is_to_be_tried_again(self, house, engine):
        await house.task(retry=Retry(delay_ms=50, jitter=0))
        await house.submit()
        await house.session()
        await house.settle(await house.claim_one(), FAILURE)
        assert await house.claim() == ()
        assert await ripen(engine, house.term) == START_AT + 50
        house.clock.advance(50)
        assert await ripen(engine, house.term) is None
        assert (await house.claim_one()).run.attempt == 2

    async def test_ends_what_was_not_started_in_time(self, house, engine):
        await house.task(1, **clocks(queue_ms=500))
        run = await house.submit()
        house.clock.advance(500)
        await ripen(engine, house.term)
        ended = await house.run(run.id)
        assert (ended.state, ended.reason, ended.attempt) == (State.FAILED, Reason.MISSED_START, 0)
        (cell,) = await house.all(Tally)
        assert (cell.outcome, cell.count, cell.bucket, cell.total_ms, cell.node) == ("failed", 1, 0, 0, "")

    async def test_ends_a_buffered_run_whose_start_deadline_is_over(self, house, engine):
        await house.task()
        await house.schedule(policy=Policy(overlap=Overlap.BUFFER_ONE, start_deadline_ms=MINUTE + 5))
        await house.fire(MINUTE)
        await house.session()
        await house.claim_one()
        await house.fire(MINUTE)
        ear = house.store.watch(["gate"])
        house.clock.advance(MINUTE + 5)
        await ripen(engine, house.term)
        assert [run.reason for run in await house.all(Run)] == [Reason.CLAIMED, Reason.MISSED_START]
        assert "gate" in await ear.wait(0)

    async def test_ends_what_waits_when_the_time_for_all_attempts_is_over(self, house, engine):
        await house.task(1, **clocks(total_ms=1_000))
        run = await house.submit()
        await pause_queue(engine, "main", "default", "why", "ann")
        house.clock.advance(1_000)
        await ripen(engine, house.term)
        assert (await house.run(run.id)).reason == Reason.TOTAL_TIMEOUT

    async def test_ends_an_attempt_that_nobody_ended_after_its_grace(self, house, engine):
        await house.task(1, retry=Retry(retries=1, delay_ms=0, jitter=0), **clocks(attempt_ms=1_000))
        await house.submit()
        await house.session()
        first = await house.claim_one()
        house.clock.advance(1_000 + GRACE_MS - 1)
        assert await ripen(engine, house.term) == house.clock.now() + 1
        assert (await house.run(first.run.id)).state is State.RUNNING
        house.clock.advance(1)
        await ripen(engine, house.term)
        again = await house.run(first.run.id)
        assert (again.state, again.reason, again.tries) == (State.RETRYING, Reason.TIMEOUT, 1)
        assert "`" in again.error or "timeout" in again.error
        assert await house.settle(first, SUCCESS) == "stale"

    async def test_ends_for_good_what_is_over_its_total_time(self, house, engine):
        await house.task(1, **clocks(attempt_ms=None, total_ms=1_000))
        await house.submit()
        await house.session()
        first = await house.claim_one()
        house.clock.advance(1_000 + GRACE_MS)
        await ripen(engine, house.term)
        ended = await house.run(first.run.id)
        assert (ended.state, ended.reason) == (State.FAILED, Reason.TOTAL_TIMEOUT)

    async def test_cancels_an_overdue_attempt_whose_cancel_was_asked(self, house, engine):
        await house.task(1, **clocks(attempt_ms=1_000))
        await house.submit()
        await house.session()
        one = await house.claim_one()
        assert await cancel(engine, one.run.id, "ann") == "cancelling"
        house.clock.advance(1_000 + GRACE_MS)
        await ripen(engine, house.term)
        assert (await house.run(one.run.id)).state is State.CANCELLED

    async def test_takes_a_batch_at_a_time_and_asks_to_be_called_again(self, house, engine):
        await house.task()
        await submit(engine, [Order("task-1", due_at=START_AT + 1)] * (LIMIT + 1))
        house.clock.advance(1)
        assert await ripen(engine, house.term) == 0
        assert await ripen(engine, house.term) is None
        assert await house.store.count(Run, "state") == {"pending": LIMIT + 1}

    async def test_by_a_leader_of_the_past_changes_nothing(self, house, engine):
        await house.task()
        run = await house.submit(due_at=START_AT + 1)
        old = house.term
        await house.lead()
        house.clock.advance(1)
        with pytest.raises(Stale):
            await ripen(engine, old)
        assert await house.run(run.id) == run

    async def test_by_a_leader_of_the_past_ends_no_attempt(self, house, engine):
        await house.task(1, **clocks(attempt_ms=1_000))
        await house.submit()
        await house.session()
        one = await house.claim_one()
        old = house.term
        await house.lead()
        house.clock.advance(1_000 + GRACE_MS)
        with pytest.raises(Stale):
            await ripen(engine, old)
        assert await house.run(one.run.id) == one.run

    async def test_into_a_strict_queue_gives_an_endless_head_start(self, house, engine):
        await house.task()
        run = await house.submit(due_at=START_AT + 1)
        await order_queue(engine, "main", "default", True, "ann")
        house.clock.advance(1)
        await ripen(engine, house.term)
        assert (await house.run(run.id)).rank == rank(START_AT + 1, run.priority, strict=True)

    async def test_tells_the_lane_and_itself_of_new_deadlines(self, house, engine):
        await house.task(1, **clocks(queue_ms=500))
        await house.submit(due_at=START_AT + 1)
        house.clock.advance(1)
        ear = house.store.watch(["lane:main/default/python/", "due"])
        await ripen(engine, house.term)
        assert await ear.wait(0) == {"lane:main/default/python/": 1, "due": 1}


class TestClaim:
    async def test_brings_tasks_and_payloads_whatever_their_size(self, house):
        await house.task(payload=b"1")
        await house.session()
        small, large = await house.submit(), await house.submit(payload=b"9".rjust(50_000))
        taken = {one.run.id: one for one in await house.claim()}
        assert (taken[small.id].payload, taken[large.id].payload) == (b"1", b"9".rjust(50_000))
        assert taken[small.id].task.name == "task-1"
        assert taken[small.id].held.version == taken[small.id].version
        assert (await house.run(small.id)) == taken[small.id].run

    async def test_ends_those_alone_whose_payload_or_revision_is_gone(self, house, engine):
        await house.task()
        await house.task(2)
        await house.session()
        good, without = await house.submit(), await house.submit(payload=b'"%s"' % (b"x" * 50_000))
        orphan = await house.submit("task-2")
        gone = await house.store.get(Blob, [f"{without.id}/payload"])
        gone += await house.store.get(Revision, ["main/task-2@1"])
        await house.store.commit([Group((Change(held, None),)) for held in gone])
        engine = house.another()
        (taken,) = await claim(engine, [Want("session-1", "worker-1", 5, 10, make_session(1).lanes)])
        assert [one.run.id for one in taken.assignments] == [good.id]
        assert taken.contended
        ended = [await house.run(without.id), await house.run(orphan.id)]
        assert {(run.state, run.reason) for run in ended} == {(State.FAILED, Reason.ERROR)}
        assert ended[0].error == f"its payload {without.id}/payload is missing in the store"
        assert ended[1].error == "its task revision main/task-2@1 is missing in the store"
        assert (await run_detail(engine, (await retry(engine, orphan.id, "ann")).id)).run.state is State.PENDING

    async def test_gives_nobody_what_another_session_holds(self, house, engine):
        await house.task()
        await house.session()
        await house.session(2)
        await house.submit()
        held = await house.claim_one()
        assert (await given(engine, "session-2", [held.run.id])).assignments == ()
        assert (await given(engine, "session-1", [held.run.id])).assignments == (held,)

    async def test_goes_by_rank(self, house, engine):
        await house.task()
        await house.session()
        await submit(engine, [Order("task-1", priority=level, payload=b"%d" % level) for level in (0, 3, 1, 2)])
        assert [one.payload for one in await house.claim()] == [b"3", b"2", b"1", b"0"]

    async def test_of_a_run_names_the_task_as_it_was_when_it_was_submitted(self, house, engine):
        await house.task(command="old")
        await house.session()
        await house.submit()
        await update_task(engine, "main/task-1", {"command": "new"}, "ann")
        await house.submit()
        await delete_task(engine, "main/task-1", "ann")
        engine = house.another()
        want = Want("session-1", "worker-1", 5, 10, make_session(1).lanes)
        taken = (await claim(engine, [want]))[0].assignments
        assert [one.task.command for one in taken] == ["old", "new"]

    async def test_passes_over_paused_queues(self, house, engine):
        await house.task()
        await house.session()
        await house.submit()
        await pause_queue(engine, "main", "default", "why", "ann")
        assert await house.claim() == ()
        await resume_queue(engine, "main", "default", "ann")
        assert len(await house.claim()) == 1

    async def test_of_a_closed_session_says_so(self, house, engine):
        await house.task()
        await house.submit()
        (taken,) = await claim(engine, [Want("session-1", "worker-1", 5, 10, make_session(1).lanes)])
        assert (taken.assignments, taken.open) == ((), False)

    async def test_missed_by_its_queue_clock_is_judged_by_the_leader_alone(self, house, engine):
        await house.task(1, **clocks(queue_ms=500))
        await house.session()
        run = await house.submit()
        house.clock.advance(600)
        one = await house.claim_one()
        assert await ripen(engine, house.term) == START_AT + 600 + 300_000 + GRACE_MS
        assert (await house.run(run.id)) == one.run


async def test_what_nobody_vouches_for_is_left_alone_and_not_asked_for_at_once_again(house, engine, monkeypatch):
    monkeypatch.setattr(admit, "LIMIT", 1)
    await house.task(1, **clocks(attempt_ms=1_000))
    await house.session()
    run = await house.submit()
    await house.claim_one()
    house.clock.advance(1_000 + GRACE_MS)
    assert await ripen(engine, house.term, lambda session: session != "session-1") is None
    assert (await house.run(run.id)).state is State.RUNNING
    assert await ripen(engine, house.term, lambda session: session == "session-1") == 0
    assert (await house.run(run.id)).state is not State.RUNNING


async def test_a_report_moves_no_deadline(house, engine):
    await house.task(1, **clocks(attempt_ms=1_000))
    await house.session()
    await house.submit()
    one = await house.claim_one()
    house.clock.advance(900)
    await report(engine, [Progress(one.run.fence, START_AT + 5, "half")], [])
    assert (await house.run(one.run.id)).due_at == START_AT + 1_000 + GRACE_MS
