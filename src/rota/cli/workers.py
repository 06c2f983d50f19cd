"""`rota workers`: who works, and with how many slots."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from rota.cli.common import MOST, Namespace, command, fits, only
from rota.cli.remote import Api
from rota.cli.show import Answer, Listing, Sheet
from rota.domain.errors import Invalid

group = typer.Typer(name="workers", help="Who works, and with how many slots.")
Name = Annotated[str, typer.Argument(metavar="WORKER", help="Its name, or the last or first digits of its session.")]
Slots = Annotated[int, typer.Argument(help="How many runs at once.")]
COLUMNS = ("session", "worker", "state", "running", "slots", "queues", "opened_at")
MORE = ("host", "pid", "address", "executors", "labels")


@command(group, "list")
async def listed(api: Api, namespace: Namespace = "*") -> Answer:
    """List workers whose session is open, and tell of each that has been silent for too long."""
    rows = [one | _silent(one) for one in await api.items("/api/workers", MOST, namespace=namespace)]
    return Listing("live workers", rows, COLUMNS, MORE)


def _silent(worker: dict[str, Any]) -> dict[str, str]:
    if worker["silent_ms"]:
        return {"state": f"silent for {worker['silent_ms'] // 1_000} s"}
    return {} if worker["executors"] else {"state": "takes no runs"}


@command(group, "drain")
async def drain(api: Api, worker: Name) -> Answer:
    """Let a worker finish what it holds, take nothing more and leave."""
    return Sheet(await api("POST", f"{await path(api, worker)}/drain"))


@command(group, "resize")
async def resize(api: Api, worker: Name, slots: Slots) -> Answer:
    """Change how many runs a worker takes at once, while it works."""
    return Sheet(await api("PATCH", await path(api, worker), {"slots": slots}))


@command(group, "label")
async def label(
    api: Api,
    worker: Name,
    labels: Annotated[list[str] | None, typer.Argument(metavar="[LABEL]...", help="Its labels from now on.")] = None,
    none: Annotated[bool, typer.Option("--none", help="Take all labels from it.")] = False,
) -> Answer:
    """Give a worker these labels in place of its own, while it works: it then takes what requires them."""
    if bool(labels) == none:
        raise Invalid("labels", "name some, or give --none")
    return Sheet(await api("PATCH", await path(api, worker), {"labels": labels or []}))


async def path(api: Api, text: str) -> str:
    """The path of the open session of the one worker that is meant."""
    alive = await api.items("/api/workers", MOST, namespace="*")
    found = [one["id"] for one in alive if one["worker"] == text or fits(text, one["id"])]
    return f"/api/workers/{quote(only('worker', text, found), safe='')}"
