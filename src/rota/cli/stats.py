"""`rota stats`: the whole at a glance."""

from typing import Annotated

import typer

from rota.cli import read
from rota.cli.common import command
from rota.cli.show import Answer, Sheet
from rota.cli.views import instant
from rota.engine import query
from rota.engine.engine import Engine


async def stats(
    engine: Engine,
    since: Annotated[str, typer.Option(help="Ends within this time (1h) or after this instant are counted.")] = "1h",
) -> Answer:
    """Count tasks, schedules, workers, runs that are not over, and what has ended lately."""
    found = await query.stats(engine, read.since(since, engine.clock.now()))
    data = {
        "tasks": found.tasks,
        "schedules": found.schedules,
        "workers": found.workers,
        "runs": {str(state): number for state, number in sorted(found.runs.items())},
        "ended": dict(sorted(found.totals.items())),
        **instant("since", found.since),
    }
    return Sheet(data)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "stats")(stats)
