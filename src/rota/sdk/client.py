"""The client: what a program asks of Rota. Async; `sdk.tasks` and `sdk.handle` add the synchronous twins."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from rota.domain.errors import Invalid, NotFound, Unavailable
from rota.domain.records import Blob
from rota.domain.run import TERMINAL, Run
from rota.engine.control import cancel
from rota.engine.engine import Engine
from rota.engine.submit import Order, Receipt, submit, submit_each
from rota.observe.traces import submission
from rota.ports.loops import Backoff
from rota.sdk.gather import Gather, tell

SCAN_S = 1.0
"""How long a waiter trusts that a hint will come."""
GONE = "the transaction that submitted it has not committed, or it ended and its retention time is over"
PLAIN = (Invalid, NotFound)
"""Errors of a submission before which nothing was written."""


Inside = Callable[[Engine, Any, Callable[[Engine], Coroutine[Any, Any, list[Receipt]]]], Awaitable[list[Receipt]]]
"""Does something with an engine in the transaction of a user's own connection."""


class Client:
    """Submissions, results and cancels over an engine; usable from several loops."""

    def __init__(self, engine: Engine, actor: str = "", inside: Inside | None = None, lead: str = "") -> None:
        """`lead`: what leads the command line to this store; empty: nothing is needed."""
        self.engine = engine
        self._lead = lead
        self.actor = actor
        self._inside = inside
        self._gathers: WeakKeyDictionary[asyncio.AbstractEventLoop, Gather[Order, Receipt]] = WeakKeyDictionary()
        self._waiters: WeakKeyDictionary[asyncio.AbstractEventLoop, Waiters] = WeakKeyDictionary()

    def look(self, what: str) -> str:
        """The command of `rota runs` by which people see that; empty where none can, as the store is in memory."""
        return "" if self.engine.store.shared else f"`rota runs {what}{self._lead}`"

    async def submit(self, order: Order, connection: Any = None) -> Receipt:
        """Submit one; calls that arrive together share a commit. With a connection as `submit_many`."""
        if connection is not None:
            return (await self.submit_many([order], connection))[0]
        loop = asyncio.get_running_loop()
        if loop not in self._gathers:
            self._gathers[loop] = Gather(lambda orders: submit_each(self.engine, self._mine(orders)), PLAIN)
        with submission(order.task) as trace:
            return await self._gathers[loop](order._replace(trace=trace) if trace else order)

    async def submit_many(self, orders: Sequence[Order], connection: Any = None) -> list[Receipt]:
        """Submit all, in commits of 1,000; none where one of them is invalid.

        With a user's own connection: in the transaction that is under way there, all or none.
        """
        with submission(orders[0].task if len(orders) == 1 else f"{len(orders)} runs") as trace:
            wanted = [order._replace(trace=trace) for order in self._mine(orders)]
            if connection is None:
                return await submit(self.engine, wanted)
            if self._inside is None:
                raise Invalid("connection", "this client knows no transactions but its own")
            return await self._inside(self.engine, connection, lambda engine: submit(engine, wanted))

    def _mine(self, orders: Sequence[Order]) -> list[Order]:
        return [order._replace(actor=order.actor or self.actor) for order in orders]

    async def run(self, run_id: str) -> Run:
        """The run as it is now. Raises `NotFound`."""
        found = (await self.engine.store.get(Run, [run_id]))[0]
        if found is None:
            raise NotFound("run", run_id, GONE)
        return found.record

    async def ended(self, run_id: str, timeout: float | None = None) -> Run:
        """The run once it has ended. Raises `TimeoutError` after `timeout` seconds, `Unavailable` if the store is away.

        With a timeout it outlasts a store that is away, and raises `Unavailable` only if it still is at the end. With
        one of 0 it looks once.
        """
        if timeout == 0 and (run := await self.run(run_id)).state in TERMINAL:
            return run
        waiters = self._waiters.setdefault(asyncio.get_running_loop(), Waiters(self.engine))
        limit, backoff = asyncio.timeout(timeout), Backoff("result", None)
        try:
            async with limit:
                while True:
                    try:
                        return await waiters.ended(run_id)
                    except Unavailable as error:
                        if timeout is None:
                            raise
                        await backoff.failed(error)
        except TimeoutError as error:
            if limit.expired():
                if waiters.trouble:
                    raise waiters.trouble from None
                asks = self.look(f"explain {run_id}")
                error.args = (f"run {run_id} has not ended in {timeout} s{asks and f'; {asks} says why'}",)
            raise

    async def result(self, run: Run) -> bytes | None:
        """JSON of an ended run's result, fetched where it is too large for the run's own record.

        Raises `NotFound` where it went with its run meanwhile.
        """
        if not run.spilled:
            return run.result
        found = (await self.engine.store.get(Blob, [f"{run.id}/result"]))[0]
        if found is None:
            raise NotFound("result", f"{run.id}/result", "its retention time is over")
        return found.record.data

    async def cancel(self, run_id: str) -> str:
        """`cancelled` or `cancelling`; see `engine.control.cancel`."""
        return await cancel(self.engine, run_id, self.actor or "program")


class Waiters:
    """All who wait for ends of runs on one loop share one ear and one read."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: dict[str, list[asyncio.Future[Run]]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._more = False
        self.trouble: Unavailable | None = None
        """Why the last look failed, if the store was away."""

    async def ended(self, run_id: str) -> Run:
        """The run once it has ended."""
        answer: asyncio.Future[Run] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(run_id, []).append(answer)
        self._more = True
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        try:
            return await answer
        finally:
            waiting = self._waiting.get(run_id, [])
            if answer in waiting:
                waiting.remove(answer)
                if not waiting:  # nobody looks for a run that nobody waits for any more
                    del self._waiting[run_id]

    async def _look(self) -> None:
        ear = self._engine.store.watch(["done"])
        try:
            while self._waiting:
                self._more = False
                await self._read()
                if self._waiting and not self._more:
                    await ear.wait(SCAN_S)
        except Exception as error:
            self.trouble = error if isinstance(error, Unavailable) else None
            for run_id in list(self._waiting):
                self._answer(run_id, error)
        finally:
            self._looking = None
            ear.close()

    async def _read(self) -> None:
        ids = list(self._waiting)
        runs = await self._engine.store.get(Run, ids)
        self.trouble = None
        for run_id, found in zip(ids, runs, strict=True):
            if found is None:
                self._answer(run_id, NotFound("run", run_id, GONE))
            elif found.record.state in TERMINAL:
                self._answer(run_id, found.record)

    def _answer(self, run_id: str, value: Run | Exception) -> None:
        for answer in self._waiting.pop(run_id, []):
            tell(answer, value)
