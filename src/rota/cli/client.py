"""`rota client`: submit runs of a sample, or of any, task."""

import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from rota.cli import read
from rota.cli.common import actor, command
from rota.cli.show import Answer, Said
from rota.domain.errors import Invalid, Refused
from rota.domain.task import Task
from rota.engine.define import create_task
from rota.engine.engine import Engine
from rota.engine.submit import Order, submit

BATCH = 1_000


async def client(
    engine: Engine,
    etcd_endpoints: Annotated[str | None, typer.Option(help="Endpoints of an etcd store.", show_default=False)] = None,
    queue: Annotated[str, typer.Option(help="The line that the runs stand in.")] = "default",
    kind: Annotated[
        str, typer.Option("--type", help="Handler: echo, compute, unreliable, or one of your own.")
    ] = "echo",
    name: Annotated[str, typer.Option(help="The task; made if there is none of that name.")] = "test-task",
    priority: Annotated[int, typer.Option(min=0, max=3, help="0 low, 1 normal, 2 high, 3 urgent.")] = 1,
    count: Annotated[int, typer.Option(min=1, max=10_000_000, help="How many runs.")] = 1,
    payload: Annotated[str | None, typer.Option(help="JSON arguments of the runs.")] = None,
) -> Answer:
    """Submit runs of a task, and make the task if there is none."""
    if etcd_endpoints is not None:
        raise Invalid("etcd-endpoints", "this version has no etcd store yet; leave it out and use --store")
    task = await _task(engine, name, kind, queue)
    data = read.json_bytes(payload, "payload") if payload is not None else b""
    order = Order(task.name, task.namespace, data, queue=queue, priority=priority, actor=actor())
    ids: list[str] = []
    for size in _batches(count):
        ids += [receipt.id for receipt in await submit(engine, [order] * size)]
    return Said({"task": task.name, "queue": queue, "count": count, "ids": ids}, ids)


async def _task(engine: Engine, name: str, kind: str, queue: str) -> Task:
    """The task of that name, made if need be. Raises `Refused` where it runs something else."""
    key = read.name_id("name", name, "main")
    held = (await engine.store.get(Task, [key]))[0]
    if held is None:
        space, _, own = key.partition("/")
        return await create_task(engine, Task(space, own, command=kind, queue=queue), (), actor())
    if (held.record.command or held.record.name) != kind:
        raise Refused(f"task {key} runs {held.record.command!r}, not {kind!r}; choose another --name")
    return held.record


def _batches(count: int) -> Iterator[int]:
    """Sizes of batches, with a progress bar where there are many and somebody watches."""
    sizes = [min(BATCH, count - start) for start in range(0, count, BATCH)]
    if len(sizes) == 1 or not sys.stderr.isatty():
        yield from sizes
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("submitting", total=count)
        for size in sizes:
            yield size
            progress.advance(bar, size)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "client")(client)
