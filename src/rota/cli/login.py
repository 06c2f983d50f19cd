"""`rota token` and `rota login`: the keys that this machine has for servers, in a private file."""

import os
import sys
from getpass import getpass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rota.cli.common import Store, settled_store
from rota.cli.show import Sheet, show
from rota.domain.errors import Invalid, RotaError
from rota.domain.schedule import DAY_MS
from rota.identity.files import credentials, keep_credential
from rota.wiring import SystemClock, credentials_place, default_name, default_store

if TYPE_CHECKING:
    import httpx

group = typer.Typer()
DAYS = 90
Server = Annotated[str, typer.Option(envvar="ROTA_SERVER", help="Address, such as https://rota.example.org.")]


def key_of(server: str, store: str | None) -> str:
    """The key to ask a server with: ROTA_TOKEN, else the one kept for it, else the one beside the store."""
    if given := os.environ.get("ROTA_TOKEN"):
        return given
    beside = credentials(credentials_place(store or settled_store() or default_store()))
    if found := credentials(credentials_place()).get(server) or beside.get(server):
        return found
    if not server and beside:
        return next(iter(beside.values()))
    where = server or "a server here; the first `rota up` makes one, and --server names another"
    raise Invalid("server", f"there is no key for {where}: log in by `rota login --server URL`")


@group.command("token")
def token(server: Server = "", store: Store = None) -> None:
    """Print the key of this machine, as in `curl -H "Authorization: Bearer $(rota token)" …`."""
    print(key_of(server.rstrip("/"), store))


@group.command("login")
def login(
    server: Server = "http://127.0.0.1:8080",
    user: Annotated[str, typer.Option(help="Log in as; a key of yours is made, good for 90 days.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Keep a key for a server: a new one by name and password, else one that you paste or pipe in."""
    import httpx

    server = server.rstrip("/")
    with httpx.Client(base_url=server, timeout=30) as client:
        key = _made(client, user) if user else _read("key: ")
        me = _answer(client.get("/api/auth/me", headers=_bearer(key)))
    place = credentials_place()
    keep_credential(place, server, key)
    show(Sheet({"server": server, "name": me["name"], "file": str(place)}, [f"{me['name']} at {server}"]), as_json)


def _made(client: "httpx.Client", user: str) -> str:
    body = {"name": user, "password": _read("password: ")}
    access = _bearer(_answer(client.post("/api/auth/login", json=body))["access_token"])
    mine = _answer(client.get("/api/auth/me", headers=access))["grants"]
    ends = SystemClock().now() + DAYS * DAY_MS
    asked = {"name": f"cli@{default_name()}", "grants": mine, "expires_at": ends}
    secret: str = _answer(client.post("/api/tokens", json=asked, headers=access))["secret"]
    client.post("/api/auth/logout", headers=access)
    return secret


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _read(prompt: str) -> str:
    return getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline().strip()


def _answer(answer: "httpx.Response") -> Any:
    """What a server says. Raises `RotaError` with its own words where it refuses."""
    try:
        said = answer.json()
    except ValueError:
        said = {}
    if answer.is_success and isinstance(said, dict):
        return said
    raise RotaError(f"{answer.url.host} answers {answer.status_code}: {said.get('detail', answer.reason_phrase)}")
