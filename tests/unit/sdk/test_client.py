"""Submitting and waiting over a real engine, from any number of loops."""

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest

from rota.domain.errors import Invalid, NotFound, Refused, Unavailable, Unclear
from rota.domain.run import SUCCESS, Run, State
from rota.domain.task import Task
from rota.engine.claim import claim
from rota.engine.define import create_task
from rota.engine.engine import Engine
from rota.engine.sessions import enter
from rota.engine.settle import settle
from rota.engine.submit import Order, Receipt
from rota.ports.desk import Settlement
from rota.ports.store import Want, Where
from rota.sdk.client import Client, Waiters
from rota.stores import connect
from rota.testing.clock import MovableClock, SeededChance
from rota.testing.factories import make_session
from rota.testing.faults import LOST_REPLY, NO_FAULT, UNAVAILABLE, FaultyStore

SESSION = make_session(1)


class Counting(FaultyStore):
    """Counts reads of runs, and can be listened to."""

    def __init__(self) -> None:
        super().__init__(connect("sqlite://"))
        self.reads: list[int] = []
        self.looked = asyncio.Event()

    async def get(self, kind, ids):
        if kind is Run:
            self.reads.append(len(ids))
            self.looked.set()
        return await super().get(kind, ids)

    async def read(self, times: int) -> None:
        """Until runs were read so often."""
        async with asyncio.timeout(20):
            while len(self.reads) < times:
                self.looked.clear()
                await self.looked.wait()


@pytest.fixture
async def store() -> AsyncIterator[Counting]:
    made = Counting()
    await made.open()
    yield made
    made.plan, made.down = lambda _: NO_FAULT, False
    await made.close()


@pytest.fixture
async def client(store: Counting) -> Client:
    engine = Engine(store, MovableClock(), SeededChance())
    await create_task(engine, Task("main", "report"), [], "test")
    await enter(engine, SESSION)
    store.calls.clear()
    return Client(engine, "tester")


async def work(client: Client, number: int = 1) -> None:
    """Claim and settle so many runs."""
    (taken,) = await claim(client.engine, [Want(SESSION.id, "w", 1, number, SESSION.lanes)])
    ends = [Settlement(one.run.fence, SUCCESS._replace(result=b"7"), one.held, one.task) for one in taken.assignments]
    await settle(client.engine, ends)


async def runs(store: FaultyStore) -> list[Run]:
    return [held.record for held in (await store.find(Run, Where(), limit=500)).items]


async def test_submissions_of_one_moment_share_a_commit(client: Client, store: Counting):
    receipts = await asyncio.gather(*(client.submit(Order("report")) for _ in range(100)))
    assert len({receipt.id for receipt in receipts}) == 100
    assert len(store.calls) == 1
    assert {run.actor for run in await runs(store)} == {"tester"}


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (Order("nowhere"), NotFound),
        (Order("report", queue=" "), Invalid),
        (Order("report", payload=b"x" * 300_000), Invalid),
    ],
)
async def test_a_bad_order_spoils_only_its_own_call(client: Client, store: Counting, bad, error):
    orders = [Order("report"), Order("report", unique="u"), bad, Order("report", key="k")]
    answers = await asyncio.gather(*map(client.submit, orders), return_exceptions=True)
    assert isinstance(answers[2], error)
    assert len(await runs(store)) == 3


async def test_a_refused_key_does_not_make_its_neighbours_look_old(client: Client):
    await client.submit(Order("report", key="mine"))
    orders = [Order("report", key="mine", payload=b"[1]"), Order("report", key="new")]
    answers = await asyncio.gather(*map(client.submit, orders), return_exceptions=True)
    assert isinstance(answers[0], Refused)
    assert isinstance(answers[1], Receipt)
    assert answers[1].created


async def test_a_refused_key_makes_no_second_run_of_its_neighbours(client: Client, store: Counting):
    """The others of its batch are submitted already when it is refused."""
    first = await client.submit(Order("report", key="mine"))
    orders = [Order("report"), Order("report", unique="u"), Order("report", key="other"), Order("report")]
    refused = client.submit(Order("report", key="mine", payload=b"[1]"))
    answers = await asyncio.gather(refused, *map(client.submit, orders), return_exceptions=True)
    assert isinstance(answers[0], Refused)
    receipts = [one for one in answers[1:] if not isinstance(one, BaseException)]
    assert {one.id for one in receipts} | {first.id} == {run.id for run in await runs(store)}
    assert len(receipts) == 4
    assert len(await runs(store)) == 5


@pytest.mark.parametrize("fault", [LOST_REPLY, UNAVAILABLE])
async def test_without_an_answer_nothing_is_sent_under_another_id(client: Client, store: Counting, fault):
    """M14: the engine has sent the same again already; who gets no answer then decides for itself."""
    store.plan = lambda _: fault
    answers = await asyncio.gather(*(client.submit(Order("report")) for _ in range(20)), return_exceptions=True)
    assert {type(one) for one in answers} == {Unclear if fault is LOST_REPLY else Unavailable}
    assert len(await runs(store)) == (20 if fault is LOST_REPLY else 0)


async def test_one_lost_reply_is_no_trouble(client: Client, store: Counting):
    store.plan = lambda call: LOST_REPLY if call.number == 1 else NO_FAULT
    receipts = await asyncio.gather(*(client.submit(Order("report")) for _ in range(20)))
    assert {one.id for one in receipts} == {run.id for run in await runs(store)}
    assert {one.created for one in receipts} == {True}


async def test_keys_in_one_batch_lead_to_one_run(client: Client, store: Counting):
    receipts = await asyncio.gather(*(client.submit(Order("report", key="k")) for _ in range(50)))
    assert len({one.id for one in receipts}) == 1
    assert sum(one.created for one in receipts) == 1
    receipts = await asyncio.gather(*(client.submit(Order("report", unique="u")) for _ in range(50)))
    assert len({one.id for one in receipts}) == 1
    assert len(await runs(store)) == 2


async def test_many_who_wait_for_many_runs_cost_one_read_a_hint(client: Client, store: Counting):
    receipts = await client.submit_many([Order("report")] * 30)
    waiting = [asyncio.create_task(client.ended(one.id, 20)) for one in receipts for _ in range(3)]
    await store.read(1)
    await work(client, 10)
    await store.read(2)
    await work(client, 20)
    ended = await asyncio.gather(*waiting)
    assert [run.id for run in ended] == [one.id for one in receipts for _ in range(3)]
    assert {run.state for run in ended} == {State.SUCCESS}
    assert store.reads == [30, 30, 20]


async def test_who_gives_up_waiting_is_no_longer_looked_for(client: Client, store: Counting):
    first, second = await client.submit_many([Order("report")] * 2)
    patient = asyncio.create_task(client.ended(second.id, 20))
    with pytest.raises(TimeoutError):
        await client.ended(first.id, 0.01)
    reads = len(store.reads)
    await work(client, 1)
    await store.read(reads + 1)
    await work(client, 1)
    assert (await patient).state is State.SUCCESS
    assert set(store.reads[reads:]) == {1}


async def test_one_of_several_who_gives_up_takes_nobody_along(client: Client, store: Counting):
    (receipt,) = await client.submit_many([Order("report")])
    waiting = [asyncio.create_task(client.ended(receipt.id, 20)) for _ in range(3)]
    await store.read(1)
    waiting[1].cancel()
    await work(client)
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in answers] == [Run, asyncio.CancelledError, Run]


async def test_an_ended_run_answers_at_once_and_an_unknown_one_is_not_found(client: Client, store: Counting):
    (receipt,) = await client.submit_many([Order("report")])
    await work(client)
    assert (await client.ended(receipt.id, 20)).state is State.SUCCESS
    for ask in (client.ended("0" * 32, 20), client.run("0" * 32)):
        with pytest.raises(NotFound, match="no run"):
            await ask


async def test_a_store_that_fails_is_told_to_all_who_wait_and_later_ones_are_served(client: Client, store: Counting):
    (receipt,) = await client.submit_many([Order("report")])
    store.down = True
    waiting = [client.ended(receipt.id, 0.3) for _ in range(3)]
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(one) for one in answers} == {Unavailable}
    store.down = False
    await work(client)
    assert (await client.ended(receipt.id, 20)).state is State.SUCCESS


async def test_without_hints_a_scan_is_enough(client: Client, store: Counting, monkeypatch):
    monkeypatch.setattr("rota.sdk.client.SCAN_S", 0.01)
    (receipt,) = await client.submit_many([Order("report")])
    deaf = store.watch([])
    monkeypatch.setattr(store, "watch", lambda _: deaf)
    waiting = asyncio.create_task(Waiters(client.engine).ended(receipt.id))
    await store.read(1)
    await work(client)
    async with asyncio.timeout(20):
        assert (await waiting).state is State.SUCCESS


def test_loops_that_are_over_are_forgotten(tmp_path):
    """A program may call asyncio.run as often as it likes."""

    async def once(client: Client | None) -> Client:
        store = connect(f"sqlite:///{tmp_path / 'rota.db'}")
        await store.open()
        made = client or Client(Engine(store, MovableClock(), SeededChance()))
        if client is None:
            await create_task(made.engine, Task("main", "report"), [], "test")
        made.engine.store = store
        receipt = await made.submit(Order("report"))
        with pytest.raises(TimeoutError):
            await made.ended(receipt.id, 0.001)
        await store.close()
        return made

    client = asyncio.run(once(None))
    for _ in range(5):
        asyncio.run(once(client))
    gc.collect()
    assert len(client._gathers) + len(client._waiters) <= 2
