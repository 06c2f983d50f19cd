"""Many callers at once, on as many stores as the place allows (`stores`): the store alone keeps them apart."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import chain, count
from typing import Any

from rota.domain.errors import Stale
from rota.domain.records import Session, Tally, Unique, Until
from rota.domain.run import End, Outcome, Run
from rota.domain.schedule import Schedule
from rota.domain.states import Settle, advance
from rota.ports.store import APPLIED, Conflict, Guard, Store, Term, Versioned, Where
from rota.testing.contracts.store.steps import FOREVER_MS, NOW, TALLY, T, change, claim, drain, everything, new, put
from rota.testing.factories import make_run, make_schedule, make_session

CALLERS = 8


async def at_once(stores: Sequence[Store], work: Callable[[Store, int], Coroutine[Any, Any, T]]) -> list[T]:
    """What several callers get who do the same, spread over the stores, each in a thread and loop of its own."""
    calls = (work(stores[number % len(stores)], number) for number in range(CALLERS))
    return await asyncio.gather(*(asyncio.to_thread(asyncio.run, call) for call in calls))


async def nothing_after(stores: Sequence[Store], guard: Guard, end: Callable[[Store], Awaitable[object]]) -> None:
    """Nothing is written under a guard once its end is acknowledged, however many try."""
    numbers = count()

    async def work(store: Store, number: int) -> int:
        if number == 0:
            while not (await store.find(Run, limit=1)).items:
                pass
            await end(store)
            return len(await everything(store, Run))
        with suppress(Stale):
            while True:
                await change(store, None, make_run(next(numbers)), guard)
        return 0

    written = sum(await at_once(stores, work))
    assert len(await everything(stores[0], Run)) == written > 0


async def close(session: Versioned[Session], store: Store) -> None:
    assert await change(store, session, replace(session.record, closed_at=NOW)) == APPLIED


async def held_by(store: Store, session: str) -> list[str]:
    return [run.id for run in await everything(store, Run, Where(session=session))]


class Races:
    async def test_no_run_is_given_twice(self, stores: Sequence[Store]) -> None:
        runs = [make_run(number) for number in range(240)]
        await put(stores[0], *map(make_session, range(CALLERS)), *runs)
        given = await at_once(stores, lambda store, n: drain(store, f"session-{n}", limit=5, token=n))
        assert sorted(chain(*given)) == [run.id for run in runs]
        found = {(run.id, run.attempt, run.session, run.token) for run in await everything(stores[0], Run)}
        assert found == {(run, 1, f"session-{number}", number) for number in range(CALLERS) for run in given[number]}

    async def test_no_attempt_is_given_twice_though_runs_come_back(self, stores: Sequence[Store]) -> None:
        await put(stores[0], make_session(1), *map(make_run, range(6)))

        async def work(store: Store, number: int) -> list[tuple[str, int]]:
            fences: list[tuple[str, int]] = []
            for _ in range(15):
                for was in (await claim(store, limit=2, token=number)).runs:
                    fences.append((was.record.id, was.record.attempt))
                    back = advance(was.record, Settle(Outcome(End.RETURNED)), NOW)
                    assert await change(store, was, back) == APPLIED
            return fences

        fences = list(chain(*await at_once(stores, work)))
        last = {run.id: run.attempt for run in await everything(stores[0], Run)}
        assert sorted(fences) == sorted((run, n + 1) for run in last for n in range(last[run])) != []

    async def test_a_unique_key_has_one_owner(self, stores: Sequence[Store]) -> None:
        async def owner(key: str, store: Store, number: int) -> str:
            run = make_run(keys=(key,), id=f"{key}/{number}")
            (result,) = await store.commit([new(run, Unique(key, run.id, "", Until.TERMINAL))])
            return str(result.current[1].record.run) if isinstance(result, Conflict) and result.current[1] else run.id

        owners = [set(await at_once(stores, partial(owner, f"main/unique/{turn}"))) for turn in range(5)]
        assert [len(one) for one in owners] == [1] * 5
        assert {run.id for run in await everything(stores[0], Run)} == set(chain(*owners))

    async def test_no_change_is_lost(self, stores: Sequence[Store]) -> None:
        (first,) = await put(stores[0], make_schedule())

        async def work(store: Store, number: int) -> None:
            for turn in range(10):
                was: Any = first
                while await change(store, was, replace(was.record, fired=was.record.fired + 1)) != APPLIED:
                    (was,) = await store.get(Schedule, [first.record.id])
                assert await store.commit([new(make_run(100 * number + turn), tally=TALLY)]) == [APPLIED]

        await at_once(stores, work)
        assert [schedule.fired for schedule in await everything(stores[0], Schedule)] == [CALLERS * 10]
        cells = await everything(stores[0], Tally)
        assert cells == [TALLY._replace(count=CALLERS * 10, total_ms=CALLERS * 70)]

    async def test_a_session_holds_nothing_that_was_claimed_after_its_closing(self, stores: Sequence[Store]) -> None:
        async def work(session: Versioned[Session], store: Store, number: int) -> list[str]:
            if number:
                return await drain(store, session.record.id, limit=2)
            await close(session, store)
            return await held_by(store, session.record.id)

        for turn in range(4):
            session, *_ = await put(stores[0], make_session(turn), *(make_run(100 * turn + n) for n in range(60)))
            kept, *given = await at_once(stores, partial(work, session))
            assert sorted(await held_by(stores[-1], session.record.id)) == sorted(kept) == sorted(chain(*given))
            assert not (await claim(stores[0], session.record.id)).open

    async def test_a_term_writes_nothing_once_another_was_granted(self, stores: Sequence[Store]) -> None:
        first = await stores[0].lead("scheduler", "a", FOREVER_MS)

        async def end(store: Store) -> None:
            await store.lead("scheduler", "a", 0)
            assert (await store.lead("scheduler", "b", FOREVER_MS)).mine

        await nothing_after(stores, Term("scheduler", first.number), end)

    async def test_one_of_many_contenders_leads(self, stores: Sequence[Store]) -> None:
        last = 0
        for _ in range(10):
            leads = await at_once(stores, lambda store, n: store.lead("scheduler", f"holder-{n}", FOREVER_MS))
            mine = [lead for lead in leads if lead.mine]
            assert len(mine) == 1
            assert {lead[:2] for lead in leads} == {mine[0][:2]}
            assert mine[0].number > last
            last = mine[0].number
            await stores[0].lead("scheduler", mine[0].holder, 0)

    async def test_a_caller_who_gives_up_breaks_nothing(self, store: Store) -> None:
        pairs = [(make_run(number), Unique(f"main/unique/{number}", "", "", Until.TERMINAL)) for number in range(60)]
        calls = [asyncio.ensure_future(store.commit([new(*pair)])) for pair in pairs]
        for number, call in enumerate(calls):
            if number % 3 == 0:
                call.cancel()
            elif number % 3 == 1:
                await call
        answers = await asyncio.gather(*calls, return_exceptions=True)
        await put(store, make_run(1_000))
        runs = {run.id for run in await everything(store, Run)}
        keys = {unique.id for unique in await everything(store, Unique)}
        for (run, key), answer in zip(pairs, answers, strict=True):
            assert (run.id in runs) == (key.id in keys)
            assert run.id in runs or isinstance(answer, asyncio.CancelledError)
