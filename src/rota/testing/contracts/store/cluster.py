"""Several stores on one place, as several processes have them: everything acknowledged by one counts for all."""

# ruff: noqa: S101 - a contract asserts

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import count

from rota.domain.errors import Stale, StoreError, Unclear
from rota.domain.records import Session, Tally, Unique, Until
from rota.domain.run import End, Outcome, Run
from rota.domain.states import Settle, advance
from rota.ports.store import Change, Conflict, Group, Guard, Lead, Open, Store, Term
from rota.testing.clock import START_AT
from rota.testing.contracts.store.hints import heard
from rota.testing.contracts.store.life import in_threads, raise_count
from rota.testing.contracts.store.steps import (
    FOREVER_MS,
    NOW,
    Place,
    change,
    claim,
    everything,
    held,
    ids,
    put,
    running,
    verdicts,
)
from rota.testing.factories import make_run, make_schedule, make_session

CLAIMERS = 8
STORES = 4


async def opened(place: Place, number: int = STORES) -> list[Store]:
    """So many stores on one place."""
    return [await place.open() for _ in range(number)]


async def at_once(stores: Sequence[Store], work: Callable[[Store, int], Awaitable[None]]) -> None:
    """The same work by several callers spread over the stores, each in a thread and loop of its own."""

    async def alone(number: int) -> None:
        await work(stores[number % len(stores)], number)

    await in_threads(CLAIMERS, alone)


class Cluster:
    """What several stores on one place owe each other."""

    async def test_what_one_acknowledged_all_see(self, place: Place) -> None:
        one, other = await opened(place, 2)
        for number in range(20):
            run = make_run(number, due_at=NOW)
            assert await change(one, None, run) == "Applied"
            assert await held(other, run) == await held(one, run)
            assert len(await everything(other, Run)) == number + 1
            assert len((await other.due(Run, NOW, 100)).items) == number + 1
            one, other = other, one

    async def test_what_is_acknowledged_outlives_the_store(self, place: Place) -> None:
        one = await place.open()
        tally = Tally(START_AT, "main", "report", "default", "success", 10, "node")
        await put(one, make_session(1), make_run(1))
        (was,) = (await claim(one)).runs
        ended = advance(was.record, Settle(Outcome(End.SUCCESS)), NOW)
        assert verdicts(await one.commit([Group((Change(was, ended),), tally)])) == ["Applied"]
        await one.lead("scheduler", "a", FOREVER_MS)
        await one.close()
        other = await place.open()
        assert (await held(other, ended)).record == ended
        assert await everything(other, Tally) == [tally]
        assert not (await other.lead("scheduler", "b", FOREVER_MS)).mine

    async def test_closing_loses_nothing_acknowledged(self, place: Place) -> None:
        one, other = await opened(place, 2)
        runs = [make_run(number) for number in range(40)]
        calls = [asyncio.ensure_future(change(one, None, run)) for run in runs]
        await calls[0]
        async with asyncio.timeout(30):
            await one.close()
            answers = await asyncio.gather(*calls, return_exceptions=True)
        found = {run.id for run in await everything(other, Run)}
        for run, answer in zip(runs, answers, strict=True):
            assert run.id in found if answer == "Applied" else isinstance(answer, StoreError | Unclear)

    async def test_a_record_made_anew_by_another_store_is_another_one(self, place: Place) -> None:
        one, other = await opened(place, 2)
        (first,) = await put(one, make_run(1))
        assert await change(other, first, None) == "Applied"
        await put(other, make_run(1))
        assert await change(one, first, first.record._replace(progress="late")) == "Conflict"

    async def test_no_run_is_given_twice(self, place: Place) -> None:
        stores = await opened(place)
        await put(stores[0], *(make_session(number) for number in range(CLAIMERS)))
        await put(stores[0], *(make_run(number) for number in range(240)))
        given: list[str] = []

        async def work(store: Store, number: int) -> None:
            while (got := await claim(store, f"session-{number}", limit=5, token=number)).runs or got.contended:
                given.extend(ids(got))

        await at_once(stores, work)
        assert sorted(given) == [make_run(number).id for number in range(240)]
        found = [run for number in range(CLAIMERS) for run in await running(stores[0], f"session-{number}")]
        assert len(found) == 240
        assert {run.attempt for run in found} == {1}
        assert all(run.session == f"session-{run.token}" for run in found)

    async def test_no_attempt_is_given_twice_though_runs_come_back(self, place: Place) -> None:
        stores = await opened(place)
        await put(stores[0], make_session(1), *(make_run(number) for number in range(6)))
        fences: list[tuple[str, int]] = []

        async def work(store: Store, number: int) -> None:
            for _ in range(15):
                for was in (await claim(store, limit=2, token=number)).runs:
                    fences.append((was.record.id, was.record.attempt))
                    back = advance(was.record, Settle(Outcome(End.RETURNED)), NOW)
                    assert await change(store, was, back) == "Applied"

        await at_once(stores, work)
        assert len(set(fences)) == len(fences) > 0
        for number in range(6):
            attempts = sorted(attempt for run, attempt in fences if run == make_run(number).id)
            assert attempts == list(range(1, len(attempts) + 1))

    async def test_a_unique_key_has_one_owner(self, place: Place) -> None:
        stores = await opened(place)
        for turn in range(5):
            await self._one_owner(stores, f"main/unique/{turn}", turn)
            assert len(await everything(stores[0], Run)) == turn + 1

    async def _one_owner(self, stores: Sequence[Store], key: str, turn: int) -> None:
        won: list[str] = []
        lost: list[str] = []

        async def work(store: Store, number: int) -> None:
            run = make_run(100 * turn + number, keys=(key,))
            unique = Unique(key, run.id, "", Until.TERMINAL)
            (result,) = await store.commit([Group((Change(None, run), Change(None, unique)))])
            if isinstance(result, Conflict):
                assert result.current[1] is not None
                lost.append(result.current[1].record.run)
            else:
                won.append(run.id)

        await at_once(stores, work)
        assert len(won) == 1
        assert lost == won * (CLAIMERS - 1)

    async def test_no_change_is_lost_between_stores(self, place: Place) -> None:
        stores = await opened(place)
        await put(stores[0], make_schedule(1))
        tally = Tally(START_AT, "main", "report", "default", "success", 10, "node", 1, 3)

        async def work(store: Store, number: int) -> None:
            for turn in range(10):
                await raise_count(store)
                await store.commit([Group((Change(None, make_run(100 * number + turn)),), tally)])

        await at_once(stores, work)
        assert (await held(stores[0], make_schedule(1))).record.fired == CLAIMERS * 10
        cells = await everything(stores[0], Tally)
        assert cells == [tally._replace(count=CLAIMERS * 10, total_ms=CLAIMERS * 30)]

    async def test_a_session_holds_nothing_that_was_claimed_after_its_closing(self, place: Place) -> None:
        """The promise: what a session holds once its closing is acknowledged never grows afterwards."""
        stores = await opened(place)
        for turn in range(4):
            await put(stores[0], make_session(turn), *(make_run(1_000 * turn + number) for number in range(60)))
            await self._closing_race(stores, f"session-{turn}")

    async def _closing_race(self, stores: Sequence[Store], session: str) -> None:
        kept: list[str] = []
        given: list[str] = []

        async def work(store: Store, number: int) -> None:
            if number == 0:
                await close(store, session)
                kept.extend(run.id for run in await running(store, session))
                return
            while (got := await claim(store, session, limit=2)).open and (got.runs or got.contended):
                given.extend(ids(got))

        await at_once(stores, work)
        assert sorted(run.id for run in await running(stores[1], session)) == sorted(kept) == sorted(given)
        assert not (await claim(stores[2], session)).open

    async def test_a_closed_session_writes_nothing_from_any_store(self, place: Place) -> None:
        stores = await opened(place)
        await put(stores[0], make_session(1))

        async def end(store: Store) -> None:
            await close(store, "session-1")

        await self._nothing_after(stores, Open("session-1"), end)

    async def test_a_term_writes_nothing_once_another_was_granted(self, place: Place) -> None:
        stores = await opened(place)
        lead = await stores[0].lead("scheduler", "a", FOREVER_MS)

        async def end(store: Store) -> None:
            await store.lead("scheduler", "a", 0)
            assert (await store.lead("scheduler", "b", FOREVER_MS)).mine

        await self._nothing_after(stores, Term("scheduler", lead.number), end)

    async def _nothing_after(
        self, stores: Sequence[Store], guard: Guard, end: Callable[[Store], Awaitable[None]]
    ) -> None:
        numbers = count(1)
        written: list[int] = []

        async def work(store: Store, number: int) -> None:
            if number == 0:
                while not (await store.find(Run, limit=1)).items:
                    pass
                await end(store)
                written.append(len(await everything(store, Run)))
                return
            try:
                while True:
                    await change(store, None, make_run(next(numbers)), guard)
            except Stale:
                return

        await at_once(stores, work)
        assert [len(await everything(stores[0], Run))] == written

    async def test_one_of_many_contenders_leads(self, place: Place) -> None:
        stores = await opened(place)
        last = 0
        for _ in range(10):
            leads: list[Lead] = []
            await at_once(stores, partial(self._contend, leads))
            winners = [lead for lead in leads if lead.mine]
            assert len(winners) == 1
            winner = winners[0]
            assert {(lead.number, lead.holder) for lead in leads} == {(winner.number, winner.holder)}
            assert winner.number > last
            last = winner.number
            await stores[0].lead("scheduler", winner.holder, 0)

    async def _contend(self, leads: list[Lead], store: Store, number: int) -> None:
        leads.append(await store.lead("scheduler", f"holder-{number}", FOREVER_MS))

    async def test_stores_wake_each_other(self, place: Place) -> None:
        one, other = await opened(place, 2)
        for sender, listener, first in ((one, other, 1), (other, one, 1_000)):
            ear = listener.watch(["ready:a"])
            assert await heard(sender, ear, first=first)
            ear.close()

    async def test_a_star_hears_other_stores_too(self, place: Place) -> None:
        one, other = await opened(place, 2)
        ear = other.watch(["ready:*"])
        assert await heard(one, ear)
        ear.close()


async def close(store: Store, session: str) -> None:
    """Close a session as the product does: from what is held."""
    (was,) = await store.get(Session, [session])
    assert was is not None
    assert await change(store, was, make_session(1, id=session, worker=was.record.worker, closed_at=NOW)) == "Applied"
