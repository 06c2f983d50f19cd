"""Refusals in the audit: the first ones at once, under a flood so many in a span of time and the rest as a number."""

import asyncio
from collections import Counter
from dataclasses import replace

from rota.domain.errors import RotaError
from rota.domain.facts import Trouble
from rota.engine.audit import audited
from rota.engine.engine import Engine
from rota.ports.loops import wait_for_event
from rota.ports.store import Group

MOST, SPAN_S = 10, 10.0
Refusal = tuple[str, str, str]
"""Who, what, where from."""
OTHERS: Refusal = ("many", "many", "")


class Denials:
    """Gathers refusals and writes them down in the background."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._gathered: Counter[Refusal] = Counter()
        self._closing = asyncio.Event()
        self._telling: asyncio.Task[None] | None = None

    def __call__(self, actor: str, target: str, address: str) -> None:
        """Note one."""
        key = (actor, target, address)
        self._gathered[key if key in self._gathered or len(self._gathered) < MOST else OTHERS] += 1
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        while self._gathered:
            told, self._gathered = self._gathered, Counter()
            try:
                await self._engine.commit([self._entry(*one, times) for one, times in told.items()])
            except RotaError as error:
                self._engine.tell(Trouble("audit", error))
            await wait_for_event(self._closing, SPAN_S)

    def _entry(self, actor: str, target: str, address: str, times: int) -> Group:
        change = audited(self._engine, actor, "denied", target, None, {"times": times})
        return Group((change._replace(now=replace(change.now, origin=address)),))

    async def close(self) -> None:
        """Write the last ones."""
        self._closing.set()
        if self._telling:
            await self._telling
