import pytest

from rota.domain.errors import Invalid, Unavailable, Unclear
from rota.domain.facts import ReportsRefused, RunsSettled
from rota.domain.records import INLINE_LIMIT, VALUE_LIMIT, Blob, Tally, Unique
from rota.domain.retry import Retry
from rota.domain.run import End, Fence, Outcome, Reason, Run, State
from rota.domain.states import Verdict
from rota.engine.admit import ripen
from rota.engine.control import cancel
from rota.engine.query import run_detail
from rota.engine.report import report
from rota.engine.sessions import leave
from rota.engine.settle import TRIES, settle
from rota.engine.submit import Order, submit
from rota.ports.desk import Progress, Settlement
from rota.ports.store import Change, Group, Line, Sought
from rota.testing.clock import START_AT
from rota.testing.faults import LOST_REPLY, NO_FAULT, UNAVAILABLE, at
from tests.unit.engine.support import FAILURE, SUCCESS

FRESH, ALREADY, STALE = Verdict.FRESH, Verdict.ALREADY, Verdict.STALE


@pytest.fixture(autouse=True)
async def ready(house):
    await house.task(retry=Retry(retries=1, delay_ms=50, jitter=0))
    await house.session()


async def held(house, count=1, **changes):
    """Claimed runs."""
    await submit(house.engine, [Order("task-1", **changes) for _ in range(count)])
    return await house.claim(limit=count)


def ends(assignments, outcome=SUCCESS):
    return [Settlement(one.run.fence, outcome, one.held, one.task) for one in assignments]


class TestVerdicts:
    async def test_a_report_counts_once_and_is_known_again(self, house):
        (one,) = await held(house)
        assert await house.settle(one) is FRESH
        after = await house.run(one.run.id)
        assert (after.state, after.tries, after.session) == (State.SUCCESS, 1, "")
        house.clock.advance(1)
        assert await house.settle(one) is ALREADY
        house.clock.advance(1)
        assert await house.settle(one, held=None, task=None) is ALREADY
        assert await house.run(one.run.id) == after

    async def test_another_report_under_the_same_fence_changes_nothing(self, house):
        (one,) = await held(house)
        await house.settle(one)
        after = await house.run(one.run.id)
        assert await house.settle(one, FAILURE) is STALE
        assert await house.run(one.run.id) == after
        assert [fact.runs for fact in house.facts.of(ReportsRefused)] == [[one.run.id]]

    async def test_old_fences_are_stale_and_old_reports_are_known(self, house):
        (first,) = await held(house)
        await house.settle(first, FAILURE)
        house.clock.advance(50)
        await ripen(house.engine, house.term)
        second = await house.claim_one()
        house.clock.advance(1)
        assert await house.settle(first, FAILURE) is ALREADY
        assert await house.settle(first, SUCCESS) is STALE
        assert await house.settle(second, SUCCESS) is FRESH
        assert (await house.run(first.run.id)).tries == 2

    async def test_unknown_runs_are_stale(self, house, engine):
        fence = Fence((await held(house))[0].run.id, 1, 999)
        gone = Fence("0" * 32, 1, 1)
        assert await settle(engine, [Settlement(fence, SUCCESS), Settlement(gone, SUCCESS)]) == [STALE, STALE]

    async def test_a_run_that_vanished_meanwhile_is_stale(self, house, engine):
        (one,) = await held(house)
        await house.store.commit([Group((Change(one.held, None),))])
        assert await house.settle(one) is STALE
        assert house.facts.of(RunsSettled) == []

    async def test_each_of_a_batch_gets_its_own(self, house, engine):
        batch = await held(house, 3)
        await house.settle(batch[1])
        house.clock.advance(1)
        settlements = ends(batch)
        settlements[2] = settlements[2]._replace(fence=batch[2].run.fence._replace(token=1))
        assert await settle(engine, settlements) == [FRESH, ALREADY, STALE]

    async def test_each_of_a_batch_is_tried_again_at_its_own_time(self, house, engine):
        """What failed together, as an outage makes it, does not come back as one crowd."""
        await house.task(2, retry=Retry(jitter=0.5))
        await submit(engine, [Order("task-2") for _ in range(5)])
        await settle(engine, ends(await house.claim(), FAILURE))
        assert len({run.due_at for run in await house.all(Run)}) == 5

    async def test_the_same_twice_in_a_batch_counts_once(self, house, engine):
        (one,) = await held(house)
        verdicts = await settle(engine, ends([one, one, one]))
        assert verdicts[0] is FRESH
        assert STALE not in verdicts
        (other,) = await held(house)
        assert await settle(engine, [*ends([other]), *ends([other], FAILURE)]) == [FRESH, STALE]
        assert (await house.all(Tally))[0].count == 2

    async def test_of_nothing_are_none(self, engine):
        assert await settle(engine, []) == []


class TestValues:
    @pytest.mark.parametrize("size", [0, 1, INLINE_LIMIT, INLINE_LIMIT + 1, VALUE_LIMIT])
    async def test_results_of_any_size_up_to_the_limit_come_back(self, house, engine, size):
        (one,) = await held(house)
        assert await house.settle(one, Outcome(End.SUCCESS, result=b"9" * size)) is FRESH
        detail = await run_detail(engine, one.run.id)
        assert detail.result == b"9" * size
        assert detail.run.spilled == (size > INLINE_LIMIT) == (detail.run.result is None)
        house.clock.advance(1)
        assert await house.settle(one, Outcome(End.SUCCESS, result=b"9" * size)) is ALREADY
        assert len(await house.all(Blob)) == (size > INLINE_LIMIT)

    async def test_a_result_over_the_limit_fails_the_run_and_says_why(self, house):
        (one,) = await held(house)
        outcome = Outcome(End.SUCCESS, result=b"9" * (VALUE_LIMIT + 1))
        assert await house.settle(one, outcome) is FRESH
        after = await house.run(one.run.id)
        assert (after.state, after.reason, after.result) == (State.FAILED, Reason.BAD_RESULT, None)
        assert after.error == "the result has 262145 bytes; the limit is 262144: return a reference instead"
        house.clock.advance(1)
        assert await house.settle(one, outcome) is ALREADY

    async def test_a_large_result_that_comes_after_a_cancel_is_kept(self, house, engine):
        (one,) = await held(house)
        await cancel(engine, one.run.id, "ann")
        await house.settle(one, Outcome(End.SUCCESS, result=b"9" * 9_000))
        detail = await run_detail(engine, one.run.id)
        assert (detail.run.state, detail.result) == (State.CANCELLED, b"9" * 9_000)

    @pytest.mark.parametrize("text", ["a\0b", "\ud800", "x\udfff"])
    async def test_what_cannot_be_stored_fails_its_own_run_alone(self, house, engine, text):
        batch = await held(house, 37)
        settlements = ends(batch)
        for culprit in (0, 17, 36):
            settlements[culprit] = settlements[culprit]._replace(outcome=FAILURE._replace(error=text))
        assert await settle(engine, settlements) == [FRESH] * 37
        runs = [await house.run(one.run.id) for one in batch]
        failed = [number for number, run in enumerate(runs) if run.state is State.FAILED]
        assert failed == [0, 17, 36]
        assert {runs[number].reason for number in failed} == {Reason.UNSTORABLE}
        assert all("cannot be stored" in runs[number].error for number in failed)
        house.clock.advance(1)
        assert await settle(engine, settlements) == [ALREADY] * 37
        assert sum(cell.count for cell in await house.all(Tally)) == 37

    async def test_what_can_not_even_fail_is_told(self, house):
        (one,) = await held(house)
        worse = Outcome(End.FAILURE, reason=Reason.UNSTORABLE, error="a\0b")
        with pytest.raises(Invalid):
            await house.settle(one, worse)


class TestRaces:
    async def test_a_cancel_in_between_is_obeyed(self, house, engine):
        (one,) = await held(house)
        assert await cancel(engine, one.run.id, "ann") == "cancelling"
        assert await house.settle(one) is FRESH
        assert (await house.run(one.run.id)).state is State.CANCELLED

    async def test_a_report_in_between_loses_nothing(self, house, engine):
        (one,) = await held(house)
        assert await report(engine, [Progress(one.run.fence, START_AT + 3, "half")], []) == [FRESH]
        assert await house.settle(one) is FRESH
        after = await house.run(one.run.id)
        assert (after.state, after.started_at, after.progress) == (State.SUCCESS, START_AT + 3, "half")

    async def test_a_run_that_changes_all_the_time_is_given_back_to_the_caller(self, house, engine):
        (one,) = await held(house)
        original, calls = house.store.commit, []

        async def commit(groups, guard=None, hints=()):
            house.store.commit = original
            calls.append(1)
            await report(engine, [Progress(one.run.fence, None, f"step {len(calls)}")], [])
            if len(calls) < TRIES:
                house.store.commit = commit
            return await original(groups, guard, hints)

        house.store.commit = commit
        with pytest.raises(Unavailable, match="send the same settlements again"):
            await house.settle(one)
        assert len(calls) == TRIES
        assert await house.settle(one) is FRESH

    async def test_the_last_try_counts(self, house, engine):
        (one,) = await held(house)
        original, calls = house.store.commit, []

        async def commit(groups, guard=None, hints=()):
            house.store.commit = original
            calls.append(1)
            if len(calls) < TRIES:
                await report(engine, [Progress(one.run.fence, None, f"step {len(calls)}")], [])
                house.store.commit = commit
            return await original(groups, guard, hints)

        house.store.commit = commit
        assert await house.settle(one) is FRESH

    async def test_under_a_closed_session_the_fence_alone_decides(self, house, engine):
        (one,) = await held(house)
        await leave(engine, "session-1", "bye")
        assert await house.settle(one) is FRESH


class TestLostReplies:
    async def test_one_is_resent_and_counted_once(self, house):
        (one,) = await held(house)
        house.store.plan = at(len(house.store.calls) + 1, LOST_REPLY)
        assert await house.settle(one) is FRESH
        assert [(cell.outcome, cell.count) for cell in await house.all(Tally)] == [("success", 1)]

    @pytest.mark.parametrize("outcome", [SUCCESS, FAILURE, Outcome(End.SUCCESS, result=b"9" * 9_000)])
    async def test_two_are_told_and_the_same_report_is_known_then(self, house, outcome):
        (one,) = await held(house)
        first = len(house.store.calls) + 1
        house.store.plan = lambda call: LOST_REPLY if call.number in (first, first + 1) else NO_FAULT
        with pytest.raises(Unclear):
            await house.settle(one, outcome)
        after = await house.run(one.run.id)
        house.clock.advance(1)
        assert await house.settle(one, outcome) is ALREADY
        assert await house.run(one.run.id) == after

    async def test_tallies_are_exact_whatever_is_lost_refused_or_resent(self, house, engine):
        batch = list(await held(house, 40))
        for number in range(12):
            plan = at(len(house.store.calls) + 1, (LOST_REPLY, UNAVAILABLE, NO_FAULT)[number % 3])
            house.store.plan = plan
            for _ in range(3):
                try:
                    await settle(engine, ends(batch[number : number + 20]))
                    break
                except Unavailable:
                    continue
        assert sum(cell.count for cell in await house.all(Tally)) == 31
        assert await house.store.count(Run, "state") == {"success": 31, "running": 9}


class TestCounting:
    async def test_an_end_is_counted_with_its_duration_and_worker(self, house):
        (one,) = await held(house)
        house.clock.advance(700)
        await house.settle(one, SUCCESS._replace(started_at=START_AT + 100))
        (cell,) = await house.all(Tally)
        minute = START_AT // 60_000 * 60_000
        assert cell == Tally(minute, "main", "task-1", "default", "success", 1_000, "worker-1", 1, 600)

    async def test_a_clock_ahead_of_ours_makes_no_negative_time(self, house):
        (one,) = await held(house)
        await house.settle(one, SUCCESS._replace(started_at=START_AT + 90_000))
        (cell,) = await house.all(Tally)
        assert (cell.bucket, cell.total_ms) == (1, 0)

    async def test_a_cancel_while_it_waits_for_the_next_try_counts_no_time(self, house, engine):
        (one,) = await held(house)
        await house.settle(one, FAILURE._replace(started_at=START_AT))
        house.clock.advance(40)
        await cancel(engine, one.run.id, "ann")
        (cell,) = await house.all(Tally)
        assert (cell.outcome, cell.bucket, cell.total_ms, cell.node) == ("cancelled", 0, 0, "")

    async def test_what_goes_on_is_not_counted(self, house):
        for outcome in (FAILURE, Outcome(End.SNOOZE, delay_ms=5), Outcome(End.RETURNED)):
            (one,) = await held(house)
            await house.settle(one, outcome)
        assert await house.all(Tally) == []

    @pytest.mark.parametrize("order", [1, -1])
    async def test_a_key_that_passed_on_is_freed_beside_a_late_report_of_its_former_run(
        self, house, engine, order, monkeypatch
    ):
        commit, freed = engine.store.commit, []

        async def noting(groups, *more):
            freed.append([change.was.record.run for group in groups for change in group.changes if change.now is None])
            return await commit(groups, *more)

        (late,) = await held(house, unique="u")
        await house.settle(late)
        house.clock.advance(1)
        (newer,) = await held(house, unique="u")
        monkeypatch.setattr(engine.store, "commit", noting)
        assert await settle(engine, ends([late, newer][::order])) == [ALREADY, FRESH][::order]
        assert await house.all(Unique) == []
        assert freed == [[newer.run.id]]  # by its own run alone, in one commit

    async def test_keys_are_freed_with_the_end_and_not_before(self, house):
        (one,) = await held(house, unique="u")
        await house.settle(one, Outcome(End.RETURNED))
        assert len(await house.all(Unique)) == 1
        await house.settle(await house.claim_one())
        assert await house.all(Unique) == []


async def test_facts_tell_what_was_settled_and_hints_wake_whoever_waits(house, engine):
    batch = await held(house, 3)
    ear = house.store.watch(["done", "due", "lane:main/default/python/"])
    settlements = ends(batch)
    settlements[1] = settlements[1]._replace(outcome=FAILURE)
    settlements[2] = settlements[2]._replace(outcome=Outcome(End.RETURNED))
    await settle(engine, settlements)
    assert await ear.wait(0) == {"done": 1, "due": 1, "lane:main/default/python/": 1}
    (fact,) = house.facts.of(RunsSettled)
    assert sorted(run.state for run in fact.runs) == ["pending", "retrying", "success"]


class TestReport:
    async def test_news_are_kept_and_older_ones_not_forgotten(self, house, engine):
        (one,) = await held(house)
        fence = one.run.fence
        assert await report(engine, [Progress(fence, START_AT + 3)], []) == [FRESH]
        assert await report(engine, [Progress(fence, None, "half")], []) == [FRESH]
        assert await report(engine, [Progress(fence)], []) == [FRESH]
        after = await house.run(one.run.id)
        assert (after.started_at, after.progress, after.state) == (START_AT + 3, "half", State.RUNNING)

    async def test_several_of_one_attempt_in_a_call_become_one(self, house, engine):
        (one,) = await held(house)
        fence = one.run.fence
        news = [Progress(fence, START_AT + 3, "a"), Progress(fence, None, "b"), Progress(fence)]
        assert await report(engine, news, []) == [FRESH] * 3
        after = await house.run(one.run.id)
        assert (after.started_at, after.progress) == (START_AT + 3, "b")

    async def test_news_of_a_zombie_change_nothing_and_its_lines_are_dropped(self, house, engine):
        (zombie,) = await held(house)
        await house.settle(zombie, Outcome(End.LOST))
        (heir,) = await house.claim()
        lines = [
            Line(zombie.run.id, one.run.attempt, START_AT, "stdout", "", text)
            for one, text in ((zombie, "old"), (heir, "new"))
        ]
        news = [Progress(zombie.run.fence, 5, "old"), Progress(heir.run.fence, 7, "new")]
        assert await report(engine, news, [*lines, Line("0" * 32, 1, 0, "stdout", "", "unknown")]) == [STALE, FRESH]
        assert [line.text for line in (await engine.logs.search(Sought()))[0]] == ["new"]
        after = await house.run(heir.run.id)
        assert (after.started_at, after.progress) == (7, "new")

    async def test_news_change_nothing_of_a_run_that_moved_on(self, house, engine):
        (zombie,) = await held(house)
        await house.settle(zombie, Outcome(End.LOST))
        for _ in range(2):
            before = await house.run(zombie.run.id)
            assert await report(engine, [Progress(zombie.run.fence, 5, "old")], []) == [STALE]
            assert await house.run(zombie.run.id) == before
            await house.claim()

    async def test_news_outlive_a_cancel_in_between(self, house, engine):
        (one,) = await held(house)
        original = house.store.commit

        async def commit(groups, guard=None, hints=()):
            house.store.commit = original
            await cancel(engine, one.run.id, "ann")
            return await original(groups, guard, hints)

        house.store.commit = commit
        assert await report(engine, [Progress(one.run.fence, 5, "half")], []) == [FRESH]
        after = await house.run(one.run.id)
        assert (after.cancel, after.started_at, after.progress) == ("ann", 5, "half")

    async def test_lines_of_a_zombie_are_dropped_while_nobody_has_its_run(self, house, engine):
        (zombie,) = await held(house)
        await house.settle(zombie, Outcome(End.LOST))
        await report(engine, [], [Line(zombie.run.id, 1, START_AT, "stdout", "", "old")])
        assert (await engine.logs.search(Sought()))[0] == []

    async def test_lines_that_come_after_the_end_are_kept(self, house, engine):
        (one,) = await held(house)
        await house.settle(one)
        late = Line(one.run.id, 1, START_AT, "stdout", "", "bye")
        assert await report(engine, [Progress(one.run.fence, 1, "x")], [late]) == [STALE]
        assert (await engine.logs.read(one.run.id))[0] == [late]

    async def test_nothing_to_say_writes_nothing(self, house, engine):
        before = len(house.store.calls)
        assert await report(engine, [], []) == []
        assert len(house.store.calls) == before
