"""`lead`: at most one holder, and numbers that only rise."""

# ruff: noqa: S101 - a contract asserts

from rota.ports.store import Store
from rota.testing.contracts.store.steps import FOREVER_MS, eventually


class Terms:
    """Leadership by term. A holder's name is that of one process life, so the same name means the same process."""

    async def test_a_free_term_is_taken(self, store: Store) -> None:
        lead = await store.lead("scheduler", "a", FOREVER_MS)
        assert lead.mine
        assert lead.holder == "a"
        assert lead.number > 0

    async def test_a_held_term_is_kept_and_has_one_number(self, store: Store) -> None:
        first = await store.lead("scheduler", "a", FOREVER_MS)
        assert await store.lead("scheduler", "a", FOREVER_MS) == first

    async def test_others_are_told_the_holder(self, store: Store) -> None:
        first = await store.lead("scheduler", "a", FOREVER_MS)
        assert await store.lead("scheduler", "b", FOREVER_MS) == first._replace(mine=False)
        assert await store.lead("scheduler", "a", FOREVER_MS) == first

    async def test_asking_in_vain_neither_shortens_nor_ends_a_term(self, store: Store) -> None:
        first = await store.lead("scheduler", "a", FOREVER_MS)
        for ttl_ms in (FOREVER_MS, 1, 0):
            other = await store.lead("scheduler", "b", ttl_ms)
            assert (other.mine, other.number) == (False, first.number)
        assert (await store.lead("scheduler", "a", FOREVER_MS)) == first

    async def test_a_resigned_term_is_free_at_once(self, store: Store) -> None:
        first = await store.lead("scheduler", "a", FOREVER_MS)
        assert not (await store.lead("scheduler", "a", 0)).mine
        second = await store.lead("scheduler", "b", FOREVER_MS)
        assert second.mine
        assert second.number > first.number

    async def test_a_term_taken_again_after_resigning_is_a_new_one(self, store: Store) -> None:
        first = await store.lead("scheduler", "a", FOREVER_MS)
        await store.lead("scheduler", "a", 0)
        second = await store.lead("scheduler", "a", FOREVER_MS)
        assert second.mine
        assert second.number > first.number

    async def test_resigning_what_is_not_held_is_harmless(self, store: Store) -> None:
        assert not (await store.lead("scheduler", "a", 0)).mine
        assert (await store.lead("scheduler", "b", FOREVER_MS)).mine

    async def test_a_lapsed_term_goes_to_the_next_who_asks(self, store: Store) -> None:
        first = await store.lead("scheduler", "a", 50)

        async def taken() -> bool:
            return (await store.lead("scheduler", "b", FOREVER_MS)).mine

        assert await eventually(store, taken)
        second = await store.lead("scheduler", "b", FOREVER_MS)
        assert second.number > first.number
        assert await store.lead("scheduler", "a", FOREVER_MS) == second._replace(mine=False)

    async def test_keeping_a_term_prolongs_it(self, store: Store) -> None:
        first = await store.lead("scheduler", "a", 1)
        kept = await store.lead("scheduler", "a", FOREVER_MS)
        assert kept.mine
        assert kept.number >= first.number

        async def taken() -> bool:
            return (await store.lead("scheduler", "b", FOREVER_MS)).mine

        assert not await eventually(store, taken, seconds=0.1)

    async def test_names_are_apart(self, store: Store) -> None:
        await store.lead("scheduler", "a", FOREVER_MS)
        assert (await store.lead("janitor", "b", FOREVER_MS)).mine
        await store.lead("janitor", "b", 0)
        assert not (await store.lead("scheduler", "b", FOREVER_MS)).mine

    async def test_numbers_never_fall_and_name_one_holder_across_a_hundred_changes(self, store: Store) -> None:
        holders: dict[int, str] = {}
        last = 0
        for change in range(100):
            holder = "abc"[change * 7 % 3]
            lead = await store.lead("scheduler", holder, FOREVER_MS)
            assert lead.mine
            assert lead.number > last
            assert holders.setdefault(lead.number, holder) == holder
            last = lead.number
            await store.lead("scheduler", holder, 0)
        assert len(holders) == 100
