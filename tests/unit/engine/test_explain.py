import json
import re
from itertools import product

import pytest

from rota.domain.errors import NotFound
from rota.domain.records import Audit, Tally
from rota.domain.run import TERMINAL, Attempt, Cause, End, Outcome, Reason, State
from rota.domain.schedule import Overlap, Policy, SkipReason
from rota.domain.triggers import Once
from rota.engine.admit import ripen
from rota.engine.audit import LIMIT, audited
from rota.engine.control import cancel, pause_queue, retry
from rota.engine.define import pause_schedule
from rota.engine.explain import CAUSES, SKIPS, WORDS, explain_run, explain_schedule
from rota.engine.query import queues, run_detail, workers
from rota.engine.report import report
from rota.ports.desk import Progress
from rota.ports.store import Change, Group
from rota.testing.clock import START_AT
from rota.testing.factories import make_run, make_task
from tests.unit.engine.support import FAILURE, MINUTE


@pytest.fixture(autouse=True)
async def ready(house):
    await house.task()


async def put(house, run):
    await house.store.commit([Group((Change(None, run),))])


AGAIN = (
    Outcome(End.LOST, reason="session gone", error="its worker vanished"),
    Outcome(End.RETURNED, reason=Reason.NO_HANDLER, error="no handler"),
    Outcome(End.RETURNED, reason="it stops"),
    Outcome(End.SNOOZE),
)


async def check_order(engine, run_id):
    """The story; an instant that is to come, such as that of a retry, may stand at its end only."""
    story = await explain_run(engine, run_id)
    times = [line[:20] for line in story if re.match("[0-9-]{10} ", line)]
    assert times == sorted(times), story
    assert sum("took it as attempt" in line for line in story) <= 1
    return story


class TestWords:
    def test_there_are_some_for_every_code(self):
        assert set(WORDS) == set(Reason)
        assert set(CAUSES) == set(Cause)
        assert set(SKIPS) == set(SkipReason)

    @pytest.mark.parametrize("why", SKIPS.values())
    def test_a_skip_is_worded_for_one_occurrence_as_for_many(self, why):
        assert not {"they", "them", "their"} & {*re.findall(r"\w+", why)}

    @pytest.mark.parametrize("reason", [*Reason, "its {own} reason", "{0}"])
    @pytest.mark.parametrize("state", [State.RUNNING, State.FAILED, State.PENDING])
    async def test_fill_their_gaps_in_every_state(self, house, engine, reason, state):
        old = Attempt(1, 7, "worker-1", "session-1", START_AT, None, START_AT + 1, reason, "Boom\nline two", 5)
        run = make_run(
            1,
            state=state,
            reason=reason,
            detail="why",
            error="Bang\nline two",
            worker="worker-2",
            cancel="ann",
            history=(old,),
            attempt=2,
            ended_at=START_AT + 5 if state in TERMINAL else None,
        )
        await put(house, run)
        story = await explain_run(engine, run.id)
        if reason in WORDS:
            assert not re.search(r"[{}]", "".join(story))
        assert all("\n" not in line for line in story)
        assert story[0].endswith("submitted by a program, as revision 1 of report")
        assert "attempt 1 on worker-1 ended" in story[1]

    @pytest.mark.parametrize("cause", Cause)
    async def test_say_where_a_run_comes_from(self, house, engine, cause):
        run = make_run(1, cause=cause, actor="ann", schedule="s", nominal_at=START_AT, origin="other")
        await put(house, run)
        first = (await explain_run(engine, run.id))[0]
        assert first.startswith("2026-01-01 00:00:00Z ")
        assert ("for 2026-01-01 00:00:00Z" in first) == (cause is Cause.SCHEDULE)

    async def test_are_none_for_what_does_not_exist(self, engine):
        with pytest.raises(NotFound, match="no run"):
            await explain_run(engine, "0" * 32)
        with pytest.raises(NotFound, match="no schedule"):
            await explain_schedule(engine, "main/none")


class TestRuns:
    async def test_a_whole_life_is_told_in_order(self, house, engine):
        await house.session()
        run = await house.submit(actor="ann")
        await house.settle(await house.claim_one(), FAILURE)
        house.clock.advance(20_000)
        await ripen(engine, house.term)
        one = await house.claim_one()
        assert (await explain_run(engine, run.id))[-1] == (
            "it runs; its worker has been silent for 19 s: if it is dead, a scheduler takes the run back"
        )
        await engine.store.beat(["session-1"])
        assert (await explain_run(engine, run.id))[-1] == "it runs"
        await cancel(engine, run.id, "bob")
        story = await explain_run(engine, run.id)
        assert story == [
            "2026-01-01 00:00:00Z submitted by ann, as revision 1 of task-1",
            "2026-01-01 00:00:00Z attempt 1 on worker-1 ended: it failed: Boom: it broke",
            "2026-01-01 00:00:20Z worker worker-1 took it as attempt 2",
            "it runs",
            "its cancel was asked by bob at 2026-01-01 00:00:20Z; its worker is told",
        ]
        await report(engine, [Progress(one.run.fence, one.run.claimed_at, "half")], [])
        story = await explain_run(engine, run.id)
        assert story[2].endswith("took it as attempt 2, which started it at 2026-01-01 00:00:20Z")
        assert story[3] == "it runs: half"
        await house.settle(one, Outcome(End.CANCELLED))
        assert (await explain_run(engine, run.id))[-1].endswith("cancelled: bob cancelled it")
        again = await retry(engine, run.id, "ann")
        assert f"asked for by ann as a retry of run {run.id}" in (await explain_run(engine, again.id))[0]

    @pytest.mark.parametrize("ends", [*product(AGAIN, AGAIN)])
    async def test_times_are_told_in_order_whatever_became_of_earlier_attempts(self, house, engine, ends):
        await house.session()
        run = await house.submit()
        for end in ends:
            await check_order(engine, run.id)
            house.clock.advance(MINUTE)
            await ripen(engine, house.term)
            one = await house.claim_one()
            house.clock.advance(MINUTE)
            await check_order(engine, run.id)
            await house.settle(one, end)
        house.clock.advance(MINUTE)
        await check_order(engine, run.id)
        await cancel(engine, run.id, "ann")
        assert (await check_order(engine, run.id))[-1] == "2026-01-01 00:05:00Z cancelled: ann cancelled it"

    async def test_a_waiting_one_says_what_it_waits_for(self, house, engine):
        run = await house.submit()
        assert (await explain_run(engine, run.id))[-1] == (
            "it waits: no live worker takes queue default with executor python; start one"
        )
        await house.task(2, requires=("gpu",))
        needy = await house.submit("task-2")
        assert "with executor python with labels gpu; start one" in (await explain_run(engine, needy.id))[-1]
        await house.session()
        assert (await explain_run(engine, run.id))[-1] == (
            "it waits in line: 0 before it in queue default; slots: 10, workers: 1"
        )
        assert "line: 1 before it" in (await explain_run(engine, (await house.submit()).id))[-1]
        await pause_queue(engine, "main", "default", "stock-taking", "ann")
        assert (await explain_run(engine, run.id))[-1] == (
            "it waits: queue default was paused by ann at 2026-01-01 00:00:00Z: stock-taking"
        )

    async def test_one_that_nobody_has_the_handler_of_says_which_and_where(self, house, engine):
        lacking = Outcome(End.RETURNED, reason=Reason.NO_HANDLER, error="no handler 'report' in its app; it has echo")
        await house.session()
        run = await house.submit()
        for _ in range(3):
            await house.settle(await house.claim_one(), lacking)
        story = [re.sub("^[0-9-]+ [0-9:]+Z ", "", line) for line in await explain_run(engine, run.id)]
        assert story[1:] == [
            "attempts 1 to 3 on worker-1 ended: its worker worker-1 lacks what it names",
            "pending: its worker worker-1 lacks what it names: no handler 'report' in its app; it has echo",
            "it waits: no live worker of queue default (worker-1) can run task task-1",
        ]
        assert (await explain_run(engine, (await house.submit()).id))[-1].endswith("in its app; it has echo")
        await house.session(2)
        assert (await explain_run(engine, run.id))[-1].startswith("it waits in line: 0 before it")


class TestSchedules:
    async def test_say_when_they_fire_and_why_they_did_not(self, house, engine):
        await house.schedule(policy=Policy(overlap=Overlap.SKIP))
        for _ in range(3):
            await house.fire(MINUTE)
        story = await explain_schedule(engine, "main/s")
        assert story[0] == "it fires next at 2026-01-01 00:04:00Z"
        assert story[1] == "since it was made: runs fired: 1, occurrences skipped: 2"
        assert story[2].endswith("from 2026-01-01 00:00:00Z to 2026-01-01 00:03:00Z is accounted for")
        assert story[3] == (
            "2 occurrences from 2026-01-01 00:02:00Z to 2026-01-01 00:03:00Z were skipped: an earlier run was not over"
        )
        await pause_schedule(engine, "main/s", "holidays", "ann")
        assert (await explain_schedule(engine, "main/s"))[0] == (
            "it does not fire, it was paused by ann at 2026-01-01 00:03:00Z: holidays"
        )

    async def test_say_that_they_are_over(self, house, engine):
        await house.schedule(trigger=Once(START_AT + MINUTE), policy=Policy())
        await house.fire(2 * MINUTE)
        assert (await explain_schedule(engine, "main/s"))[0].endswith("its trigger has no further instants")

    async def test_a_single_skip_is_one_occurrence(self, house, engine):
        await house.schedule(policy=Policy(overlap=Overlap.SKIP))
        for _ in range(2):
            await house.fire(MINUTE)
        story = await explain_schedule(engine, "main/s")
        assert story[3] == ("the occurrence of 2026-01-01 00:02:00Z was skipped: an earlier run was not over")


class TestAudit:
    def test_keeps_what_differs_as_json(self, engine):
        before, after = make_task(queue="a", payload=b"1"), make_task(queue="b", payload=b"1", revision=2)
        entry = audited(engine, "ann", "update", "task:x", before, after).now
        assert json.loads(entry.before) == {"queue": "a", "revision": 1}
        assert json.loads(entry.after) == {"queue": "b", "revision": 2}
        assert (entry.at, entry.actor, entry.action, entry.target) == (START_AT, "ann", "update", "task:x")

    def test_of_a_birth_and_a_death_keeps_everything(self, engine):
        born = audited(engine, "ann", "create", "task:x", None, make_task()).now
        gone = audited(engine, "ann", "delete", "task:x", make_task(), None).now
        assert (born.before, gone.after) == ("", "")
        assert json.loads(born.after)["name"] == json.loads(gone.before)["name"] == "task-1"

    def test_knows_runs_and_plain_values(self, engine):
        run = make_run(1)
        entry = audited(engine, "ann", "cancel", "run:x", run, run._replace(cancel="ann")).now
        assert (entry.before, entry.after) == ('{"cancel": ""}', '{"cancel": "ann"}')
        assert audited(engine, "ann", "x", "y", {"a": 1}, {"a": 1}).now.after == ""

    def test_is_bounded(self, engine):
        entry = audited(engine, "ann", "create", "task:x", None, make_task(payload=b"9" * 100_000)).now
        assert len(entry.after) <= LIMIT
        assert json.loads(entry.after)["name"] == "task-1", "what is cut can still be read"

    async def test_entries_are_found_again(self, house):
        (entry,) = await house.all(Audit)
        assert (entry.action, json.loads(entry.after)["command"]) == ("create", "report")


class TestQueries:
    async def test_numbers_of_everything(self, house, engine):
        await house.session()
        await house.schedule()
        run = await house.submit(queue="mail")
        await house.submit()
        await house.settle(await house.claim_one())
        assert [cell.count for cell in await house.all(Tally)] == [1]
        assert (await run_detail(engine, run.id)).run == run
        await pause_queue(engine, "main", "idle", "", "ann")
        assert [(one.queue.name, one.pending, one.running) for one in await queues(engine)] == [
            ("default", 0, 0),
            ("idle", 0, 0),
            ("mail", 1, 0),
        ]

    async def test_workers_with_what_they_hold(self, house, engine):
        await house.session()
        await house.session(2)
        await house.submit()
        await house.claim_one()
        house.clock.advance(10_000)
        await house.store.beat(["session-1"])
        found = {view.session.id: (view.running, view.beat_at, view.silent_ms) for view in await workers(engine)}
        assert found == {"session-1": (1, START_AT + 10_000, 0), "session-2": (0, START_AT + 2, 0)}
        house.clock.advance(3)
        assert [view.silent_ms for view in await workers(engine)] == [10_001, 0]

    async def test_more_queues_than_one_page(self, house, engine):
        for number in range(501):
            await pause_queue(engine, "main", f"q{number}", "", "ann")
        assert len(await queues(engine)) == 502
