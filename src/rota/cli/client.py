"""`rota client`: submit runs of a sample, or of any, task."""

from typing import Annotated, Any

import typer

from rota.cli import read
from rota.cli.common import command
from rota.cli.remote import Absent, Api, thing
from rota.cli.show import Answer, Sheet
from rota.domain.errors import Invalid, Refused

group = typer.Typer()
BATCH = 1_000


@command(group, "client")
async def client(
    api: Api,
    etcd_endpoints: Annotated[str, typer.Option(help="Endpoints of an etcd store.", show_default=False)] = "",
    queue: Annotated[str, typer.Option(help="The line that the runs stand in.")] = "default",
    kind: Annotated[str, typer.Option("--type", help="Handler: echo, compute, unreliable, or your own.")] = "echo",
    name: Annotated[str, read.option(read.full_name, "The task; made if there is none of that name.")] = "test-task",
    priority: Annotated[int, typer.Option(min=0, max=3, help="0 low, 1 normal, 2 high, 3 urgent.")] = 1,
    count: Annotated[int, typer.Option(min=1, max=10_000_000, help="How many runs.")] = 1,
    payload: Annotated[Any, read.option(read.payload, "JSON arguments of the runs.")] = None,
) -> Answer:
    """Submit runs of a task, and make the task if there is none."""
    from rich.console import Console
    from rich.progress import track

    if etcd_endpoints:
        raise Invalid("etcd-endpoints", "this version has no etcd store yet; leave it out and use --store")
    space, own = name.split("/")
    try:
        known = (await api("GET", thing("tasks", name)))["command"] or own
        if known != kind:
            raise Refused(f"task {name} runs {known!r}, not {kind!r}; choose another --name")
    except Absent:
        await api("POST", "/api/tasks", {"name": own, "command": kind, "queue": queue}, namespace=space)
    order = {"task": own, "payload": payload, "queue": queue, "priority": priority}
    ids: list[str] = []
    watched = Console(stderr=True)
    short = count <= BATCH or not watched.is_terminal
    for start in track(range(0, count, BATCH), "submitting", console=watched, disable=short):
        orders = {"runs": [order] * min(BATCH, count - start)}
        ids += [one["id"] for one in (await api("POST", "/api/runs/bulk", orders, namespace=space))["items"]]
    return Sheet({"task": own, "queue": queue, "count": count, "ids": ids}, ids)
