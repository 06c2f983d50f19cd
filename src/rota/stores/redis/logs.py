"""`RedisLogs`: captured lines, in a stream of each run. They go when their run is pruned."""

from collections.abc import Sequence
from typing import Any

import msgspec

from rota.ports.store import LINES_LIMIT, Line, Sought
from rota.stores.lines import line_fits, line_text
from rota.stores.redis.link import Link

STEP = 1_000
_DECODE = msgspec.json.Decoder(Line).decode


class RedisLogs:
    """A `rota.ports.store.Logs`. A position is the number of a line in the whole store."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def append(self, lines: Sequence[Line]) -> None:
        if lines:
            await self._link.run("append", {"lines": [(line.run, line_text(line)) for line in lines]}, writes=True)

    async def read(self, run: str, after: int = 0, limit: int = 500, text: str = "") -> tuple[list[Line], int]:
        found: list[tuple[int, Line]] = []
        at, sought = after, text.casefold()
        while len(found) < limit:
            step = STEP if text else limit
            some = await self._lines(run, at, step)
            found += [one for one in some if sought in one[1].text.casefold()]
            if len(some) < step:
                break
            at = some[-1][0]
        found = found[:limit]
        return [line for _, line in found], found[-1][0] if found else after

    async def search(self, sought: Sought, before: int = 0, limit: int = 100) -> tuple[list[Line], int]:
        found: list[Line] = []
        at = before
        for _ in range(LINES_LIMIT // STEP):
            some = await self._lines(sought.run, at, STEP, back=True)
            for at, line in some:
                if line_fits(line, sought):
                    found.append(line)
                    if len(found) == limit:
                        return found, at
            if len(some) < STEP:
                return found, 0
        return found, at

    async def _lines(self, run: str, at: int, limit: int, back: bool = False) -> list[tuple[int, Line]]:
        found: Any = iter(await self._link.run("lines", {"run": run, "at": at, "limit": limit, "back": back}))
        return [(int(place), _DECODE(text)) for place, text in zip(found, found, strict=True)]
