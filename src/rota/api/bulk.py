"""One act on many things: each has its own answer, and none stands in the way of the others."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from fastapi import Response

from rota.api.deps import Json
from rota.api.problems import detail_of, status_of
from rota.domain.errors import RotaError

AT_ONCE = 16
Act = Callable[[str], Awaitable[str | None]]
"""Does something with a thing of that name; its new state."""


async def each(ids: Sequence[str], act: Act, done: int = 200, after: str | None = None) -> Response:
    """What became of each: the status that it would have had alone, and its new state or its error."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> dict[str, object]:
        async with turns:
            try:
                return {"id": name, "status": done, "state": await act(name), "error": None}
            except RotaError as error:
                return {"id": name, "status": int(status_of(error)), "state": None, "error": detail_of(error)}

    return Json({"items": await asyncio.gather(*map(one, dict.fromkeys(ids))), "next": after})
