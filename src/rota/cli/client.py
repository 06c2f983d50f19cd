"""`rota client`: submit runs of a sample, or of any, task."""

from typing import Annotated

import typer

from rota.cli import read
from rota.cli.common import actor, command
from rota.cli.show import Answer, Sheet
from rota.domain.errors import Invalid, Refused
from rota.domain.task import Task
from rota.engine.define import create_task
from rota.engine.engine import Engine
from rota.engine.submit import Order, submit

group = typer.Typer()
BATCH = 1_000


@command(group, "client")
async def client(
    engine: Engine,
    etcd_endpoints: Annotated[str, typer.Option(help="Endpoints of an etcd store.", show_default=False)] = "",
    queue: Annotated[str, typer.Option(help="The line that the runs stand in.")] = "default",
    kind: Annotated[str, typer.Option("--type", help="Handler: echo, compute, unreliable, or your own.")] = "echo",
    name: Annotated[str, read.option(read.full_name, "The task; made if there is none of that name.")] = "test-task",
    priority: Annotated[int, typer.Option(min=0, max=3, help="0 low, 1 normal, 2 high, 3 urgent.")] = 1,
    count: Annotated[int, typer.Option(min=1, max=10_000_000, help="How many runs.")] = 1,
    payload: Annotated[bytes | None, read.option(read.payload, "JSON arguments of the runs.")] = None,
) -> Answer:
    """Submit runs of a task, and make the task if there is none."""
    from rich.console import Console
    from rich.progress import track

    if etcd_endpoints:
        raise Invalid("etcd-endpoints", "this version has no etcd store yet; leave it out and use --store")
    space, own = name.split("/")
    held = (await engine.store.get(Task, [name]))[0]
    if held is None:
        await create_task(engine, Task(space, own, command=kind, queue=queue), (), actor())
    elif (held.record.command or own) != kind:
        raise Refused(f"task {name} runs {held.record.command!r}, not {kind!r}; choose another --name")
    order = Order(own, space, payload or b"", queue=queue, priority=priority, actor=actor())
    ids: list[str] = []
    watched = Console(stderr=True)
    short = count <= BATCH or not watched.is_terminal
    for start in track(range(0, count, BATCH), "submitting", console=watched, disable=short):
        ids += [receipt.id for receipt in await submit(engine, [order] * min(BATCH, count - start))]
    return Sheet({"task": own, "queue": queue, "count": count, "ids": ids}, ids)
