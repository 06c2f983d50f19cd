"""What all commands share: the store they ask, who asks, and how a verb over the engine becomes a command."""

import asyncio
import os
import pwd
from collections.abc import Awaitable, Callable, Sequence
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from rota.cli import read
from rota.cli.show import Answer, show
from rota.domain.errors import Invalid, NotFound
from rota.domain.names import without_password
from rota.engine.engine import PAGE, Engine
from rota.engine.engine import read as read_one
from rota.ports.store import Where
from rota.settings import here
from rota.wiring import default_store, opened

T = TypeVar("T")
Verb = Callable[..., Awaitable[Answer]]
Flags = Callable[..., None]

IN_MEMORY = ("sqlite://", "sqlite:///", "sqlite:///:memory:")

Store = Annotated[str | None, typer.Option(envvar="ROTA_STORE", help="URL of the store.", show_default=False)]
Config = Annotated[Path | None, typer.Option(help="File of settings; else ROTA_CONFIG, else rota.toml or rota.yaml.")]
Environment = Annotated[str, typer.Option("--env", help="Settings under [environments.…] to go by; else ROTA_ENV.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="What is listed is of this namespace.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="At most so many.")]
Since = Annotated[Any, read.option(read.since, "Within this time, such as 1h, or after this instant.")]
OfTask = Annotated[str, typer.Option("--task", help="Of this task only.")]
When = Annotated[str, typer.Argument(help=read.WHEN)]
Count = Annotated[int, typer.Option("--count", min=1, max=1_000, help="How many.")]
Why = Annotated[str, typer.Option(help="The reason, for whoever finds it paused.")]


def command(group: typer.Typer, name: str, *flags: Flags) -> Callable[[Verb], Verb]:
    """Make an async function(engine, …) -> Answer a command; the parameters of `flags` stand for its `**flags`."""

    def register(verb: Verb) -> Verb:
        def invoke(store: Store = None, as_json: Json = False, **given: Any) -> None:
            wide = given.pop("wide", False)
            show(ask(store, lambda engine: verb(engine, **given)), as_json, wide)

        tables = (_wide,) if name in ("list", "audit") else ()
        group.command(name, help=verb.__doc__)(with_flags(invoke, verb, *flags, *tables))
        return verb

    return register


def _wide(
    wide: Annotated[bool, typer.Option("--wide", help="All columns, and whole ids, however wide that is.")] = False,
) -> None:
    """The option of all tables."""


def with_flags(function: Callable[..., None], *prototypes: Callable[..., Any]) -> Callable[..., None]:
    """`function` as Typer is to see it: the parameters of these functions stand for its `**flags`."""
    found = [one for each in (*prototypes, function) for one in signature(each).parameters.values()]
    options = [one for one in found if one.name != "engine" and one.kind is not Parameter.VAR_KEYWORD]
    named = Signature([one.replace(kind=Parameter.KEYWORD_ONLY) for one in options])
    function.__signature__ = named  # type: ignore[attr-defined]  # Typer reads the options from it
    return function


def ask(store: str | None, question: Callable[[Engine], Awaitable[T]]) -> T:
    """What `question` finds out over the store, opened for it alone."""

    async def asked() -> T:
        async with opened(store_url(store)) as engine:
            if loaded := here():
                engine.defaults = loaded.settings.defaults()
            return await question(engine)

    return asyncio.run(asked())


def store_url(given: str | None) -> str:
    """The store to ask: as given, else of the settings, else the default. Raises `Invalid` where there is none yet."""
    url = given or settled_store() or default_store()
    path = database(url)
    if path and not (path.exists() and (path.is_dir() or path.stat().st_size)):
        made = f"make it with `rota up` or `rota migrate --store {without_password(url)}`"
        there = f"there is no database {str(path)!r}{' yet, the file is empty' if path.exists() else ''}; {made}"
        raise Invalid("store", f"{there}, or name another one by --store or ROTA_STORE")
    if url in IN_MEMORY:
        raise Invalid("store", "a store in memory ends with this command; name a file, such as sqlite:///rota.db")
    return url


def settled_store() -> str:
    """The store that the settings name; empty where they name none."""
    loaded = here()
    return loaded.settings.store if loaded else ""


def database(url: str) -> Path | None:
    """The file of an SQLite store; None for others, and for those in memory."""
    scheme, _, rest = url.partition(":///")
    name = rest.partition("?")[0]
    return Path(name) if scheme.partition("+")[0] == "sqlite" and name and name != ":memory:" else None


def place(url: str) -> Path | str:
    """What two URLs of the same store have in common."""
    file = database(url)
    return file.resolve() if file else url


def actor() -> str:
    """Who asks, for the audit: the login name that this process runs under."""
    try:
        return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"cli:{os.getuid()}"


async def newest(engine: Engine, kind: Any, where: Where, limit: int) -> list[Any]:
    """The newest `limit` records, however short the store's pages are."""
    found: list[Any] = []
    cursor = ""
    while True:
        page = await engine.store.find(kind, where, cursor, min(limit - len(found), PAGE))
        found += [held.record for held in page.items]
        cursor = page.cursor
        if not cursor or len(found) >= limit:
            return found


def only(word: str, text: str, found: Sequence[str]) -> str:
    """The one id that a text means. Raises `NotFound`, or `Invalid` where several fit."""
    if not found:
        raise NotFound(word, text[:60], f"see `rota {word}s list`")
    if len(found) > 1:
        raise Invalid(word, f"{text[:60]!r} can be any of {', '.join(found)}")
    return found[0]


async def known(engine: Engine, kind: Any, name: str) -> Any:
    """The task or schedule of that name. Raises `NotFound`."""
    return (await read_one(engine, kind, name, kind.__name__.lower())).record
