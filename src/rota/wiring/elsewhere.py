"""Workers that know no store, and what they are reached by: the API, a URL of their own, a broker between."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from rota.api.serve import Address
    from rota.worker.posted import Post

Listening = tuple["Address", str]
"""The address, and the URL if others know it by another one."""


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
    async with AsyncExitStack() as stack:
        for executor in made.values():
            stack.push_async_callback(executor.close)
        desk = await stack.enter_async_context(there.reach(clock))
        post, url = await stack.enter_async_context(_posted_to(there, clock))
        worker = Worker(desk, desk.listen, another, made, replace(options, address=url), runtime)
        if post:
            post.worker = worker
        stack.push_async_callback(worker.stop)
        await worker.start()
        yield worker


@asynccontextmanager
async def _posted_to(there: Elsewhere, clock: DeskClock) -> AsyncIterator[tuple["Post | None", str]]:
    """Listen for posts while the block lasts, if that is wanted: who answers them, and the URL."""
    if there.listening is None:
        yield None, ""
        return
    from rota.api.serve import served
    from rota.worker.posted import Post

    post, (address, url) = Post(there.token, clock), there.listening
    async with served(post, address) as at:
        yield post, url or at


@asynccontextmanager
async def desk_behind(broker: str, engine: Engine) -> AsyncIterator[None]:
    """Listen at a broker for workers, while the block lasts. Raises `Invalid` for an address that names none."""
    from rota.api.carried import CarriedDesk

    connect(broker)  # a wrong address is told at once
    door = make_door(engine)
    try:
        async with CarriedDesk(engine, door, partial(connect, broker), _kind(broker)).served():
            yield
    finally:
        await door.close()


def _kind(broker: str) -> str:
    return "redis" if broker.startswith("redis") else "rabbitmq"
