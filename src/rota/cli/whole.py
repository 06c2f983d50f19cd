"""The commands that are about the whole: preview, stats, audit, doctor."""

import asyncio
import json
import sys
from datetime import datetime
from typing import Annotated, Any

import typer

from rota.api.views import iso
from rota.cli.common import Count, Json, Limit, Since, When, ask, command, whom, with_flags
from rota.cli.remote import Api
from rota.cli.show import Answer, Listing, Sheet, show
from rota.domain.errors import Invalid, StoreError
from rota.domain.names import without_password
from rota.domain.schedule import Schedule
from rota.domain.timing import preview as fires_of
from rota.domain.triggers import parse
from rota.domain.zones import zone
from rota.wiring import SystemClock

group = typer.Typer()
WATCH_S = 2
CLEAR = "\x1b[2J\x1b[H"
NUMBERS = ("worker", "session", "total", "running", "completed", "failed", "cpu_percent", "memory_mb", "busy_percent")


@group.command("preview")
def preview(
    schedule: When,
    timezone: Annotated[str, typer.Option(help="IANA zone of the cron text or time.")] = "UTC",
    count: Count = 10,
    as_json: Json = False,
) -> None:
    """Show when a schedule would fire, before there is one. Needs no store."""
    trigger = parse(schedule, timezone)
    moments = fires_of(Schedule("main", "preview", "preview", trigger), SystemClock().now(), count)
    if not moments:
        raise Invalid("schedule", "it would never fire: its last instant is in the past")
    walls = [datetime.fromtimestamp(one / 1_000, zone(timezone).info).isoformat(" ") for one in moments]
    show(Sheet([iso(one) for one in moments], [f"{wall} {timezone}" for wall in walls]), as_json)


@command(group, "stats")
async def stats(
    api: Api,
    since: Since = "1h",
    watch: Annotated[bool, typer.Option("--watch", help="Again every two seconds, until Ctrl-C.")] = False,
    as_json: bool = False,
) -> Answer | None:
    """Count tasks, schedules, workers, runs that are not over, and what has ended lately (7 days at most)."""
    while True:
        found = await api("GET", "/api/system/stats", namespace="*", since=since)
        if watch and as_json:
            print(json.dumps(found), flush=True)
        elif as_json:
            return Sheet(found)
        else:
            if watch and sys.stdout.isatty():
                print(CLEAR, end="")
            workers = found.pop("by_worker")
            show(Sheet(found), False)
            print("attempts of each live worker since it began (above, a run counts once):")
            show(Listing("live workers", workers, NUMBERS), False)
        if not watch:
            return None
        await asyncio.sleep(WATCH_S)


@command(group, "audit")
async def audit(api: Api, since: Since = None, limit: Limit = 50) -> Answer:
    """Show who changed what, newest first."""
    columns = ("at", "actor", "action", "target", "why")
    return Listing("entries", await api.items("/api/audit", limit, since=since), columns, ("origin", "changed"))


def doctor(as_json: Json = False, **given: Any) -> None:
    """Look at store, clock, scheduler and workers. Exits with 1 if something fails."""

    async def look(api: Api) -> list[dict[str, Any]]:
        place = f"{api.server} answers" if api.server else f"{without_password(api.store)} opens, its tables fit"
        opens = {"level": "ok", "check": "server" if api.server else "store", "text": place}
        return [opens, *(await api("GET", "/api/system/doctor"))["items"]]

    try:
        found = ask(whom(**given), look)
    except StoreError as error:
        found = [{"level": "fail", "check": "store", "text": str(error)}]
    code = 1 if any(one["level"] == "fail" for one in found) else 0
    show(Listing("findings", found, ("level", "check", "text"), code=code), as_json)


group.command("doctor")(with_flags(doctor, whom))
