"""`rota workers`: who works, and with how many slots."""

from typing import Annotated

import typer

from rota.api.views import plain
from rota.cli.common import actor, command, only
from rota.cli.show import Answer, Listing, Sheet
from rota.engine import control, query
from rota.engine.engine import Engine
from rota.engine.recover import open_sessions

group = typer.Typer(name="workers", help="Who works, and with how many slots.")
Name = Annotated[str, typer.Argument(metavar="WORKER", help="Its name, or the last or first digits of its session.")]
Slots = Annotated[int, typer.Argument(help="How many runs at once.")]
COLUMNS = ("session", "worker", "state", "running", "slots", "queues", "opened_at")
MORE = ("host", "pid", "executors", "labels")


@command(group, "list")
async def listed(engine: Engine) -> Answer:
    """List workers whose session is open, and tell of each that has been silent for too long."""
    rows = [plain(one) | _silent(one) for one in await query.workers(engine)]
    return Listing("live workers", rows, COLUMNS, MORE)


def _silent(view: query.WorkerView) -> dict[str, str]:
    return {"state": f"silent for {view.silent_ms // 1_000} s"} if view.silent_ms else {}


@command(group, "drain")
async def drain(engine: Engine, worker: Name) -> Answer:
    """Let a worker finish what it holds, take nothing more and leave."""
    return Sheet(await control.drain(engine, await session_id(engine, worker), actor()))


@command(group, "resize")
async def resize(engine: Engine, worker: Name, slots: Slots) -> Answer:
    """Change how many runs a worker takes at once, while it works."""
    return Sheet(await control.resize(engine, await session_id(engine, worker), slots, actor()))


async def session_id(engine: Engine, text: str) -> str:
    """The open session of the one worker that is meant."""
    part = text if len(text) >= 6 else "-"
    alive = await open_sessions(engine)
    found = [one.id for one in alive if one.worker == text or one.id.startswith(part) or one.id.endswith(part)]
    return only("worker", text, found)
