"""What waits in a lane on etcd, by which keys it is found, and how much of them a claim looks at."""

import pytest

from rota.domain.records import Queue
from rota.domain.run import TERMINAL, Run, State
from rota.ports.store import APPLIED, Where
from rota.stores.etcd import claim
from rota.stores.etcd.keys import places
from rota.testing.clock import START_AT
from rota.testing.contracts.store.steps import NOW, drain, eventually, everything, ids, new, want
from rota.testing.factories import make_run, make_session
from tests.unit.stores.files import put, reached


async def test_a_late_run_of_high_priority_is_seen_soon_in_a_long_queue(prefix, monkeypatch):
    monkeypatch.setattr(claim, "MANY", 20)
    monkeypatch.setattr(claim, "MARK_S", 0.2)
    async with reached(prefix) as store:
        runs = [make_run(number) for number in range(100)]
        await store.commit([new(make_session(1)), *map(new, runs)])
        given = []
        for _ in range(4):
            (got,) = await store.claim([want(limit=10)], NOW)
            given += [one.record.id for one in got.runs]
        assert given == [run.id for run in runs[:40]]
        late = make_run(1_000, priority=3, rank=1)
        assert await put(store, late) == [APPLIED]

        async def next_one():
            (got,) = await store.claim([want(limit=1)], NOW)
            given.extend(one.record.id for one in got.runs)
            return given[-1]

        assert await eventually(store, next_one, lambda of: of == late.id, 5)
        given += await drain(store)
        assert sorted(given) == sorted([late.id, *(run.id for run in runs)])


async def test_a_look_that_nobody_had_use_for_is_made_again(prefix, monkeypatch):
    moment = 0.0
    monkeypatch.setattr(claim, "monotonic", lambda: moment)
    monkeypatch.setattr(claim, "MANY", 20)
    async with reached(prefix) as store:
        await store.commit([new(make_session(1)), *(new(make_run(number)) for number in range(100))])
        for _ in range(4):
            await store.claim([want(limit=10)], NOW)
        late = make_run(1_000, priority=3, rank=1)
        assert await put(store, late) == [APPLIED]
        moment += 2 * claim.MARK_S
        (got,) = await store.claim([want(limit=1)._replace(session="gone")], NOW)
        assert (got.runs, got.open) == ((), False)
        (got,) = await store.claim([want(limit=1)], NOW)
        assert [one.record.id for one in got.runs] == [late.id]


async def test_a_lane_that_is_known_to_be_long_is_seldom_looked_through_to_its_end(prefix, monkeypatch):
    monkeypatch.setattr(claim, "MANY", 30)
    monkeypatch.setattr(claim, "MARK_S", 60.0)
    async with reached(prefix) as store:
        ranks = [START_AT + 10 * number for number in range(60)] + [START_AT + 10**8 + number for number in range(20)]
        runs = [make_run(number, rank=rank) for number, rank in enumerate(ranks)]
        await store.commit([new(make_session(1)), *map(new, runs)])
        late = make_run(1_000, rank=1)
        real, given = store._link.ask, []
        asked: list[bytes] = []
        between = store._claimer._between
        (lane,) = want().lanes

        async def ask(ranges):
            asked.extend(one.end for one in ranges)
            return await real(ranges)

        monkeypatch.setattr(store._link, "ask", ask)
        opened = []
        for number in range(17):
            if number == 10:
                assert await put(store, late) == [APPLIED]
            asked.clear()
            (got,) = await store.claim([want(limit=5)], NOW)
            given += [one.record.id for one in got.runs]
            opened += [number] * asked.count(between(lane, 0, claim.END, 1).end)
        # At first, from the one heap to the other, and where too little is left.
        assert opened == [0, 12, 16]
        assert given == [run.id for run in (*runs[:60], late, *runs[60:])]


@pytest.mark.parametrize("state", State)
def test_a_run_is_found_by_three_keys(state):
    clocks = {State.SCHEDULED: "due_at", State.RETRYING: "due_at", State.RUNNING: "due_at"}
    clocks |= dict.fromkeys(TERMINAL, "ended_at")
    run = make_run(1, state=state, session="s", **({clocks[state]: NOW} if state in clocks else {}))
    assert len(places(run)) == (2 if state is State.BLOCKED else 3)
    assert len(places(run._replace(schedule="nightly", due_at=NOW))) <= 5


async def test_a_queue_that_is_paused_while_claimed_gives_nothing_and_keeps_nothing_of_others(prefix):
    runs = [make_run(1), make_run(2, queue="other")]
    async with reached(prefix) as store:
        await put(store, make_session(1), *runs)
        ask = store._link.ask

        async def late(ranges):
            found = await ask(ranges)
            store._link.ask = ask
            await put(store, Queue("main", "default", paused="ann"))
            return found

        store._link.ask = late
        (got,) = await store.claim([want(lanes=tuple(run.lane for run in runs))], NOW)
        assert (ids(got), got.contended, got.open) == ([runs[1].id], True, True)
        assert await everything(store, Run, Where(states=(State.PENDING,))) == runs[:1]
