"""`rota queues`: the lines that runs stand in."""

from typing import Annotated

import typer

from rota.cli import read
from rota.cli.common import Namespace, actor, command
from rota.cli.show import Answer, Listing, Said
from rota.cli.views import plain, queue_view
from rota.domain.records import Queue
from rota.engine import control, query
from rota.engine.engine import Engine

group = typer.Typer(help="The lines that runs stand in.")
Name = Annotated[str, typer.Argument(metavar="QUEUE", help="Its name.")]


@command(group, "list")
async def listed(engine: Engine, namespace: Namespace = "main") -> Answer:
    """List queues with what waits and runs in them."""
    found = await query.queues(engine, namespace)
    return Listing("queues", [queue_view(one) for one in found], ("name", "pending", "running", "paused", "strict"))


@command(group, "pause")
async def pause(
    engine: Engine,
    name: Name,
    why: Annotated[str, typer.Option(help="The reason, for whoever finds it paused.")] = "",
    namespace: Namespace = "main",
) -> Answer:
    """Let nothing more of a queue be taken; what runs goes on."""
    space, queue = _parts(name, namespace)
    after = await control.pause_queue(engine, space, queue, why, actor())
    return _said(after, f"nothing of queue {after.id} is taken until it is resumed")


@command(group, "resume")
async def resume(engine: Engine, name: Name, namespace: Namespace = "main") -> Answer:
    """Let a queue be taken from again."""
    space, queue = _parts(name, namespace)
    after = await control.resume_queue(engine, space, queue, actor())
    return _said(after, f"queue {after.id} is taken from again")


@command(group, "strict")
async def strict(
    engine: Engine,
    name: Name,
    off: Annotated[bool, typer.Option("--off", help="Back to head starts, by which nothing starves.")] = False,
    namespace: Namespace = "main",
) -> Answer:
    """Let higher priorities always go first in a queue; lower ones can then starve."""
    space, queue = _parts(name, namespace)
    after = await control.order_queue(engine, space, queue, not off, actor())
    how = "higher priorities always go first" if after.strict else "priorities have head starts"
    return _said(after, f"queue {after.id}: {how}")


def _parts(name: str, namespace: str) -> tuple[str, str]:
    space, _, queue = read.name_id("queue", name, namespace).partition("/")
    return space, queue


def _said(queue: Queue, line: str) -> Said:
    return Said(plain(queue), [line])
