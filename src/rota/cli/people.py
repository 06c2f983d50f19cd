"""`rota users` and `rota tokens`: who may do what, and by which credential."""

import sys
from typing import Annotated, Any

import typer

from rota.cli import read
from rota.cli.common import MOST, changes, command, fits, given, only
from rota.cli.remote import Api
from rota.cli.show import Answer, Listing, Sheet, hidden
from rota.domain.errors import Invalid

users = typer.Typer(name="users", help="Who may log in, and what they may do.")
tokens = typer.Typer(name="tokens", help="Keys of programs and workers, logins, and links to log in by.")

GRANT = "viewer, operator, developer, admin or worker, of main; or as in viewer@etl, admin@*, operator/queue:mail."
Who = Annotated[str, typer.Argument(parser=read.name, metavar="USER", help="The login name.")]
Grants = Annotated[list[Any] | None, read.option(read.grant, GRANT, "--grant")]
Password = Annotated[bool, typer.Option("--password", help="Ask for a password, or read one from standard input.")]
Ends = Annotated[Any, read.option(read.delay, "It opens nothing after so long, such as 90d.", "--expires")]
USERS = ("id", "grants", "has_password", "disabled")
TOKENS = ("id", "kind", "name", "owner", "grants")


def _asked() -> str:
    text = hidden("password: ")
    if sys.stdin.isatty() and text != hidden("again: "):
        raise Invalid("password", "these two are not the same")
    return text


@command(users, "list")
async def listed(api: Api) -> Answer:
    """List users."""
    return Listing("users", await api.items("/api/users", MOST), USERS, ("created_at",))


@command(users, "add")
async def add(api: Api, name: Who, grant: Grants = None, password: Password = False) -> Answer:
    """Make a user. Without a password they come in by `rota tokens add --link`."""
    secret = {"password": _asked()} if password else {}
    return Sheet(await api("POST", "/api/users", {"name": name, "grants": grant or [], **secret}))


@command(users, "change")
async def change(
    api: Api,
    name: Who,
    grant: Grants = None,
    password: Password = False,
    disabled: Annotated[bool | None, typer.Option("--disable/--enable", help="Whether they may log in.")] = None,
) -> Answer:
    """Give a user these rights in place of all others, another password, or no way in. The last admin stays."""
    wanted = given({"grants": grant or None, "disabled": disabled})
    wanted |= {"password": _asked()} if password else {}
    return Sheet(await api("PATCH", f"/api/users/{name}", changes(wanted)))


@command(tokens, "list")
async def tokens_listed(api: Api) -> Answer:
    """List all tokens that open something, newest first."""
    return Listing("tokens", await api.items("/api/tokens", MOST), TOKENS, ("expires_at", "used_at"))


@command(tokens, "add")
async def mint(
    api: Api,
    name: Annotated[str, typer.Argument(help="What to call it.")],
    grant: Grants = None,
    owner: Annotated[str, typer.Option(help="The user whose rights bound it; without one it stands for itself.")] = "",
    link: Annotated[bool, typer.Option("--link", help="A link for its owner to log in once, within an hour.")] = False,
    expires: Ends = None,
) -> Answer:
    """Make a token, and print it: it cannot be shown again."""
    if link and not owner:
        raise Invalid("owner", "a link logs a user in; say which by --owner")
    wanted = {"name": name, "kind": "link" if link else "key", "grants": grant or [], "owner": owner}
    made = await api("POST", "/api/tokens", wanted | given({"expires_at": expires}))
    return Sheet(made, [made["secret"]])


@command(tokens, "revoke")
async def revoke(
    api: Api, name: Annotated[str, typer.Argument(metavar="TOKEN", help="Its id, or the last or first digits of it.")]
) -> Answer:
    """Revoke a token: it opens nothing any more, within five seconds everywhere."""
    known = await api.items("/api/tokens", MOST)
    found = only("token", name, [one["id"] for one in known if fits(name, one["id"])])
    await api("DELETE", f"/api/tokens/{found}")
    return Sheet({"revoked": found})
