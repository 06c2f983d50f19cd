"""`rota queues`: the lines that runs stand in."""

from typing import Annotated

import typer

from rota.cli import read
from rota.cli.common import Namespace, Why, actor, command
from rota.cli.show import Answer, Listing, Sheet
from rota.engine import control, query
from rota.engine.engine import Engine

group = typer.Typer(name="queues", help="The lines that runs stand in.")
Name = Annotated[str, read.argument("QUEUE")]
Off = Annotated[bool, typer.Option("--off", help="Back to head starts, by which nothing starves.")]


@command(group, "list")
async def listed(engine: Engine, namespace: Namespace = "main") -> Answer:
    """List queues with what waits and runs in them."""
    found = await query.queues(engine, namespace)
    return Listing("queues", found, ("name", "pending", "running", "paused", "strict"))


@command(group, "pause")
async def pause(engine: Engine, name: Name, why: Why = "") -> Answer:
    """Let nothing more of a queue be taken; what runs goes on."""
    space, queue = name.split("/")
    return Sheet(await control.pause_queue(engine, space, queue, why, actor()))


@command(group, "resume")
async def resume(engine: Engine, name: Name) -> Answer:
    """Let a queue be taken from again."""
    space, queue = name.split("/")
    return Sheet(await control.resume_queue(engine, space, queue, actor()))


@command(group, "strict")
async def strict(engine: Engine, name: Name, off: Off = False) -> Answer:
    """Let higher priorities always go first in a queue; lower ones can then starve."""
    space, queue = name.split("/")
    return Sheet(await control.order_queue(engine, space, queue, not off, actor()))
