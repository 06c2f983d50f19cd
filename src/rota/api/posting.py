"""Both ends of posting runs to workers, so light that nobody pays for them who has no worker at a URL."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from rota.domain.records import Session
from rota.domain.run import Run
from rota.engine.engine import Engine
from rota.ports.runtime import Clock
from rota.ports.store import Versioned

if TYPE_CHECKING:
    from rota.api.door import Door
    from rota.api.push import Pusher
    from rota.api.serve import Address
    from rota.worker.posted import Post

Listening = tuple["Address", str]
"""The address, and the URL if others know it by another one."""


class Posting:
    """What posts runs; its parts are loaded with the first of them."""

    def __init__(self, engine: Engine, door: "Callable[[], Door]") -> None:
        self._engine = engine
        self._door = door
        self._pusher: Pusher | None = None

    def __call__(self, session: Session, runs: Sequence[Versioned[Run]]) -> bool:
        """Post them soon, if it is possible."""
        if self._pusher is None:
            from rota.api.push import Pusher
            from rota.worker.poster import Poster

            self._pusher = Pusher(self._engine, self._door(), Poster(self._engine.clock, self._engine.chance))
        return self._pusher(session, runs)

    async def close(self) -> None:
        """Post no more."""
        if self._pusher:
            await self._pusher.close()


@asynccontextmanager
async def posted_to(token: str, clock: Clock, listening: Listening | None) -> AsyncIterator[tuple["Post | None", str]]:
    """Listen for posts while the block lasts: who answers them, and the URL. Raises `Invalid` for a wrong address.

    Where `listening` is None, nothing is listened for.
    """
    if listening is None:
        yield None, ""
        return
    from rota.api.serve import served
    from rota.worker.posted import Post

    post, (address, url) = Post(token, clock), listening
    async with served(post, address) as at:
        yield post, url or at
