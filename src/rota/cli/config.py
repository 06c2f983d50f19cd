"""`rota config`: what the settings are, where each comes from, and what is wrong with them."""

import typer

from rota.cli.common import Config, Environment, Json
from rota.cli.show import Listing, Sheet, fail, length, show
from rota.domain.errors import Invalid
from rota.stores import connect

group = typer.Typer(name="config", help="The settings: check and show them.")


@group.command("check")
def check(config: Config = None, environment: Environment = "", as_json: Json = False) -> None:
    """Check the settings and exit: 0 they can be used, 2 they cannot; each problem is a line."""
    from rota.settings.load import load

    try:
        loaded = load(config, environment)
        if loaded.settings.store:
            connect(loaded.settings.store)
    except Invalid as error:
        for one in getattr(error, "problems", [str(error)]):
            fail(one)
        raise typer.Exit(2) from None
    unused = loaded.unused
    lapse_ms = loaded.settings.worker.lapse_ms
    lines = [f"{loaded.path or 'no file'}: good, {len(loaded.origins)} settings are made"]
    lines += [f"{key} is not used: this version of Rota has not got what it is for" for key in unused]
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
