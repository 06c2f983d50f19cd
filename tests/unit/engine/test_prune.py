from dataclasses import replace

import pytest

from rota.domain.errors import Stale
from rota.domain.records import Audit, Blob, Load, Session, Tally, Unique
from rota.domain.run import End, Outcome, Run
from rota.domain.schedule import CatchUp, Overlap, Policy, Schedule, Skip, SkipReason
from rota.engine.control import cancel, retry
from rota.engine.define import delete_schedule, pause_schedule, resume_schedule
from rota.engine.prune import STEP, Retention, prune
from rota.engine.seal import seal
from rota.engine.sessions import beat, leave
from rota.engine.submit import KEY_MS, Order, submit
from rota.ports.store import Line, Sought, Where
from rota.testing.clock import START_AT
from rota.testing.faults import UNAVAILABLE, at
from tests.unit.engine.support import MINUTE

DAY = 86_400_000
WEEK = 7 * DAY
PLAIN = Retention()
LONG = Retention(runs_ms=1_000 * DAY, audit_ms=1_000 * DAY, tallies_ms=1_000 * DAY, sessions_ms=1_000 * DAY)


@pytest.fixture(autouse=True)
async def ready(house):
    await house.task()
    await house.session()


async def ended(house, count=1, **changes):
    receipts = await submit(house.engine, [Order("task-1", **changes) for _ in range(count)])
    for one in await house.claim(limit=count):
        await house.settle(one, Outcome(End.SUCCESS, result=b"9" * 5_000))
    return [receipt.id for receipt in receipts]


async def pruned(house, retention=PLAIN, counting=False):
    """All steps until nothing is left to go."""
    total = 0
    await seal(house.engine, house.term)
    while gone := await prune(house.engine, retention, house.term, counting):
        total += gone
    return total


class TestByAge:
    async def test_ended_runs_go_with_all_that_is_theirs_and_live_ones_stay(self, house, engine):
        (old,) = await ended(house, payload=b"9".rjust(5_000))
        live = await house.submit(payload=b"9".rjust(5_000), queue="other")
        await engine.logs.append([Line(run, 1, 0, "stdout", "", "hello") for run in (old, live.id)])
        house.clock.advance(WEEK)
        (young,) = await ended(house)
        await prune(engine, Retention(), house.term)
        assert await house.run(old) is not None
        house.clock.advance(1)
        assert await pruned(house) > 0
        assert {run.id for run in await house.all(Run)} == {live.id, young}
        assert {blob.id for blob in await house.all(Blob)} == {f"{live.id}/payload", f"{young}/result"}
        assert [line.run for line in (await engine.logs.search(Sought()))[0]] == [live.id]

    async def test_everything_else_goes_when_it_is_old_enough(self, house, engine):
        await ended(house, key="k")
        await beat(engine, "session-1", Load(1, 1, 0, 0, 9, 0))
        await leave(engine, "session-1", "bye")
        assert "session-1/load" in {one.id for one in await house.all(Blob)}
        assert [len(await house.all(kind)) for kind in (Unique, Session, Tally, Audit)] == [1, 1, 1, 1]
        for after, left in ((KEY_MS, [1, 1, 1, 1]), (1, [0, 0, 1, 1])):
            house.clock.advance(after)
            await pruned(house)
            assert [len(await house.all(kind)) for kind in (Unique, Session, Tally, Audit)] == left
        assert "session-1/load" not in {one.id for one in await house.all(Blob)}
        house.clock.advance(91 * DAY)
        await pruned(house)
        assert [len(await house.all(kind)) for kind in (Tally, Audit)] == [0, 1]
        house.clock.advance(300 * DAY)
        await pruned(house)
        assert await house.all(Audit) == []

    async def test_open_sessions_and_lasting_keys_stay(self, house):
        await house.submit(unique="u")
        house.clock.advance(1_000 * DAY)
        await pruned(house)
        assert len(await house.all(Session)) == len(await house.all(Unique)) == 1

    async def test_it_goes_in_small_steps(self, house, engine):
        for run in await submit(engine, [Order("task-1")] * (STEP + 3)):
            await cancel(engine, run.id, "ann")
        house.clock.advance(WEEK + 1)
        first = await prune(engine, Retention(), house.term)
        assert first < 2 * STEP
        assert len(await house.all(Run)) == 3
        await pruned(house)
        assert await house.all(Run) == []


class TestByNumber:
    async def test_the_newest_are_kept_exactly(self, house):
        runs = []
        for _ in range(5):
            runs += await ended(house, 4)
            house.clock.advance(10)
        retention = replace(LONG, runs=7)
        assert await pruned(house, retention) == 0
        await pruned(house, retention, counting=True)
        left = {run.id for run in await house.all(Run)}
        assert len(left) == 7
        assert set(runs[16:]) < left < set(runs[12:])

    async def test_a_clock_that_was_set_back_keeps_none_of_them(self, house):
        await ended(house, 12)
        house.clock.jump(-400 * DAY)
        assert await pruned(house, replace(LONG, runs=7), counting=True) == 5
        assert len(await house.all(Run)) == 7

    async def test_what_does_not_go_now_is_left_to_the_next_step(self, house, monkeypatch):
        """Not looked for again and again, once for each run that is too many."""
        await ended(house, 12)
        looks, find = [], house.store.find

        async def found(kind, where=Where(), *rest, **more):
            looks.append(kind)
            return await find(kind, where._replace(prefix="none") if where.ended_until else where, *rest, **more)

        monkeypatch.setattr(house.store, "find", found)
        assert await prune(house.engine, replace(LONG, runs=0), house.term, True) == 0
        assert looks.count(Run) == 2

    async def test_live_runs_do_not_count(self, house):
        await submit(house.engine, [Order("task-1")] * 9)
        await pruned(house, Retention(runs=1), counting=True)
        assert len(await house.all(Run)) == 9

    async def test_as_many_as_are_allowed_stay(self, house):
        await ended(house, 5)
        house.clock.advance(1)
        assert await pruned(house, Retention(runs=5), counting=True) == 0
        await pruned(house, Retention(runs=0), counting=True)
        assert await house.all(Run) == []


class TestAccounts:
    async def test_a_schedule_answers_only_for_what_comes_after_the_runs_that_went(self, house):
        await house.schedule()
        for _ in range(3):
            await house.fire(MINUTE)
            await house.settle(await house.claim_one())
        house.clock.advance(WEEK - MINUTE + 1)
        await pruned(house)
        schedule = await house.get(Schedule, "main/s")
        assert schedule.accounted_from == START_AT + 2 * MINUTE
        assert [run.nominal_at for run in await house.all(Run)] == [START_AT + 3 * MINUTE]

    async def test_by_the_newest_of_them_whatever_order_they_went_in(self, house, engine):
        """A retry by hand has the nominal time of its origin."""
        await house.schedule()
        for _ in range(2):
            await house.fire(MINUTE)
            await house.settle(await house.claim_one())
        await retry(engine, (await house.all(Run))[0].id, "ann")
        await house.settle(await house.claim_one())
        await pause_schedule(engine, "main/s", "", "ann")
        house.clock.advance(WEEK + 1)
        await pruned(house)
        assert (await house.get(Schedule, "main/s")).accounted_from == START_AT + 2 * MINUTE

    async def test_and_after_the_skips_that_went(self, house, engine):
        await house.schedule()
        await pause_schedule(engine, "main/s", "", "ann")
        house.clock.advance(3 * MINUTE)
        await resume_schedule(engine, "main/s", "ann")
        assert len(await house.all(Skip)) == 1
        house.clock.advance(WEEK)
        await pruned(house)
        assert len(await house.all(Skip)) == 1
        house.clock.advance(1)
        await pruned(house)
        assert await house.all(Skip) == []
        assert (await house.get(Schedule, "main/s")).accounted_from == START_AT + 3 * MINUTE

    async def test_a_range_of_skips_goes_when_its_last_occurrence_is_old_enough(self, house, engine):
        await house.schedule()
        await pause_schedule(engine, "main/s", "", "ann")
        house.clock.advance(8 * DAY)
        await resume_schedule(engine, "main/s", "ann")
        await pruned(house)
        (skip,) = await house.all(Skip)
        assert (skip.first_at, skip.reason) == (START_AT + MINUTE, SkipReason.PAUSED)
        house.clock.advance(WEEK + 1)
        await pruned(house)
        assert await house.all(Skip) == []

    @pytest.mark.parametrize("after", [0, 1])
    async def test_nothing_goes_for_which_somebody_still_answers(self, house, engine, after):
        """A fire in between changes the schedule, so that its account cannot be raised."""
        await house.schedule(policy=Policy(CatchUp.SKIP, overlap=Overlap.ALLOW))
        await house.fire(MINUTE)
        await house.settle(await house.claim_one())
        house.clock.advance(WEEK + 1)
        original, calls = house.store.commit, []

        async def commit(groups, guard=None, hints=()):
            calls.append(1)
            if len(calls) == 1 + after:
                house.store.commit = original
                await house.fire()
            return await original(groups, guard, hints)

        house.store.commit = commit
        await prune(engine, Retention(), house.term)
        schedule = await house.get(Schedule, "main/s")
        runs = [run.nominal_at for run in await house.all(Run)]
        assert (START_AT + MINUTE in runs) == (schedule.accounted_from == START_AT)
        house.store.commit = original
        await pruned(house)
        assert (await house.get(Schedule, "main/s")).accounted_from >= START_AT + MINUTE

    async def test_a_crash_between_account_and_runs_loses_no_account(self, house, engine):
        await house.schedule()
        await house.fire(MINUTE)
        await house.settle(await house.claim_one())
        house.clock.advance(WEEK + 1)
        house.store.plan = at(len(house.store.calls) + 2, UNAVAILABLE)
        with pytest.raises(Exception, match="planned fault"):
            await prune(engine, Retention(), house.term)
        assert (await house.get(Schedule, "main/s")).accounted_from == START_AT + MINUTE
        assert len(await house.all(Run)) == 1
        await pruned(house)
        assert await house.all(Run) == []

    async def test_runs_of_a_schedule_that_is_gone_go_too(self, house, engine):
        await house.schedule()
        await house.fire(MINUTE)
        await house.settle(await house.claim_one())
        await delete_schedule(engine, "main/s", "ann")
        house.clock.advance(WEEK + 1)
        await pruned(house)
        assert await house.all(Run) == []


async def test_a_leader_of_the_past_prunes_nothing(house, engine):
    await ended(house)
    old = house.term
    await house.lead()
    house.clock.advance(WEEK + 1)
    with pytest.raises(Stale):
        await prune(engine, Retention(), old)
    assert len(await house.all(Run)) == 1


async def test_with_nothing_to_do_nothing_is_written(house, engine):
    before = len(house.store.calls)
    assert await prune(engine, LONG, house.term, counting=True) == 0
    assert len(house.store.calls) == before
