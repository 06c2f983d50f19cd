"""`rota workers`: who works, and with how many slots."""

from typing import Annotated

import typer

from rota.cli.common import actor, command
from rota.cli.show import Answer, Listing, Said
from rota.cli.views import plain, worker_view
from rota.domain.errors import Invalid, NotFound
from rota.engine import control, query
from rota.engine.engine import Engine
from rota.engine.recover import open_sessions

group = typer.Typer(help="Who works, and with how many slots.")
Name = Annotated[str, typer.Argument(metavar="WORKER", help="Its name, or the first digits of its session.")]
COLUMNS = ("session", "worker", "host", "pid", "state", "running", "slots", "queues", "executors", "opened_at")


@command(group, "list")
async def listed(engine: Engine) -> Answer:
    """List live workers."""
    return Listing("live workers", [worker_view(one) for one in await query.workers(engine)], COLUMNS)


@command(group, "drain")
async def drain(engine: Engine, worker: Name) -> Answer:
    """Let a worker finish what it holds, take nothing more and leave."""
    after = await control.drain(engine, await session_id(engine, worker), actor())
    return Said(plain(after), [f"worker {after.worker} ({after.id}) takes nothing more and leaves"])


@command(group, "resize")
async def resize(
    engine: Engine, worker: Name, slots: Annotated[int, typer.Argument(help="How many runs at once.")]
) -> Answer:
    """Change how many runs a worker takes at once, while it works."""
    after = await control.resize(engine, await session_id(engine, worker), slots, actor())
    return Said(plain(after), [f"worker {after.worker} ({after.id}) has {after.slots} slots"])


async def session_id(engine: Engine, text: str) -> str:
    """The open session of the one worker that is meant. Raises `NotFound`, or `Invalid` where several fit."""
    sessions = await open_sessions(engine)
    found = [one for one in sessions if one.worker == text or (len(text) >= 6 and one.id.startswith(text))]
    if not found:
        raise NotFound("live worker", text[:60], "see `rota workers list`")
    if len(found) > 1:
        raise Invalid("worker", f"{text!r} are several, name one by its session: {', '.join(one.id for one in found)}")
    return found[0].id
