import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rota import Context, Rota
from rota.domain.run import LIVE, Run
from rota.engine.engine import Engine
from rota.ports.store import Where
from rota.wiring import opened

T = TypeVar("T")

STORE = "sqlite:///rota-data/rota.db"
HOSTILE = "\x1b[31mred\x1b[0m [bold]not bold[/bold] \u202eevil 中文"
SHOWN = "\\x1b[31mred\\x1b[0m [bold]not bold[/bold] \\u202eevil 中文"


def in_store(question: Callable[[Engine], Awaitable[T]]) -> T:
    """What `question` finds out over the store of the folder."""

    async def asked() -> T:
        async with opened(STORE) as engine:
            return await question(engine)

    return asyncio.run(asked())


def sample_app() -> Rota:
    """An app whose tasks do what the tests of the command line look at."""
    app = Rota(STORE, name="sample", version="1")

    @app.task(name="greet", schedule="0 2 * * *", timezone="Europe/Berlin")
    def greet(name: str = "you") -> str:
        """Greets somebody."""
        sys.stdout.write(f"hello {name}\n")
        return f"hi {name}"

    @app.task(name="fails", retries=0)
    def fails() -> None:
        raise ValueError(HOSTILE)

    @app.task(name="paints")
    def paints(context: Context) -> None:
        sys.stdout.write("plain\tline\n")
        sys.stdout.write(f"{HOSTILE}\n")
        context.log.warning("careful")

    return app


def register(app: Rota) -> None:
    """Make the tasks of an app known to the store."""

    async def opened() -> None:
        async with app:
            pass

    asyncio.run(opened())


def work(app: Rota) -> None:
    """Let a worker do all that is ready."""

    async def worked() -> None:
        async with app.running(scheduler=False):
            page = await app.engine.store.find(Run, Where(states=tuple(LIVE)), "", 500)
            for held in page.items:
                await app.client.ended(held.record.id, timeout=30)

    asyncio.run(worked())
