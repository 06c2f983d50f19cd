"""Single calls that arrive together travel together.

What comes while a flush is under way goes with the next one. There is no timer: a lone call waits for nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

LIMIT = 1_000


def tell(answer: asyncio.Future[R], value: R | Exception) -> None:
    """Give a future its value or error, unless nobody waits for it any more."""
    if answer.done():
        return
    if isinstance(value, Exception):
        answer.set_exception(value)
    else:
        answer.set_result(value)


class Gather(Generic[T, R]):
    """Turns a call on many into a call on one. Belongs to the loop it is first used in.

    After an error of the kinds `harmless` each item goes again, alone, so that a bad one does not spoil the others'
    calls: they are the errors after which sending an item twice does it no more than once. Any other is everybody's.
    An error among the answers is that of its item alone.
    """

    def __init__(
        self, flush: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]], harmless: tuple[type[Exception], ...]
    ) -> None:
        self._flush = flush
        self._harmless = harmless
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def __call__(self, item: T) -> R:
        """The answer for this item. Raises what the flush raises for it."""
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:LIMIT], self._waiting[LIMIT:]
                await self._send(batch)
        finally:
            self._flushing = None

    async def _send(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        answers: Sequence[R | Exception]
        try:
            answers = await self._flush([item for item, _ in batch])
        except Exception as error:
            if len(batch) > 1 and isinstance(error, self._harmless):
                for one in batch:
                    await self._send([one])
                return
            answers = [error] * len(batch)
        for (_, answer), value in zip(batch, answers, strict=True):
            tell(answer, value)
