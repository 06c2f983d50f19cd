"""`rota client`: submit runs of a sample, or of any, task."""

import asyncio
from collections import Counter
from typing import Annotated, Any

import typer

from rota.cli import read
from rota.cli.common import command
from rota.cli.remote import Absent, Api, thing
from rota.cli.runs import followed
from rota.cli.show import Answer, Sheet, note, warn
from rota.domain.errors import Refused, RotaError
from rota.domain.names import number_of

group = typer.Typer()
BATCH = 1_000


@command(group, "client")
async def client(
    api: Api,
    queue: Annotated[str, typer.Option(help="The line that the runs stand in.")] = "default",
    kind: Annotated[str, typer.Option("--type", help="Handler: echo, compute, unreliable, or your own.")] = "echo",
    name: Annotated[str, read.option(read.full_name, "The task; made if there is none of that name.")] = "test-task",
    priority: Annotated[Any, read.option(read.level, "0 low, 1 normal, 2 high, 3 urgent; or the name.")] = "1",
    count: Annotated[int, typer.Option(min=1, max=10_000_000, help="How many runs.")] = 1,
    payload: Annotated[Any, read.option(read.payload, "JSON arguments of the runs.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all have ended; exit code 1 if one failed.")] = False,
) -> Answer:
    """Submit runs of a task, print their ids, and make the task if there is none."""
    from rich.console import Console
    from rich.progress import track

    space, own = name.split("/")
    try:
        task = await api("GET", thing("tasks", name))
        known = task["command"] or own
        if known != kind:
            raise Refused(f"task {name} runs {known!r}, not {kind!r}; choose another --name")
    except Absent:
        task = await api("POST", "/api/tasks", {"name": own, "command": kind, "queue": queue}, namespace=space)
    if task["warning"] and task["queue"] == queue:
        warn(task["warning"])
    order = {"task": own, "payload": payload, "queue": queue, "priority": priority}
    ids: list[str] = []
    watched = Console(stderr=True)
    short = count <= BATCH or not watched.is_terminal
    made: dict[str, Any] = {"task": own, "queue": queue, "count": count, "ids": ids}
    try:
        for start in track(range(0, count, BATCH), "submitting", console=watched, disable=short):
            orders = {"runs": [order] * min(BATCH, count - start)}
            ids += [one["id"] for one in (await api("POST", "/api/runs/bulk", orders, namespace=space))["items"]]
        if not wait:
            return Sheet(made, ids)
        made["ended"] = ended = Counter([(await followed(api, one, steps=False))["state"] for one in ids])
    except (asyncio.CancelledError, RotaError):
        if ids:
            note(f"submitted before: {number_of(len(ids), 'run')}; see `rota runs list -n {space} --task {own}`")
        raise
    lines = [*ids, ", ".join(f"{state} {number}" for state, number in sorted(ended.items()))]
    return Sheet(made, lines, code=0 if ended["success"] == count else 1)
