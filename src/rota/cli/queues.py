"""`rota queues`: the lines that runs stand in."""

from typing import Annotated, Any

import typer

from rota.cli import read
from rota.cli.common import Namespace, Why, actor, command
from rota.cli.remote import Api, thing
from rota.cli.show import Answer, Listing, Sheet, warn
from rota.domain.records import DISPATCH
from rota.engine.control import place_queue
from rota.engine.engine import Engine

group = typer.Typer(name="queues", help="The lines that runs stand in.")
Name = Annotated[str, read.argument("QUEUE")]
Strategy = Annotated[str, typer.Argument(metavar="STRATEGY", help=f"One of {', '.join(DISPATCH)}.")]
Off = Annotated[bool, typer.Option("--off", help="Back to head starts, by which nothing starves.")]


@command(group, "list")
async def listed(api: Api, namespace: Namespace = "main") -> Answer:
    """List queues with what waits and runs in them."""
    found = (await api("GET", "/api/queues", namespace=namespace))["items"]
    return Listing("queues", found, ("name", "pending", "running", "paused", "strict", "dispatch"))


@command(group, "pause")
async def pause(api: Api, name: Name, why: Why = "") -> Answer:
    """Let nothing more of a queue be taken; what runs goes on."""
    return await _changed(api, "POST", name, "pause", {"why": why})


@command(group, "resume")
async def resume(api: Api, name: Name) -> Answer:
    """Let a queue be taken from again."""
    return Sheet(await api("POST", thing("queues", name, "resume")))


@command(group, "strict")
async def strict(api: Api, name: Name, off: Off = False) -> Answer:
    """Let higher priorities always go first in a queue; lower ones can then starve."""
    return await _changed(api, "PATCH", name, "", {"strict": not off})


@command(group, "dispatch")
async def dispatch(api: Api, name: Name, strategy: Strategy) -> Answer:
    """Say how runs of a queue get to workers: a free one takes them (pull), or the leader places them."""
    return await _changed(api, "PATCH", name, "", {"dispatch": strategy})


async def _changed(api: Api, method: str, name: str, verb: str, body: dict[str, Any]) -> Answer:
    """Change a queue, and warn where nothing was known of it: there may be a slip in its name."""
    namespace, own = name.split("/")
    listed = (await api("GET", "/api/queues", namespace=namespace))["items"]
    known = any(one["name"] == own for one in listed)
    for kind in ("tasks", "workers"):
        known = known or bool(await api.items(f"/api/{kind}", 1, namespace=namespace, queue=own))
    answer = Sheet(await api(method, thing("queues", name, verb), body))
    if not known:
        warn(f"no task, worker or run uses queue {name} yet; `rota queues list` shows which there are")
    return answer


async def place(engine: Engine, queue: str, strategy: str) -> None:
    """Keep with a queue how its runs get to workers; without a strategy in turn, unless anything is known of it."""
    namespace, name = queue.split("/")
    await place_queue(engine, namespace, name, strategy or "round_robin", actor(), first=not strategy)
