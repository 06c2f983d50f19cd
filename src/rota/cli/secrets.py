"""`rota secrets`: values that may stand in a file although the file is no secret."""

import sys
from pathlib import Path
from typing import Annotated

import typer

group = typer.Typer(name="secrets", help="Keys, and settings encrypted by them.")


@group.command("key")
def key(
    to: Annotated[Path | None, typer.Option(help="Put it before the keys in this file, for its owner alone.")] = None,
) -> None:
    """Make a key: for encrypted settings, or as `security.secret`. Of a file's keys the first one encrypts."""
    from rota.identity.files import private, write_private
    from rota.settings.secrets import new_key

    made = new_key()
    if to is None:
        print(made)
        return
    write_private(to, "\n".join([made, private(to) or ""]).strip())
    print(f"a new key is the first in {to}; set ROTA_SECRETS_KEY_FILE={to} for all that read the settings")


@group.command("encrypt")
def encrypted() -> None:
    """Encrypt a value from standard input for a file of settings; what is encrypted already by the newest key."""
    from rota.settings.secrets import encrypt

    print(encrypt(typer.prompt("value", hide_input=True) if sys.stdin.isatty() else sys.stdin.read().rstrip("\r\n")))
