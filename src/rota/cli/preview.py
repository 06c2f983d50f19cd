"""`rota preview`: when a schedule that does not exist yet would fire."""

import time
from typing import Annotated

import typer

from rota.cli import read
from rota.cli.common import Json
from rota.cli.show import Said, show
from rota.cli.views import iso
from rota.domain.errors import Invalid
from rota.domain.schedule import Schedule
from rota.domain.timing import preview as fires_of
from rota.domain.zones import zone


def preview(
    schedule: Annotated[str, typer.Argument(help='"0 2 * * *", "@daily", "every 10s" or "at 2026-12-24T18:00".')],
    timezone: Annotated[str, typer.Option(help="IANA zone of the cron text or time.")] = "UTC",
    count: Annotated[int, typer.Option(min=1, max=1_000, help="How many.")] = 10,
    as_json: Json = False,
) -> None:
    """Show when a schedule would fire, before there is one. Needs no store."""
    found = Schedule("main", "preview", "preview", read.trigger(schedule, timezone))
    moments = fires_of(found, time.time_ns() // 1_000_000, count)
    if not moments:
        raise Invalid("schedule", "it would never fire: its last instant is in the past")
    lines = [iso(one) if timezone == "UTC" else f"{iso(one)}  {_wall(one, timezone)}" for one in moments]
    show(Said([iso(one) for one in moments], lines), as_json)


def _wall(moment: int, timezone: str) -> str:
    """What the zone's clocks show at an instant."""
    offset = zone(timezone).offset_at(moment // 1_000)
    sign, minutes = "-" if offset < 0 else "+", abs(offset) // 60
    return (
        f"{iso(moment + offset * 1_000)[:19].replace('T', ' ')} {sign}{minutes // 60:02}:{minutes % 60:02} {timezone}"
    )


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("preview")(preview)
