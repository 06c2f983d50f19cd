"""`rota token` and `rota login`: the keys that this machine has for servers, in a private file."""

import asyncio
from typing import Annotated

import typer

from rota.cli.common import Config, Environment, Store, key_of
from rota.cli.remote import address, at, open_to_all
from rota.cli.show import Sheet, hidden, show, warn
from rota.domain.schedule import DAY_MS
from rota.wiring import SystemClock, credentials_place, default_name

group = typer.Typer()
DAYS = 90
Server = Annotated[str, typer.Option(envvar="ROTA_SERVER", help="Address, such as https://rota.example.org.")]


@group.command("token")
def token(server: Server = "", store: Store = None, config: Config = None, environment: Environment = "") -> None:
    """Print the key of this machine, as in `curl -H "Authorization: Bearer $(rota token)" …`."""
    print(key_of(server.rstrip("/"), store, config, environment))


@group.command("login")
def login(
    server: Server = "http://127.0.0.1:8080",
    user: Annotated[str, typer.Option(help="Log in as; a key of yours is made, good for 90 days.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Keep a key for a server: a new one by name and password, else one that you paste or pipe in."""
    from rota.identity.files import keep_credential

    server = address(server)
    if open_to_all(server):
        warn(f"{server} is not encrypted: others on the way can read password and key; use https")
    name, key = asyncio.run(_known(server, user))
    place = credentials_place()
    keep_credential(place, server, key)
    show(Sheet({"server": server, "name": name, "file": str(place)}, [f"{name} at {server}"]), as_json)


async def _known(server: str, user: str) -> tuple[str, str]:
    """Who that is for the server, and the key."""
    key = await _made(server, user) if user else hidden("key: ").strip()
    async with at(server, key) as api:
        return (await api("GET", "/api/auth/me"))["name"], key


async def _made(server: str, user: str) -> str:
    async with at(server) as api:
        opened = await api("POST", "/api/auth/login", {"name": user, "password": hidden("password: ")})
    async with at(server, opened["access_token"]) as api:
        mine = (await api("GET", "/api/auth/me"))["grants"]
        ends = SystemClock().now() + DAYS * DAY_MS
        asked = {"name": f"cli@{default_name()}", "grants": mine, "expires_at": ends}
        secret: str = (await api("POST", "/api/tokens", asked))["secret"]
        await api("POST", "/api/auth/logout")
        return secret
