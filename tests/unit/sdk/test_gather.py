import asyncio
from collections.abc import Sequence

import pytest

from rota.domain.errors import Invalid, Refused, Unclear
from rota.sdk.gather import LIMIT, Gather


class Flushing:
    """Where a gather of a test sends to; it doubles numbers, and refuses some."""

    def __init__(self, error: type[Exception] = Invalid, bad: Sequence[int] = ()) -> None:
        self.batches: list[list[int]] = []
        self.bad = bad
        self.error = error
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.gather: Gather[int, int] = Gather(self.flush, (Invalid,))

    async def flush(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        await self.go_on.wait()
        if any(item in self.bad for item in items):
            raise self.error("item", "bad") if self.error is Invalid else self.error("bad")
        return [2 * item for item in items]


async def test_a_lone_call_waits_for_nothing():
    flushing = Flushing()
    assert await flushing.gather(1) == 2
    assert await flushing.gather(2) == 4
    assert flushing.batches == [[1], [2]]


async def test_calls_of_one_moment_travel_together():
    flushing = Flushing()
    assert await asyncio.gather(*map(flushing.gather, range(50))) == [2 * item for item in range(50)]
    assert flushing.batches == [list(range(50))]


async def test_what_comes_during_a_flush_goes_with_the_next():
    flushing = Flushing()
    flushing.go_on.clear()
    first = asyncio.ensure_future(flushing.gather(1))
    await until_flushed(flushing, 1)
    rest = [asyncio.ensure_future(flushing.gather(item)) for item in (2, 3, 4)]
    flushing.go_on.set()
    assert await asyncio.gather(first, *rest) == [2, 4, 6, 8]
    assert flushing.batches == [[1], [2, 3, 4]]


async def until_flushed(flushing: Flushing, number: int) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20):
        while len(flushing.batches) < number:
            turn = loop.create_future()
            loop.call_soon(turn.set_result, None)
            await turn


async def test_batches_are_bounded():
    flushing = Flushing()
    await asyncio.gather(*map(flushing.gather, range(2 * LIMIT + 1)))
    assert [len(batch) for batch in flushing.batches] == [LIMIT, LIMIT, 1]


async def test_a_bad_item_spoils_only_its_own_call():
    flushing = Flushing(bad=[2])
    answers = await asyncio.gather(*map(flushing.gather, range(5)), return_exceptions=True)
    assert [str(one) for one in answers] == ["0", "2", "item: bad", "6", "8"]
    assert flushing.batches == [[0, 1, 2, 3, 4], [0], [1], [2], [3], [4]]


@pytest.mark.parametrize("error", [Unclear, Refused, RuntimeError])
async def test_nothing_is_sent_twice_that_may_have_happened(error):
    flushing = Flushing(error, bad=[2])
    answers = await asyncio.gather(*map(flushing.gather, range(5)), return_exceptions=True)
    assert {type(one) for one in answers} == {error}
    assert len(flushing.batches) == 1


async def test_it_works_on_after_an_error():
    flushing = Flushing(RuntimeError, bad=[1])
    with pytest.raises(RuntimeError):
        await flushing.gather(1)
    assert await flushing.gather(2) == 4


async def test_who_is_cancelled_takes_nobody_along():
    flushing = Flushing()
    flushing.go_on.clear()
    calls = [asyncio.ensure_future(flushing.gather(item)) for item in range(3)]
    await until_flushed(flushing, 1)
    calls[1].cancel()
    flushing.go_on.set()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert answers[0::2] == [0, 4]
    assert isinstance(answers[1], asyncio.CancelledError)
    assert await flushing.gather(7) == 14
