"""`rota migrate`: make or upgrade the tables of a store."""

import asyncio

import typer

from rota.cli.common import DATA, DATABASE, Json, Store, without_password
from rota.cli.show import Said, show


def migrate(store: Store = None, as_json: Json = False) -> None:
    """Make or upgrade the tables of a store, and say which migrations that took."""
    from rota.stores import migrate as applied_by

    url = store or f"sqlite:///{DATA / DATABASE}"
    if not store:
        DATA.mkdir(mode=0o700, exist_ok=True)
    shown = without_password(url)
    applied = asyncio.run(applied_by(url))
    lines = [f"applied {one}" for one in applied] or [f"{shown} is up to date"]
    show(Said({"store": shown, "applied": applied}, lines), as_json)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("migrate")(migrate)
