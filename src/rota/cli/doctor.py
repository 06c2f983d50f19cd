"""`rota doctor`: is all well, and if not, what helps."""

from typing import Any

import typer

from rota.cli.common import Json, ask, whom, with_flags
from rota.cli.remote import Api
from rota.cli.show import Listing, show
from rota.domain.errors import StoreError
from rota.domain.names import without_password

group = typer.Typer()
COLUMNS = ("level", "check", "text")


async def _findings(api: Api) -> list[dict[str, str]]:
    found: list[dict[str, str]] = (await api("GET", "/api/system/doctor"))["items"]
    return found


def doctor(as_json: Json = False, **given: Any) -> None:
    """Look at store, clock, scheduler and workers. Exits with 1 if something fails."""
    asked = whom(**given)
    place = f"{asked.server} answers" if asked.server else f"{without_password(asked.store)} opens, its tables fit"
    try:
        opens = {"level": "ok", "check": "server" if asked.server else "store", "text": place}
        found = [opens, *ask(asked, _findings)]
    except StoreError as error:
        found = [{"level": "fail", "check": "store", "text": str(error)}]
    code = 1 if any(one["level"] == "fail" for one in found) else 0
    show(Listing("findings", found, COLUMNS, code=code), as_json)


group.command("doctor")(with_flags(doctor, whom))
