"""The commands that are about the whole: preview, stats, audit."""

from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from rota.api.views import iso, plain
from rota.cli import read
from rota.cli.common import Count, Json, Limit, Since, When, command, newest
from rota.cli.show import Answer, Listing, Sheet, show
from rota.domain.errors import Invalid
from rota.domain.records import Audit
from rota.domain.schedule import Schedule
from rota.domain.timing import preview as fires_of
from rota.domain.zones import zone
from rota.engine import query
from rota.engine.engine import Engine
from rota.ports.store import Where
from rota.wiring import SystemClock

group = typer.Typer()


@group.command("preview")
def preview(
    schedule: When,
    timezone: Annotated[str, typer.Option(help="IANA zone of the cron text or time.")] = "UTC",
    count: Count = 10,
    as_json: Json = False,
) -> None:
    """Show when a schedule would fire, before there is one. Needs no store."""
    trigger = read.trigger(schedule, {"timezone": timezone})
    moments = fires_of(Schedule("main", "preview", "preview", trigger), SystemClock().now(), count)
    if not moments:
        raise Invalid("schedule", "it would never fire: its last instant is in the past")
    clock = ZoneInfo(zone(timezone).name)
    walls = [datetime.fromtimestamp(one / 1_000, clock).isoformat(" ") for one in moments]
    show(Sheet([iso(one) for one in moments], [f"{wall} {timezone}" for wall in walls]), as_json)


@command(group, "stats")
async def stats(engine: Engine, since: Since = "1h") -> Answer:
    """Count tasks, schedules, workers, runs that are not over, and what has ended lately."""
    data = plain(await query.stats(engine, since))
    data["ended"] = dict(sorted(data.pop("totals").items()))
    return Sheet(data)


@command(group, "audit")
async def audit(engine: Engine, since: Since = None, limit: Limit = 50) -> Answer:
    """Show who changed what, newest first."""
    found = await newest(engine, Audit, Where(since=since), limit)
    columns = ("at", "actor", "action", "target", "why")
    return Listing("entries", [_entry(one) for one in found], columns, ("origin", "changed"))


def _entry(entry: Audit) -> dict[str, Any]:
    """An entry with the fields that it keeps; long ones are cut, and stay text."""
    before, after = plain(entry.before.encode()), plain(entry.after.encode())
    both = isinstance(before, dict) and isinstance(after, dict)
    changed = sorted(before.keys() & after) if both else []
    why = after.get("paused", "") if isinstance(after, dict) else ""
    return {**plain(entry), "before": before, "after": after, "changed": changed, "why": why}
