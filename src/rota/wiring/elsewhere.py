"""Workers that know no store, and what they are reached by: the API, a URL of their own, a broker between."""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

from rota.api.posting import Listening, posted_to
from rota.domain.errors import Barred
from rota.domain.facts import Fact, Trouble
from rota.domain.names import without_password
from rota.engine.engine import Engine
from rota.ports.desk import Desk
from rota.ports.executor import Executor
from rota.ports.runtime import Emit
from rota.transports import connect
from rota.wiring import SystemChance, SystemClock, listening, make_door
from rota.worker.letters import read_key
from rota.worker.options import Options
from rota.worker.pulse import Listen
from rota.worker.remote import DeskClock, RemoteDesk, Server, reached
from rota.worker.runtime import Worker


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The schedulers that a worker works for."""

    place: str
    """As it may be shown."""
    reach: Callable[[DeskClock], AbstractAsyncContextManager[RemoteDesk]]
    """By connections of their own, each time."""
    token: str = ""
    listening: Listening | None = None
    """Where they post runs to, if they do."""


def at_address(server: Server, listening: Listening | None = None) -> Elsewhere:
    """Whoever serves the API there."""
    return Elsewhere(server.url, partial(reached, server), server.token, listening)


def behind(broker: str, token: str, emit: Emit) -> Elsewhere:
    """Whoever listens at that broker. Raises `Invalid` for an address that names none, and for what is no key."""
    from rota.worker.carried import Post, carried

    def reach(clock: DeskClock) -> AbstractAsyncContextManager[RemoteDesk]:
        return carried(Post(connect(broker), _kind(broker), token, clock, emit), clock)

    # What is wrong with either is told at once.
    read_key(token)
    connect(broker)
    return Elsewhere(without_password(broker), reach)


@asynccontextmanager
async def remote_worker(
    there: Elsewhere, made: Mapping[str, Executor], options: Options, emit: Emit
) -> AsyncIterator[Worker]:
    """A worker that needs no store. Drained and closed at the end."""

    def told(fact: Fact) -> None:
        # Its end says that once; each loop that notices would say it again.
        if not (isinstance(fact, Trouble) and isinstance(fact.error, Barred)):
            emit(fact)

    @asynccontextmanager
    async def another() -> AsyncIterator[tuple[Desk, Listen]]:
        async with there.reach(clock) as desk:
            yield desk, desk.listen

    clock = DeskClock(SystemClock())
    runtime = (clock, SystemChance(), listening(told))
    try:
        async with there.reach(clock) as desk, posted_to(there.token, clock, there.listening) as (post, url):
            worker = Worker(desk, desk.listen, another, made, replace(options, address=url), runtime)
            if post:
                post.worker = worker
            try:
                await worker.start()
                yield worker
            finally:
                await worker.stop()
    finally:
        for executor in made.values():
            await executor.close()


@asynccontextmanager
async def desk_behind(broker: str, engine: Engine) -> AsyncIterator[None]:
    """Listen at a broker for workers, while the block lasts. Raises `Invalid` for an address that names none."""
    from rota.api.carried import CarriedDesk

    connect(broker)  # a wrong address is told at once
    door = make_door("", engine, os.urandom(32))
    try:
        async with CarriedDesk(engine, door, partial(connect, broker), _kind(broker)).served():
            yield
    finally:
        await door.close()


def _kind(broker: str) -> str:
    return "redis" if broker.startswith("redis") else "rabbitmq"
