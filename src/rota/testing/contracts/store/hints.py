"""`watch`: hints arrive as a rule. They may be lost, doubled or late, so every test offers a hint again and again."""

import asyncio
import operator
from functools import partial
from itertools import count

from rota.ports.store import Hint, Store, Watch
from rota.testing.contracts.store.steps import eventually, new
from rota.testing.factories import make_run

NUMBERS = count()


async def heard(sender: Store, ear: Watch, topic: str = "ready:a") -> bool:
    """Whether a hint about `topic` reaches the ear within some ten seconds of hinting.

    Where hints are only guessed, an ear for `ready:*` hears just that.
    """
    for _ in range(100):
        await sender.commit([new(make_run(next(NUMBERS)))], hints=[Hint("due", 5), Hint(topic), Hint(topic)])
        found = await ear.wait(0.1)
        if found.get(topic, 0) > 0 or any(one[-1] == "*" and topic.startswith(one[:-1]) for one in found):
            return True
    return False


class Hints:
    async def test_a_commit_wakes_who_waits(self, store: Store) -> None:
        ears = [store.watch(topics) for topics in (["ready:a"], ["ready:b", "ready:a"], ["ready:*"])]
        for ear in ears:
            assert await heard(store, ear)
            # One that just heard may still hear an echo.
            assert await eventually(store, partial(ear.wait, 0.05), operator.not_)
            assert await ear.wait(0) == {}
            if ear is ears[-1]:
                assert await heard(store, ear, "ready:main/default/python/")
                assert await heard(store, ear, "ready:")
            ear.close()
            ear.close()

    async def test_a_waiter_can_be_woken_from_another_thread(self, store: Store) -> None:
        ear = store.watch(["ready:a"])
        async with asyncio.timeout(10):
            waiting = asyncio.create_task(ear.wait(None))
            while not waiting.done():
                await asyncio.to_thread(ear.wake)
        assert await waiting == {}
        ear.close()
