"""`rota audit`: who changed what."""

import json
from typing import Annotated, Any

import typer

from rota.cli import read
from rota.cli.common import Limit, collect, command
from rota.cli.show import Answer, Listing
from rota.cli.views import record
from rota.domain.records import Audit
from rota.engine.engine import Engine
from rota.ports.store import Where


async def audit(
    engine: Engine,
    since: Annotated[str | None, typer.Option(help="Within this time (1h) or after this instant.")] = None,
    limit: Limit = 50,
) -> Answer:
    """Show who changed what, newest first."""
    start = read.since(since, engine.clock.now()) if since else None
    found = await collect(engine, Audit, Where(since=start), limit)
    return Listing("entries", [_view(one) for one in found], ("at", "actor", "action", "target", "changed"))


def _view(entry: Audit) -> dict[str, Any]:
    before, after = _fields(entry.before), _fields(entry.after)
    both = isinstance(before, dict) and isinstance(after, dict)
    return record(entry) | {"before": before, "after": after, "changed": sorted({*before} & {*after}) if both else []}


def _fields(text: str) -> Any:
    """The fields that an entry keeps; long entries are cut, and stay text."""
    try:
        return json.loads(text) if text else {}
    except ValueError:
        return text


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "audit")(audit)
