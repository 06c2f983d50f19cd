"""Things by what a request calls them: the one of a path, or many of a body, each as far as the asker may."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import Request, Response

from rota.api.asked import Asked, scope
from rota.api.deps import Here, Json, Name, Namespace
from rota.api.problems import detail_of, status_of
from rota.api.schemas.bodies import Names
from rota.domain.errors import NotFound, RotaError
from rota.domain.ids import definition_id
from rota.engine.engine import Engine

AT_ONCE = 16
Act = Callable[[str], Awaitable[str | None]]
"""Does something with a thing of that name; its new state."""
Each = Callable[..., Awaitable[Response]]
"""See `Kind.each`."""


class Kind:
    """Things of a kind of record. Of what has a name and a namespace, `named` and `each` are for routes to depend on,
    behind the asker.
    """

    def __init__(self, record: Any) -> None:
        self._record = record

    async def known(self, engine: Engine, asked: Asked, name: str, namespace: str = "") -> Any:
        """The one of that name, or without a namespace of that id. Raises `NotFound` and `Forbidden`."""
        word, key = self._record.__name__.lower(), definition_id(namespace, name) if namespace else name
        held = (await engine.store.get(self._record, [key]))[0]
        if held is None:
            raise NotFound(word, name)  # in the very words of `Asked.check` for what is hidden
        asked.check(word, name, *scope(held.record))
        return held.record

    async def named(self, request: Request, engine: Here, name: Name, namespace: Namespace = "main") -> Any:
        """The one of the path, which the asker may do this to."""
        return await self.known(engine, request.state.asked, name, namespace)

    async def each(self, request: Request, engine: Here, body: Names, namespace: Namespace = "main") -> Each:
        """What acts on each one of a body. It tells of each `state`, else what `act` returns."""

        async def each_of(act: Callable[[Any], Awaitable[Any]], done: int = 200, state: str | None = None) -> Response:
            async def one(name: str) -> str | None:
                found = await act(await self.known(engine, request.state.asked, name, namespace))
                return state or found

            return await each(body.ids, one, done)

        return each_of


async def each(names: Sequence[str], act: Act, done: int = 200, after: str | None = None) -> Response:
    """What became of each: the status that it would have had alone, and its new state or its error."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> dict[str, object]:
        async with turns:
            try:
                return {"id": name, "status": done, "state": await act(name), "error": None}
            except RotaError as error:
                return {"id": name, "status": int(status_of(error)), "state": None, "error": detail_of(error)}

    return Json({"items": await asyncio.gather(*map(one, dict.fromkeys(names))), "next": after})
