"""`rota tasks trigger`: run a task now, later, or once for a key."""

from typing import Annotated

import typer

from rota.cli import read
from rota.cli.common import Namespace, actor, command
from rota.cli.show import Answer, Said, Sheet
from rota.cli.views import detail_view
from rota.domain.errors import Invalid
from rota.domain.run import State
from rota.engine import control, query
from rota.engine.engine import Engine
from rota.engine.submit import Order
from rota.sdk.client import Client


async def trigger(
    engine: Engine,
    name: Annotated[str, typer.Argument(metavar="TASK", help="Its name.")],
    payload: Annotated[str | None, typer.Option(help="JSON arguments; the task's if not given.")] = None,
    delay: Annotated[str | None, typer.Option(help="How long from now, such as 90s or 1h30m.")] = None,
    at: Annotated[str | None, typer.Option(help="When, in ISO 8601; without an offset it is UTC.")] = None,
    queue: Annotated[str, typer.Option(help="Another queue than the task's.")] = "",
    priority: Annotated[str | None, typer.Option(help="low, normal, high, urgent, or 0 to 3.")] = None,
    key: Annotated[str, typer.Option(help="The same key again within a day gives the same run.")] = "",
    unique: Annotated[str, typer.Option(help="Only one live run has this key; a second order gives that one.")] = "",
    overlap: Annotated[bool, typer.Option("--overlap", help="Obey the overlap rule of the task's schedule.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for its end and show it; exit code 1 if it failed.")
    ] = False,
    namespace: Namespace = "main",
) -> Answer:
    """Run a task, and print the id of the run."""
    space, _, task = read.name_id("task", name, namespace).partition("/")
    order = Order(
        task,
        space,
        read.json_bytes(payload, "payload") if payload is not None else b"",
        due_at=_due_at(delay, at, engine.clock.now()),
        queue=queue,
        priority=read.level(priority) if priority is not None else None,
        key=key,
        unique=unique,
    )
    receipt = await control.trigger(engine, order, actor(), overlap)
    if not wait:
        return Said({"id": receipt.id, "created": receipt.created}, [receipt.id])
    run = await Client(engine).ended(receipt.id)
    data = detail_view(await query.run_detail(engine, run.id))
    return Sheet(data, code=0 if run.state is State.SUCCESS else 1)


def _due_at(delay: str | None, at: str | None, now: int) -> int | None:
    """When, if not now."""
    if delay is not None and at is not None:
        raise Invalid("delay", "give --delay or --at, not both")
    if delay is not None:
        return now + read.length_ms(delay, "delay")
    return read.moment(at, "at") if at is not None else None


def add_to(group: typer.Typer) -> None:
    """Add the command to `rota tasks`."""
    command(group, "trigger")(trigger)
