"""`lead`: at most one holder, and numbers that only rise. The guards: nobody writes whose time is over.

A holder's name is that of one process life, so the same name means the same process.
"""

from collections.abc import Awaitable

import pytest

from rota.domain.errors import Stale
from rota.domain.records import Tally
from rota.domain.run import Run
from rota.ports.store import APPLIED, Hint, Lead, Store, Term
from rota.testing.contracts.store.steps import FOREVER_MS, TALLY, eventually, everything, new
from rota.testing.factories import make_run

STORY = [
    ("b", 0, ""),  # resigning what is not held is harmless
    ("a", FOREVER_MS, "a"),  # a free term is taken
    ("a", FOREVER_MS, "a"),  # a held one is kept
    ("b", FOREVER_MS, "a"),  # others are told the holder, and asking in vain changes nothing
    ("b", 1, "a"),
    ("b", 0, "a"),
    ("a", FOREVER_MS, "a"),
    ("a", 0, ""),  # a resigned term is free at once
    ("a", FOREVER_MS, "a"),  # and is another one, even with the same holder
    ("a", 0, ""),
    ("b", FOREVER_MS, "b"),
    ("a", FOREVER_MS, "b"),
    ("b", 0, ""),
]
"""Who asks for how long, and who leads then."""


async def lead(store: Store, holder: str, ttl_ms: int = FOREVER_MS, name: str = "scheduler") -> Lead:
    return await store.lead(name, holder, ttl_ms)


class Terms:
    async def test_a_term_has_one_holder_and_each_new_one_a_higher_number(self, store: Store) -> None:
        another = await lead(store, "x", name="janitor")
        leader, number = "", 0
        for asker, ttl_ms, wanted in STORY * 10:
            answer = await lead(store, asker, ttl_ms)
            assert answer.mine == (asker == wanted)
            if wanted:
                assert answer.holder == wanted
                assert answer.number == number if leader == wanted else answer.number > number
                number = answer.number
            leader = wanted
        assert await lead(store, "x", name="janitor") == another

    async def test_a_term_lasts_as_long_as_its_holder_asked_last(self, store: Store) -> None:
        def b_leads(seconds: float) -> Awaitable[bool]:
            return eventually(store, lambda: lead(store, "b"), lambda answer: answer.mine, seconds)

        await lead(store, "a", 1)
        kept = await lead(store, "a")
        assert kept.mine
        assert not await b_leads(0.1)
        assert await lead(store, "a", 50) == kept
        assert await b_leads(10)
        second = await lead(store, "b")
        assert second.number > kept.number
        assert await lead(store, "a") == second._replace(mine=False)

    async def test_a_term_that_nobody_has_had_writes_nothing(self, store: Store) -> None:
        for _ in range(2):
            assert await lead(store, "a", 0) == Lead(0, "", False)
            with pytest.raises(Stale):
                await store.commit([new(make_run(1))], Term("scheduler", 0))
        assert await store.get(Run, [make_run(1).id]) == [None]

    async def test_who_writes_nothing_is_told_whether_the_term_holds(self, store: Store) -> None:
        first = Term("scheduler", (await lead(store, "a")).number)
        await store.commit([new(make_run(1))], hints=[Hint("due")])
        assert await store.commit([], first) == []
        await lead(store, "a", 0)
        second = Term("scheduler", (await lead(store, "b")).number)
        assert await store.commit([], second) == []
        with pytest.raises(Stale):
            await store.commit([], first)

    async def test_an_older_term_writes_nothing(self, store: Store) -> None:
        first = await lead(store, "a")
        for holder, ttl_ms in (("a", 0), ("b", FOREVER_MS), ("b", 0)):
            await lead(store, holder, ttl_ms)
        newest = (await lead(store, "a")).number
        groups = [new(make_run(number), tally=TALLY) for number in (1, 2)]
        never = Term("scheduler", newest + 1), Term("other", newest), Term("other", 1)
        for guard in (Term("scheduler", first.number), *never):
            with pytest.raises(Stale):
                await store.commit(groups, guard)
        assert await everything(store, Run) == []
        assert await everything(store, Tally) == []
        await lead(store, "a")
        assert await store.commit(groups, Term("scheduler", newest)) == [APPLIED] * 2
