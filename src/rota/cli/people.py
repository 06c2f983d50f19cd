"""`rota users` and `rota tokens`: who may do what, and by which credential."""

import sys
from getpass import getpass
from typing import Annotated, Any

import typer

from rota.api.views import token_row, user_row
from rota.cli import read
from rota.cli.common import actor, command, only
from rota.cli.show import Answer, Listing, Sheet
from rota.domain.access import ANY, Actor, Grant
from rota.domain.errors import Invalid
from rota.domain.people import LINK_MS, Kind, Token, User, check_password
from rota.engine import people
from rota.engine.engine import Engine
from rota.wiring import locks

users = typer.Typer(name="users", help="Who may log in, and what they may do.")
tokens = typer.Typer(name="tokens", help="Keys of programs and workers, logins, and links to log in by.")

GRANT = "ROLE[@NAMESPACE][/task:NAME|/queue:NAME]: viewer, operator, developer, admin or worker; @* is all namespaces."
Who = Annotated[str, typer.Argument(metavar="USER", help="The login name.")]
Grants = Annotated[list[Grant] | None, read.option(read.grant, GRANT, "--grant")]
Password = Annotated[bool, typer.Option("--password", help="Ask for a password, or read one from standard input.")]
Ends = Annotated[Any, read.option(read.delay, "It opens nothing after so long, such as 90d.", "--expires")]
USERS = ("id", "grants", "has_password", "disabled")
TOKENS = ("id", "kind", "name", "owner", "grants")


def here() -> Actor:
    """Whoever may open the store may do everything in it."""
    return Actor(actor(), (Grant("admin", ANY),))


def _row(row: dict[str, Any], grants: tuple[Grant, ...]) -> dict[str, Any]:
    return row | {"grants": [str(one) for one in grants]}


async def _asked(name: str) -> str:
    if sys.stdin.isatty():
        text = getpass("password: ")
        if text != getpass("again: "):
            raise Invalid("password", "these two are not the same")
    else:
        text = sys.stdin.readline().rstrip("\r\n")
    return await locks().hashed(check_password(name, text))


@command(users, "list")
async def listed(engine: Engine) -> Answer:
    """List users."""
    return Listing(
        "users", [_row(user_row(one), one.grants) for one in await people.users(engine)], USERS, ("created_at",)
    )


@command(users, "add")
async def add(engine: Engine, name: Who, grant: Grants = None, password: Password = False) -> Answer:
    """Make a user. Without a password they come in by `rota tokens add --link`."""
    kept = await _asked(name) if password else ""
    made = await people.add_user(engine, User(name, tuple(grant or ()), kept), here())
    return Sheet(_row(user_row(made), made.grants))


@command(users, "change")
async def change(
    engine: Engine,
    name: Who,
    grant: Grants = None,
    password: Password = False,
    disabled: Annotated[bool | None, typer.Option("--disable/--enable", help="Whether they may log in.")] = None,
) -> Answer:
    """Give a user these rights in place of all others, another password, or no way in. The last admin stays."""
    if grant is None and disabled is None and not password:
        raise Invalid("", "nothing to change; --help tells what can be")
    kept = await _asked(name) if password else None
    after = await people.change_user(engine, name, here(), grant, disabled, kept)
    return Sheet(_row(user_row(after), after.grants))


@command(tokens, "list")
async def tokens_listed(engine: Engine) -> Answer:
    """List all tokens that open something, newest first."""
    return Listing(
        "tokens",
        [_row(token_row(one), one.grants) for one in await people.tokens(engine)],
        TOKENS,
        ("expires_at", "used_at"),
    )


@command(tokens, "add")
async def mint(
    engine: Engine,
    name: Annotated[str, typer.Argument(help="What to call it.")],
    grant: Grants = None,
    owner: Annotated[str, typer.Option(help="The user whose rights bound it; without one it stands for itself.")] = "",
    link: Annotated[bool, typer.Option("--link", help="A link for its owner to log in once, within an hour.")] = False,
    expires: Ends = None,
) -> Answer:
    """Make a token, and print it: it cannot be shown again."""
    if link and not owner:
        raise Invalid("owner", "a link logs a user in; say which by --owner")
    kind = Kind.LINK if link else Kind.KEY
    ends = engine.clock.now() + LINK_MS if link else expires
    minted = locks().mint(kind)
    token = Token("", kind, name, owner=owner, grants=tuple(grant or ()), expires_at=ends)
    made = await people.mint(engine, minted, token, here())
    return Sheet(_row(token_row(made), made.grants) | {"secret": minted.text}, [minted.text])


@command(tokens, "revoke")
async def revoke(
    engine: Engine, token: Annotated[str, typer.Argument(help="Its id, or the first digits of it.")]
) -> Answer:
    """Revoke a token: it opens nothing any more, within five seconds everywhere."""
    found = [one.id for one in await people.tokens(engine) if one.id.startswith(token or "-")]
    gone = await people.revoke(engine, only("token", token, found), actor())
    return Sheet(_row(token_row(gone), gone.grants))
