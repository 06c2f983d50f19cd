from dataclasses import replace

import pytest

from rota.domain.errors import Invalid, NotFound, Refused, TooLarge, Unavailable, Unclear
from rota.domain.facts import RunsSubmitted
from rota.domain.priority import Priority, rank
from rota.domain.records import INLINE_LIMIT, VALUE_LIMIT, Blob, Unique
from rota.domain.retry import Retry
from rota.domain.run import Cause, Run, State
from rota.engine.control import cancel, order_queue
from rota.engine.query import run_detail
from rota.engine.submit import KEY_MS, Order, Receipt, submit, submit_each
from rota.ports.store import Change, Group, Want
from rota.testing.clock import START_AT
from rota.testing.faults import LOST_REPLY, UNAVAILABLE, at
from tests.unit.engine.support import clocks

DAY = 86_400_000


@pytest.fixture(autouse=True)
async def task(house):
    return await house.task(payload=b'{"who": "you"}', queue="mail", priority=Priority.HIGH)


class TestAnOrder:
    async def test_becomes_a_ready_run_of_the_task_as_it_is(self, house):
        run = await house.submit(actor="ann")
        assert (run.task, run.revision, run.queue, run.lane) == ("task-1", 1, "mail", "main/mail/python/")
        assert (run.state, run.priority, run.payload) == (State.PENDING, Priority.HIGH, b'{"who": "you"}')
        assert (run.cause, run.actor, run.created_at, run.ready_at) == (
            Cause.SUBMIT,
            "ann",
            START_AT,
            START_AT,
        )
        assert (run.timeout_ms, run.queue_ms, run.end_by, run.due_at) == (300_000, None, None, None)
        (fact,) = house.facts.of(RunsSubmitted)
        assert [one.id for one in fact.runs] == [run.id]

    async def test_may_say_otherwise(self, house):
        retry = Retry(retries=1)
        run = await house.submit(payload=b"[1]", queue="bulk", priority=0, retry=retry, timeout_ms=5)
        assert (run.payload, run.queue, run.lane, run.priority) == (b"[1]", "bulk", "main/bulk/python/", 0)
        assert (run.retry, run.timeout_ms) == (retry, 5)
        assert (await house.submit(timeout_ms=0)).timeout_ms is None

    async def test_for_later_is_scheduled(self, house):
        run = await house.submit(due_at=START_AT + 500)
        assert (run.state, run.due_at) == (State.SCHEDULED, START_AT + 500)
        assert (await house.submit(due_at=START_AT - 500)).state is State.PENDING

    async def test_takes_its_clocks_from_the_task(self, house):
        await house.task(2, **clocks(queue_ms=10, attempt_ms=20, total_ms=1_000))
        run = await house.submit("task-2")
        assert (run.queue_ms, run.timeout_ms, run.end_by, run.due_at) == (
            10,
            20,
            START_AT + 1_000,
            START_AT + 10,
        )
        later = await house.submit("task-2", due_at=START_AT + 300)
        assert later.end_by == START_AT + 1_300

    async def test_into_a_strict_queue_gets_an_endless_head_start(self, house, engine):
        await order_queue(engine, "main", "mail", True, "ann")
        assert (await house.submit()).rank == rank(START_AT, Priority.HIGH, strict=True)

    @pytest.mark.parametrize(
        "changes",
        [
            {"queue": "a b"},
            {"priority": 4},
            {"priority": -1},
            {"timeout_ms": -1},
            {"retry": Retry(retries=-1)},
            {"retry": Retry(jitter=float("nan"))},
            {"due_at": -1},
            {"due_at": START_AT - 60_001},
            {"payload": b"{"},
            {"payload": b'{"a": 1, "a": 2}'},
            {"payload": b"\xff"},
            {"payload": b"NaN"},
            {"payload": b'["\\ud800"]'},
            {"due_at": START_AT + 101 * 365 * DAY},
            {"key": " "},
            {"key": ""},
            {"unique": ""},
            {"queue": ""},
            {"unique": "x" * 513},
            {"key": "a\0"},
            {"actor": "a\0"},
            {"actor": "\ud800"},
        ],
    )
    async def test_that_makes_no_sense_is_refused_and_nothing_is_written(self, house, engine, changes):
        with pytest.raises(Invalid):
            await submit(engine, [Order("task-1"), Order("task-1", **changes)])
        assert await house.all(Run) == []

    async def test_of_an_unknown_task_is_refused_with_all_others(self, house, engine):
        with pytest.raises(NotFound, match="no task 'main/none'; see"):
            await submit(engine, [Order("task-1"), Order("none")])
        assert await house.all(Run) == []

    async def test_while_the_store_is_away_was_not_submitted(self, house):
        house.store.plan = at(len(house.store.calls) + 1, UNAVAILABLE)
        with pytest.raises(Unavailable):
            await house.receipt()
        assert await house.all(Run) == []


class TestPayloads:
    @pytest.mark.parametrize("size", [0, 1, INLINE_LIMIT, INLINE_LIMIT + 1, VALUE_LIMIT])
    async def test_of_any_size_up_to_the_limit_come_back(self, house, engine, size):
        payload = b'"' + b"x" * (size - 2) + b'"' if size > 1 else b"1" * size
        run = await house.submit(payload=payload)
        assert (run.payload is None) == (size > INLINE_LIMIT)
        assert (await run_detail(engine, run.id)).payload == (payload or b'{"who": "you"}')
        await house.session(lanes=("main/mail/python/",))
        assert len(await house.all(Blob)) == (size > INLINE_LIMIT)

    async def test_over_the_limit_are_refused_with_a_way_out(self, house):
        with pytest.raises(TooLarge, match="262145 bytes; the limit is 262144: pass a reference instead"):
            await house.receipt(payload=b"x" * (VALUE_LIMIT + 1))

    async def test_of_the_task_may_be_large_too(self, house, engine):
        await house.task(2, payload=b"9".rjust(10_000))
        runs = await submit(engine, [Order("task-2"), Order("task-2"), Order("task-2", payload=b"1")])
        assert [len((await run_detail(engine, one.id)).payload) for one in runs] == [10_000, 10_000, 1]


class TestMany:
    async def test_at_once_are_all_there_in_their_order(self, house, engine):
        orders = [Order("task-1", payload=b"%d" % number) for number in range(5_000)]
        receipts = await submit(engine, orders)
        assert all(receipt.created for receipt in receipts)
        assert len({receipt.id for receipt in receipts}) == 5_000
        assert [receipt.id for receipt in receipts] == sorted(receipt.id for receipt in receipts)
        ends = [receipts[0].id, receipts[999].id, receipts[1_000].id, receipts[-1].id]
        assert [(await house.run(one)).payload for one in ends] == [b"0", b"999", b"1000", b"4999"]
        assert await house.store.count(Run, "state") == {"pending": 5_000}

    async def test_of_nothing_is_nothing(self, engine):
        assert await submit(engine, []) == []

    async def test_with_one_key_are_one_run_in_a_few_commits(self, house, engine):
        before = len(house.store.calls)
        orders = [Order("task-1", unique=f"key {number % 10}") for number in range(5_000)]
        receipts = await submit(engine, orders)
        assert sum(receipt.created for receipt in receipts) == len({receipt.id for receipt in receipts}) == 10
        assert all(receipts[number].id == receipts[number % 10].id for number in range(5_000))
        assert len(house.store.calls) - before < 5


class TestIdempotencyKeys:
    async def test_lead_to_the_same_run(self, house):
        first = await house.receipt(key="k", payload=b"1", actor="ann")
        again = await house.receipt(key="k", payload=b"1", actor="ann")
        assert (first.created, again.created, again.id) == (True, False, first.id)

    async def test_belong_to_an_actor_and_a_namespace(self, house):
        await house.task(1, namespace="other")
        ids = {
            (await house.receipt(key="k", **changes)).id for changes in ({}, {"actor": "ann"}, {"namespace": "other"})
        }
        assert len(ids) == 3

    @pytest.mark.parametrize(
        "change",
        [
            {"task": "task-2"},
            {"payload": b"2"},
            {"queue": "b"},
            {"priority": 1},
            {"timeout_ms": 9},
            {"unique": "u"},
            {"retry": Retry()},
        ],
    )
    async def test_with_another_body_are_refused(self, house, change):
        await house.task(2)
        await house.receipt(key="k", payload=b"1")
        with pytest.raises(Refused, match="'k' came before with another body"):
            await house.receipt(key="k", **({"payload": b"1"} | change))
        assert len(await house.all(Run)) == 1

    async def test_refused_do_not_hinder_the_others_of_their_batch(self, house, engine):
        await house.receipt(key="k", payload=b"1")
        with pytest.raises(Refused):
            await submit(engine, [Order("task-1"), Order("task-1", key="k"), Order("task-1")])
        assert len(await house.all(Run)) == 3

    async def test_refused_are_told_apart_from_the_others_of_their_batch(self, house, engine):
        await house.receipt(key="k", payload=b"1")
        orders = [Order("task-1", key="a"), Order("task-1", key="k"), Order("task-1", key="b")]
        one, refused, two = await submit_each(engine, orders)
        assert isinstance(refused, Refused)
        assert all(isinstance(receipt, Receipt) and receipt.created for receipt in (one, two))
        with pytest.raises(Refused, match="order 2 of 3: idempotency key 'k' came before"):
            await submit(engine, orders)

    async def test_lapse_after_a_day(self, house):
        first = await house.receipt(key="k")
        house.clock.advance(KEY_MS - 1)
        assert (await house.receipt(key="k")).id == first.id
        house.clock.advance(1)
        second = await house.receipt(key="k", payload=b"2")
        assert second.created
        assert (await house.receipt(key="k", payload=b"2")).id == second.id

    async def test_lapsed_are_taken_once_by_a_batch(self, house, engine):
        await house.receipt(key="k")
        house.clock.advance(KEY_MS)
        receipts = await submit(engine, [Order("task-1", key="k")] * 3)
        assert [receipt.created for receipt in receipts] == [True, False, False]
        assert len({receipt.id for receipt in receipts}) == 1

    async def test_twice_in_a_batch_are_one_run(self, house, engine):
        one, other, two = await submit(engine, [Order("task-1", key="a"), Order("task-1", key="a"), Order("task-1")])
        assert one.id == other.id != two.id
        with pytest.raises(Refused):
            await submit(engine, [Order("task-1", key="b"), Order("task-1", key="b", payload=b"2")])
        assert len(await house.all(Run)) == 3

    async def test_outlive_their_run(self, house, engine):
        first = await house.receipt(key="k")
        await cancel(engine, first.id, "ann")
        assert (await house.receipt(key="k")).id == first.id


class TestUniqueKeys:
    async def test_lead_to_the_live_run_whatever_is_asked(self, house):
        first = await house.receipt(unique="u", payload=b"1")
        second = await house.receipt(unique="u", payload=b"2")
        assert (first.created, second) == (True, (first.id, False))

    async def test_are_free_again_when_the_run_ends(self, house, engine):
        first = await house.receipt(unique="u")
        await cancel(engine, first.id, "ann")
        assert await house.all(Unique) == []
        assert (await house.receipt(unique="u")).created

    async def test_hold_while_a_run_waits_to_be_tried_again(self, house):
        await house.session(lanes=("main/mail/python/",))
        first = await house.receipt(unique="u")
        assert (await house.receipt(unique="u")).id == first.id

    async def test_of_namespaces_are_apart(self, house):
        await house.task(1, namespace="other")
        assert (await house.receipt(unique="u")).id != (await house.receipt(unique="u", namespace="other")).id

    async def test_and_idempotency_keys_stay_true_together(self, house, engine):
        """The key remembers the run that the order was led to, also after that one has ended."""
        live = await house.receipt(unique="u")
        led = await house.receipt(unique="u", key="k")
        assert led == (live.id, False)
        await cancel(engine, live.id, "ann")
        assert await house.receipt(unique="u", key="k") == led
        with pytest.raises(Refused):
            await house.receipt(unique="u", key="k", payload=b"[2]")

    async def test_and_a_key_that_is_taken_in_between_lead_to_whoever_took_it(self, house, engine):
        await house.receipt(unique="u")
        original, calls = house.store.commit, []

        async def commit(groups, guard=None, hints=()):
            calls.append(1)
            if len(calls) == 2:
                house.store.commit = original
                other = house.another()
                house.clock.advance(1)
                await submit(other, [Order("task-1", unique="u", key="k")])
            return await original(groups, guard, hints)

        house.store.commit = commit
        receipt = await house.receipt(unique="u", key="k")
        assert [run.id for run in await house.all(Run)] == [receipt.id]

    async def test_and_a_key_that_is_taken_in_between_for_something_else_are_refused(self, house, engine):
        await house.receipt(unique="u")
        original, calls = house.store.commit, []

        async def commit(groups, guard=None, hints=()):
            calls.append(1)
            if len(calls) == 2:
                house.store.commit = original
                await submit(house.another(), [Order("task-1", key="k")])
            return await original(groups, guard, hints)

        house.store.commit = commit
        with pytest.raises(Refused, match="another body"):
            await house.receipt(unique="u", key="k")

    async def test_that_change_hands_all_the_time_are_given_up(self, house, engine):
        """Each time the key is met it has just lapsed, and somebody else takes it again at once."""
        await house.receipt(key="k")
        house.clock.advance(KEY_MS)
        original = house.store.commit

        async def commit(groups, guard=None, hints=()):
            results = await original(groups, guard, hints)
            if groups[0].changes[0].now is None:
                house.store.commit = original
                await house.receipt(key="k")
                await lapse()
                house.store.commit = commit
            return results

        async def lapse():
            (held,) = await house.store.get(Unique, [(await house.all(Unique))[0].id])
            await original([Group((Change(held, replace(held.record, expires_at=0)),))])

        house.store.commit = commit
        with pytest.raises(Refused, match="change hands too quickly"):
            await house.receipt(key="k")


class TestLostReplies:
    @pytest.mark.parametrize("key", [{}, {"key": "k"}, {"unique": "u"}, {"key": "k", "unique": "u"}])
    async def test_one_is_resent_and_makes_no_second_run(self, house, key):
        house.store.plan = at(len(house.store.calls) + 1, LOST_REPLY)
        receipt = await house.receipt(**key)
        assert receipt.created
        assert [run.id for run in await house.all(Run)] == [receipt.id]
        assert len(await house.all(Unique)) == len(key)

    async def test_two_are_told_and_asking_again_with_the_key_finds_the_run(self, house):
        first = len(house.store.calls) + 1
        house.store.plan = lambda call: LOST_REPLY if call.number in (first, first + 1) else at(0, LOST_REPLY)(call)
        with pytest.raises(Unclear):
            await house.receipt(key="k")
        receipt = await house.receipt(key="k")
        assert [run.id for run in await house.all(Run)] == [receipt.id]

    async def test_one_whose_run_moved_on_before_it_was_resent_is_known(self, house):
        await house.session(lanes=("main/mail/python/",))
        lost = len(house.store.calls) + 1
        house.store.plan = at(lost, LOST_REPLY)
        original = house.store.commit

        async def commit(groups, guard=None, hints=()):
            if len(house.store.calls) == lost:
                want = Want("session-1", "worker-1", 5, 1, ("main/mail/python/",))
                await house.store.claim([want], house.clock.now())
            return await original(groups, guard, hints)

        house.store.commit = commit
        receipt = await house.receipt()
        assert receipt.created
        assert [(run.id, run.state) for run in await house.all(Run)] == [(receipt.id, State.RUNNING)]

    async def test_keys_and_run_are_there_together_or_not_at_all(self, house):
        house.store.plan = at(len(house.store.calls) + 1, UNAVAILABLE)
        with pytest.raises(Unavailable):
            await house.receipt(key="k", unique="u", payload=b"9".rjust(5_000))
        assert await house.all(Run) == await house.all(Unique) == await house.all(Blob) == []

    async def test_to_what_follows_the_commit_do_not_say_that_nothing_was_submitted(self, house, engine):
        orders = [Order("task-1"), Order("task-1", unique="u"), Order("task-1", unique="u", key="k")]
        house.store.plan = at(len(house.store.calls) + 2, UNAVAILABLE)
        with pytest.raises(Unclear, match="2 of 3 runs"):
            await submit(engine, orders)
        made = {run.id for run in await house.all(Run)}
        assert len(made) == 2
        assert {run.id for fact in house.facts.of(RunsSubmitted) for run in fact.runs} == made

    async def test_of_a_batch_double_nothing(self, house, engine):
        house.store.plan = at(len(house.store.calls) + 2, LOST_REPLY)
        receipts = await submit(engine, [Order("task-1") for _ in range(2_500)])
        assert len({receipt.id for receipt in receipts}) == len(await house.all(Run)) == 2_500
