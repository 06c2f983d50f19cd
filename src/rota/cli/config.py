"""`rota config`: what the settings are, where each comes from, and what is wrong with them; and `rota secrets`: values
that may stand in a file although the file is no secret.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rota.cli.common import Config, Environment, Json
from rota.cli.show import Listing, Sheet, fail, length, show
from rota.domain.errors import Invalid
from rota.domain.names import number_of
from rota.transports import connect as carrier

group = typer.Typer(name="config", help="The settings: check and show them.")
secrets = typer.Typer(name="secrets", help="Keys, and settings encrypted by them.")


@group.command("check")
def check(config: Config = None, environment: Environment = "", as_json: Json = False) -> None:
    """Check the settings and exit: 0 they can be used, 2 they cannot; each problem is a line."""
    from rota.settings.load import load

    try:
        loaded = load(config, environment)
        loaded.store()
        if broker := loaded.settings.message_queue.address:
            carrier(broker)
    except Invalid as error:
        for one in getattr(error, "problems", [str(error)]):
            fail(one)
        raise typer.Exit(2) from None
    unused, worker = loaded.unused, loaded.settings.worker
    lapse_ms = worker.lapse_ms
    lines = [f"{loaded.path or 'no file'}: good, {number_of(len(loaded.origins), 'setting')}"]
    lines += [f"{key} is not used: this version of Rota has not got what it is for" for key in unused]
    if lapse_ms > worker.heartbeat_timeout:
        why = "it is at least three times heartbeat_interval, or a late beat would end a live worker"
        raised = f"is raised from {length(worker.heartbeat_timeout)} to {length(lapse_ms)}"
        lines += [f"worker.heartbeat_timeout {raised}: {why}"]
    lines += [f"a worker that vanishes is noticed after {length(lapse_ms)}, and what it ran goes to others"]
    show(Sheet({"file": str(loaded.path or ""), "unused": unused, "noticed_after_ms": lapse_ms}, lines), as_json)


@group.command("show")
def shown(config: Config = None, environment: Environment = "", as_json: Json = False) -> None:
    """Show every setting and where it comes from. Secrets are not shown."""
    from rota.settings.load import load

    loaded = load(config, environment)
    said, origins = loaded.settings, loaded.origins
    rows = [{"key": key, "value": said.spoken(key), "source": origins.get(key, "default")} for key in said.flat()]
    show(Listing("settings", rows, ("key", "value", "source")), as_json)


@secrets.command("key")
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


@secrets.command("encrypt")
def encrypted() -> None:
    """Encrypt a value from standard input for a file of settings; what is encrypted already by the newest key."""
    from rota.settings.secrets import encrypt

    print(encrypt(typer.prompt("value", hide_input=True) if sys.stdin.isatty() else sys.stdin.read().rstrip("\r\n")))
