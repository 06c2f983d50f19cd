import pytest

from rota.domain.errors import Stale
from rota.domain.records import Session
from rota.domain.run import LOST_LIMIT, End, Outcome, Reason, Run, State
from rota.domain.states import Verdict
from rota.domain.task import OnLost
from rota.engine.control import cancel, drain
from rota.engine.define import update_task
from rota.engine.engine import PAGE
from rota.engine.explain import explain_run
from rota.engine.recover import GAP, TICKS, Watch, open_sessions, recover
from rota.engine.report import report
from rota.engine.sessions import enter, leave
from rota.engine.submit import Order, submit
from rota.ports.desk import LEFT, Progress
from rota.ports.store import Change, Group
from rota.testing.factories import make_session
from tests.unit.engine.support import SUCCESS

TTL = 9_000
STEP = TTL // TICKS


@pytest.fixture(autouse=True)
async def ready(house):
    await house.task()
    await house.session(ttl_ms=TTL)


@pytest.fixture
def watch(engine):
    return Watch(engine)


async def looks(house, watch, steps, beat=False):
    """Looks at even steps; whether the session is still open after them."""
    for _ in range(steps):
        house.clock.advance(STEP)
        if beat:
            await house.store.beat(["session-1"])
        await watch.look(house.term)
    return (await house.get(Session, "session-1")).open


class TestWatch:
    async def test_a_session_lapses_after_a_whole_ttl_without_a_beat(self, house, watch):
        await watch.look(house.term)
        assert await looks(house, watch, TICKS - 1)
        assert not await looks(house, watch, 1)
        assert (await house.get(Session, "session-1")).reason == "lapsed: no beat for its whole ttl"

    async def test_the_time_before_the_first_look_does_not_count(self, house, watch):
        house.clock.advance(100 * TTL)
        await watch.look(house.term)
        assert await looks(house, watch, TICKS - 1)

    async def test_a_beating_session_never_lapses(self, house, watch):
        assert await looks(house, watch, 5 * TICKS, beat=True)

    async def test_a_single_beat_starts_the_ttl_anew(self, house, watch):
        await watch.look(house.term)
        await looks(house, watch, TICKS - 1)
        await looks(house, watch, 1, beat=True)
        assert await looks(house, watch, TICKS - 1)
        assert not await looks(house, watch, 1)

    async def test_a_gap_between_looks_starts_it_anew(self, house, watch):
        await watch.look(house.term)
        await looks(house, watch, TICKS - 1)
        house.clock.advance(TTL // GAP + 1)
        await watch.look(house.term)
        assert await looks(house, watch, TICKS - 1)
        assert not await looks(house, watch, 1)

    async def test_a_gap_of_a_third_does_not(self, house, watch):
        await watch.look(house.term)
        for _ in range(GAP):
            house.clock.advance(TTL // GAP)
            await watch.look(house.term)
        assert not (await house.get(Session, "session-1")).open

    async def test_it_vouches_for_who_was_heard_within_a_ttl(self, house, watch):
        await watch.look(house.term)
        assert not watch.vouched("session-1"), "it may have beaten long ago"
        await looks(house, watch, 1, beat=True)
        assert watch.vouched("session-1")
        house.clock.advance(TTL - 1)
        assert watch.vouched("session-1")
        house.clock.advance(1)
        assert not watch.vouched("session-1")
        assert not watch.vouched("session-2")

    async def test_a_new_term_has_its_own_watch(self, house, watch, engine):
        await watch.look(house.term)
        await looks(house, watch, TICKS - 1)
        await house.lead()
        other = Watch(engine)
        await other.look(house.term)
        assert await looks(house, other, TICKS - 1)

    async def test_a_store_that_pauses_for_a_minute_loses_nobody(self, house, watch, engine):
        """Neither beats nor looks come through; when it goes on, the leader looks before the workers beat."""
        for number in range(2, 12):
            await enter(engine, make_session(number, ttl_ms=TTL))
        everybody = [f"session-{number}" for number in range(1, 12)]
        for _ in range(3):
            await looks(house, watch, TICKS // 2)
            await house.store.beat(everybody)
            await looks(house, watch, TICKS // 2)
            house.clock.advance(60_000)
            await watch.look(house.term)
            await watch.look(house.term)
            await house.store.beat(everybody)
            await watch.look(house.term)
        assert len(await open_sessions(engine)) == 11

    async def test_a_slow_answer_proves_nothing_about_the_time_it_took(self, house, watch):
        """The counter may have been read long before the answer came."""
        await watch.look(house.term)
        await looks(house, watch, TICKS - 2)
        original = house.store.get

        async def get(kind, ids):
            found = await original(kind, ids)
            house.clock.advance(2 * STEP)
            return found

        house.store.get = get
        await watch.look(house.term)
        house.store.get = original
        assert (await house.get(Session, "session-1")).open
        assert not await looks(house, watch, 1)

    async def test_the_time_that_the_first_answer_took_does_not_count(self, house, watch):
        original = house.store.get

        async def get(kind, ids):
            house.clock.advance(TTL - STEP)
            return await original(kind, ids)

        house.store.get = get
        await watch.look(house.term)
        house.store.get = original
        assert await looks(house, watch, TICKS - 1)
        assert not await looks(house, watch, 1)

    async def test_a_gap_lasts_from_the_question_to_the_next_answer(self, house, watch):
        original, slow = house.store.get, 0

        async def get(kind, ids):
            found = await original(kind, ids)
            house.clock.advance(slow)
            return found

        house.store.get = get
        await watch.look(house.term)
        slow = TTL // GAP - 100
        for _ in range(6):
            house.clock.advance(TTL // GAP - slow)
            await watch.look(house.term)
        assert (await original(Session, ["session-1"]))[0].record.open

    async def test_the_wall_clock_has_no_say(self, house, watch):
        await watch.look(house.term)
        for _ in range(TICKS - 1):
            house.clock.jump(-5 * TTL)
            assert await looks(house, watch, 1)
            house.clock.jump(9 * TTL)
        assert not await looks(house, watch, 1)

    async def test_the_shortest_ttl_sets_the_pace(self, house, watch, engine):
        assert await watch.look(house.term) == STEP
        await enter(engine, make_session(2, ttl_ms=3_000))
        assert await watch.look(house.term) == 300
        await leave(engine, "session-1", "bye")
        await leave(engine, "session-2", "bye")
        assert await watch.look(house.term) == 1_000

    async def test_a_leader_of_the_past_closes_nobody(self, house, watch):
        old = house.term
        await watch.look(old)
        await looks(house, watch, TICKS - 1)
        await house.lead()
        house.clock.advance(STEP)
        with pytest.raises(Stale):
            await watch.look(old)
        assert (await house.get(Session, "session-1")).open

    async def test_many_that_lapse_at_once_are_closed_by_one_write_and_their_runs_taken_back_by_one(
        self, house, watch, engine
    ):
        for number in range(2, 42):
            await house.session(number, ttl_ms=TTL)
            await house.submit()
            await house.claim_one(number)
        await house.submit()
        await house.claim_one()
        await watch.look(house.term)
        await looks(house, watch, TICKS - 1, beat=True)
        await house.store.beat(["session-1"])
        reads, find = [], house.store.find

        def found(*given, **more):
            reads.append(given[0])
            return find(*given, **more)

        house.store.find = found
        writes = len(house.store.calls)
        house.clock.advance(STEP)
        await watch.look(house.term)
        assert await recover(engine, house.term) == 40
        assert (len(house.store.calls) - writes, len(reads)) == (2, 2)
        assert [session.id for session in await open_sessions(engine)] == ["session-1"]
        assert {run.session for run in await house.all(Run)} == {"", "session-1"}

    async def test_two_lives_of_one_worker_are_watched_apart(self, house, watch, engine):
        await enter(engine, make_session(2, worker="worker-1", ttl_ms=TTL))
        await watch.look(house.term)
        for _ in range(TICKS):
            await house.store.beat(["session-2"])
            await looks(house, watch, 1)
        assert [session.id for session in await open_sessions(engine)] == ["session-2"]


class TestRecover:
    async def test_what_a_closed_session_held_is_ready_for_others(self, house, engine):
        await house.session(2)
        run = await house.submit()
        zombie = await house.claim_one()
        assert await recover(engine, house.term) == 0
        await leave(engine, "session-1", "lapsed")
        assert await recover(engine, house.term) == 1
        back = await house.run(run.id)
        assert (back.state, back.reason, back.lost, back.tries) == (State.PENDING, Reason.LOST, 1, 0)
        assert (back.detail, back.error) == ("session session-1 ended", "its worker vanished or left")
        heir = await house.claim_one(session=2)
        assert heir.run.attempt == 2
        assert await house.settle(zombie) is Verdict.STALE
        assert await house.settle(heir) is Verdict.FRESH
        assert await recover(engine, house.term) == 0

    @pytest.mark.parametrize("on_lost", OnLost)
    async def test_what_its_worker_never_knew_of_goes_back_unburnt_when_that_leaves(self, house, engine, on_lost):
        await house.task(2, on_lost=on_lost)
        run = await house.submit("task-2")
        await house.claim_one()
        await leave(engine, "session-1", LEFT)
        assert await recover(engine, house.term) == 1
        back = await house.run(run.id)
        assert (back.state, back.reason, back.lost, back.tries) == (State.PENDING, Reason.RETURNED, 0, 0)

    async def test_what_began_is_lost_whatever_its_worker_says_of_its_end(self, house, engine):
        run = await house.submit()
        one = await house.claim_one()
        await report(engine, [Progress(one.run.fence, house.clock.now())], [])
        await leave(engine, "session-1", LEFT)
        assert await recover(engine, house.term) == 1
        assert (await house.run(run.id)).lost == 1

    async def test_a_settle_that_comes_first_counts(self, house, engine):
        await house.submit()
        one = await house.claim_one()
        await leave(engine, "session-1", "lapsed")
        assert await house.settle(one) is Verdict.FRESH
        assert await recover(engine, house.term) == 0
        assert (await house.run(one.run.id)).state is State.SUCCESS

    async def test_a_settle_in_between_wins(self, house, engine):
        await house.submit()
        one = await house.claim_one()
        await leave(engine, "session-1", "lapsed")
        original = house.store.commit

        async def commit(groups, guard=None, hints=()):
            house.store.commit = original
            await house.settle(one)
            return await original(groups, guard, hints)

        house.store.commit = commit
        await recover(engine, house.term)
        after = await house.run(one.run.id)
        assert (after.state, after.lost) == (State.SUCCESS, 0)

    async def test_what_must_not_run_twice_fails(self, house, engine):
        await update_task(engine, "main/task-1", {"on_lost": OnLost.FAIL}, "ann")
        run = await house.submit()
        await house.claim_one()
        await leave(engine, "session-1", "lapsed")
        await recover(engine, house.term)
        after = await house.run(run.id)
        assert (after.state, after.reason, after.attempt) == (State.FAILED, Reason.LOST, 1)

    async def test_a_cancelled_one_is_over(self, house, engine):
        run = await house.submit()
        await house.claim_one()
        await cancel(engine, run.id, "ann")
        await leave(engine, "session-1", "lapsed")
        await recover(engine, house.term)
        assert (await house.run(run.id)).state is State.CANCELLED

    async def test_a_poison_run_takes_at_most_four_workers_with_it(self, house, engine):
        run = await house.submit()
        for number in range(2, 10):
            await house.session(number)
            claimed = await house.claim(session=number)
            await leave(engine, f"session-{number}", "lapsed")
            await recover(engine, house.term)
            assert bool(claimed) == (number < LOST_LIMIT + 3)
        after = await house.run(run.id)
        assert (after.state, after.reason, after.attempt) == (State.FAILED, Reason.POISON, LOST_LIMIT + 1)
        assert (await explain_run(engine, run.id))[-1].endswith(
            f"{LOST_LIMIT} times, and its last try, alone in a process, was lost: its worker vanished or left"
        )

    async def test_works_from_the_runs_not_from_the_closing(self, house, engine):
        """A session that vanished altogether, as from an old backup."""
        await house.submit()
        await house.claim_one()
        held = (await house.store.get(Session, ["session-1"]))[0]
        await house.store.commit([Group((Change(held, None),))])
        assert await recover(engine, house.term) == 1

    async def test_takes_all_of_them(self, house, engine):
        await submit(engine, [Order("task-1")] * (PAGE + 7))
        await house.claim(limit=PAGE + 7)
        await leave(engine, "session-1", "lapsed")
        assert await recover(engine, house.term) == PAGE + 7
        assert await house.store.count(Run, "state") == {"pending": PAGE + 7}

    async def test_by_a_leader_of_the_past_changes_nothing(self, house, engine):
        await house.submit()
        one = await house.claim_one()
        await leave(engine, "session-1", "lapsed")
        old = house.term
        await house.lead()
        with pytest.raises(Stale):
            await recover(engine, old)
        assert await house.run(one.run.id) == one.run

    async def test_a_returned_run_counts_no_loss(self, house, engine):
        await house.submit()
        one = await house.claim_one()
        await house.settle(one, Outcome(End.RETURNED, reason="its worker was stopped"))
        await leave(engine, "session-1", "stopped")
        assert await recover(engine, house.term) == 0
        after = await house.run(one.run.id)
        assert (after.state, after.lost, after.tries) == (State.PENDING, 0, 0)


async def test_a_drained_session_still_settles(house, engine):
    await house.submit()
    one = await house.claim_one()
    drained = await drain(engine, "session-1", "ann")
    assert drained.draining
    assert (await house.store.beat(["session-1"]))[0].draining
    assert await house.settle(one, SUCCESS) is Verdict.FRESH
