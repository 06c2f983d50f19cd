"""Opening, closing, and calls from several threads at once."""

# ruff: noqa: S101 - a contract asserts

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from rota.domain.records import Unique, Until
from rota.domain.run import Run
from rota.ports.store import Change, Group, Store
from rota.testing.contracts.store.steps import change, claim, everything, held, ids, put
from rota.testing.factories import make_run, make_schedule, make_session

THREADS = 4


async def in_threads(number: int, work: Callable[[int], Coroutine[Any, Any, None]]) -> None:
    """The same work so many times at once, each in a thread and loop of its own."""
    await asyncio.gather(*(asyncio.to_thread(asyncio.run, work(one)) for one in range(number)))


class Life:
    """A store as an object: harmless to close, safe to share."""

    async def test_closing_twice_is_harmless(self, store: Store) -> None:
        await put(store, make_run(1))
        await store.close()
        await store.close()

    async def test_a_caller_who_gives_up_breaks_nothing(self, store: Store) -> None:
        pairs = [(make_run(number), Unique(f"main/unique/{number}", "", "", Until.TERMINAL)) for number in range(60)]
        groups = [Group((Change(None, run), Change(None, key))) for run, key in pairs]
        calls = [asyncio.ensure_future(store.commit([group])) for group in groups]
        for number, call in enumerate(calls):
            if number % 3 == 0:
                call.cancel()
            elif number % 3 == 1:
                await call
                calls[number - 1].cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        await put(store, make_run(1_000))
        runs = {run.id for run in await everything(store, Run)}
        keys = {unique.id for unique in await everything(store, Unique)}
        for (run, key), answer in zip(pairs, answers, strict=True):
            assert (run.id in runs) == (key.id in keys)
            assert run.id in runs or isinstance(answer, asyncio.CancelledError)

    async def test_threads_may_share_a_store(self, store: Store) -> None:
        await put(store, make_session(1), make_schedule(1), *(make_run(number) for number in range(100)))
        given: list[str] = []

        async def work(number: int) -> None:
            while (got := await claim(store, limit=3)).runs or got.contended:
                given.extend(ids(got))
            await put(store, *(make_run(1_000 * (number + 1) + n, queue="other") for n in range(10)))
            for _ in range(10):
                await raise_count(store)

        await in_threads(THREADS, work)
        assert sorted(given) == [make_run(number).id for number in range(100)]
        assert len(await everything(store, Run)) == 100 + THREADS * 10
        assert (await held(store, make_schedule(1))).record.fired == THREADS * 10


async def raise_count(store: Store) -> None:
    """Raise the `fired` of the first schedule by one, tried again whenever another was faster."""
    while True:
        was = await held(store, make_schedule(1))
        if await change(store, was, replace(was.record, fired=was.record.fired + 1)) == "Applied":
            return
