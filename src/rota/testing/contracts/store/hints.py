"""`watch`: hints arrive as a rule. They may be lost, doubled or late, so every test offers a hint again and again."""

# ruff: noqa: S101 - a contract asserts

import asyncio

from rota.domain.run import Run
from rota.ports.store import Change, Group, Hint, Store, Watch
from rota.testing.contracts.store.steps import everything
from rota.testing.factories import make_run

TRIES = 100


async def heard(sender: Store, ear: Watch, topic: str = "ready:a", first: int = 1) -> bool:
    """Whether a hint about `topic` reaches the ear within some ten seconds of hinting."""
    for number in range(first, first + TRIES):
        await sender.commit([Group((Change(None, make_run(number)),))], hints=[Hint(topic)])
        if (await ear.wait(0.1)).get(topic, 0) > 0:
            return True
    return False


async def quiet(ear: Watch) -> bool:
    """Whether an ear falls silent; one that just heard may still hear an echo."""
    for _ in range(20):
        if not await ear.wait(0.05):
            return True
    return False


class Hints:
    """What an ear hears of its own store's commits."""

    async def test_a_commit_wakes_who_waits(self, store: Store) -> None:
        ear = store.watch(["ready:a"])
        assert await heard(store, ear)
        ear.close()

    async def test_a_hint_given_before_the_wait_is_heard(self, store: Store) -> None:
        ear = store.watch(["ready:a", "ready:b"])
        await store.commit([Group((Change(None, make_run(1_000)),))], hints=[Hint("ready:b", 3)])
        assert await heard(store, ear)
        ear.close()

    async def test_a_star_hears_all_that_starts_so(self, store: Store) -> None:
        ear = store.watch(["ready:*"])
        assert await heard(store, ear, "ready:main/default/python/")
        assert await heard(store, ear, "ready:", first=500)
        ear.close()

    async def test_every_ear_hears(self, store: Store) -> None:
        ears = [store.watch(["ready:a"]) for _ in range(3)]
        for first, ear in enumerate(ears):
            assert await heard(store, ear, first=1 + first * TRIES)
            ear.close()

    async def test_silence_ends_with_the_time_given(self, store: Store) -> None:
        ear = store.watch(["ready:a"])
        assert await ear.wait(0) == {}
        assert await ear.wait(0.02) == {}
        assert await heard(store, ear)
        assert await quiet(ear)
        ear.close()

    async def test_a_waiter_can_be_woken_from_another_thread(self, store: Store) -> None:
        ear = store.watch(["ready:a"])
        async with asyncio.timeout(10):
            waiting = asyncio.create_task(ear.wait(None))
            while not waiting.done():
                await asyncio.to_thread(ear.wake)
        assert await waiting == {}
        ear.close()

    async def test_closing_an_ear_twice_is_harmless(self, store: Store) -> None:
        ear, other = store.watch(["ready:a"]), store.watch(["ready:a"])
        ear.close()
        ear.close()
        assert await heard(store, other)
        other.close()

    async def test_a_commit_without_listeners_needs_none(self, store: Store) -> None:
        hints = [Hint("ready:a"), Hint("due", 5), Hint("ready:a")]
        await store.commit([Group((Change(None, make_run(1)),))], hints=hints)
        assert await everything(store, Run) == [make_run(1)]
