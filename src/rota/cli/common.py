"""What all commands share: whom they ask, who asks, and how a question to the API becomes a command."""

import asyncio
import os
import pwd
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from rota.cli import read
from rota.cli.remote import Api, address, at, open_to_all, thing, within
from rota.cli.show import Answer, Sheet, show, warn
from rota.domain.errors import Invalid, NotFound
from rota.domain.names import without_password
from rota.settings import here
from rota.wiring import credentials_place, database, default_store, in_memory

if TYPE_CHECKING:
    from rota.settings.load import Loaded

T = TypeVar("T")
Verb = Callable[..., Awaitable[Answer | None]]
Flags = Callable[..., None]

MOST = 100_000
"""So many of a kind are looked through or listed where nobody says a limit."""

Store = Annotated[str | None, typer.Option(envvar="ROTA_STORE", help="URL of the store.", show_default=False)]
Config = Annotated[Path | None, typer.Option(help="File of settings; else ROTA_CONFIG, else rota.toml or rota.yaml.")]
Environment = Annotated[str, typer.Option("--env", help=r"Settings under \[environments.…] to go by; else ROTA_ENV.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]
Endpoints = Annotated[
    str | None, read.option(read.endpoints, "Members of etcd, such as localhost:2379, by commas: the store is there.")
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="What is listed is of this namespace.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="At most so many.")]
Since = Annotated[Any, read.option(read.since, "Within this time, such as 1h, or after this instant.")]
OfTask = Annotated[str, typer.Option("--task", help="Of this task only.")]
When = Annotated[str, typer.Argument(metavar="WHEN", help=read.WHEN)]
Count = Annotated[int, typer.Option("--count", min=1, max=1_000, help="How many.")]
Why = Annotated[str, typer.Option(help="The reason, for whoever finds it paused.")]


def whom(
    store: Annotated[str, typer.Option(help="URL of the store to ask; else ROTA_STORE.", show_default=False)] = "",
    etcd_endpoints: Endpoints = None,
    server: Annotated[str, typer.Option(help="Address of the API to ask instead; else ROTA_SERVER.")] = "",
    token: Annotated[str, typer.Option(help="Token for the server; better ROTA_TOKEN, or `rota login`.")] = "",
    config: Config = None,
    environment: Environment = "",
) -> AbstractAsyncContextManager[Api]:
    """Whom to ask: as the options say, else ROTA_SERVER, else a store. Raises `Invalid`."""
    store = one_store(store, etcd_endpoints)
    if store and server:
        raise Invalid("server", "holds the data already; leave --store out, and --etcd-endpoints")
    url = server or ("" if store else os.environ.get("ROTA_SERVER", ""))
    if url:
        place = address(url)
        token = token or key_of(place, None, config, environment)
        if open_to_all(place):
            warn(f"{place} is not encrypted: others on the way can read the token; use https")
        return at(place, token)
    if token:
        raise Invalid("token", "is for a server; name it by --server")
    loaded = here(config, environment)
    return within(store_url(store or os.environ.get("ROTA_STORE"), loaded), actor(), loaded)


def one_store(store: str | None, etcd_endpoints: str | None) -> str:
    """The URL that one of two options gives; empty: none does. Raises `Invalid`."""
    if store and etcd_endpoints:
        raise Invalid("etcd-endpoints", "say where the data is, and so does --store; give one of them")
    return store or etcd_endpoints or ""


def command(group: typer.Typer, name: str, *flags: Flags) -> Callable[[Verb], Verb]:
    """Make an async function(api, …) -> Answer a command; the parameters of `flags` stand for its `**flags`."""

    def register(verb: Verb) -> Verb:
        prints = "as_json" in signature(verb).parameters

        def invoke(as_json: Json = False, **given: Any) -> None:
            wide = given.pop("wide", False)
            there = whom(**{key: given.pop(key) for key in signature(whom).parameters})
            given |= {"as_json": as_json} if prints else {}
            if answer := ask(there, lambda api: verb(api, **given)):
                show(answer, as_json, wide)

        tables = (_wide,) if name in ("list", "audit") else ()
        group.command(name, help=verb.__doc__)(with_flags(invoke, verb, *flags, *tables, whom))
        return verb

    return register


def _wide(
    wide: Annotated[bool, typer.Option("--wide", help="All columns, and whole ids, however wide that is.")] = False,
) -> None:
    """The option of all tables."""


def with_flags(function: Callable[..., None], *prototypes: Callable[..., Any]) -> Callable[..., None]:
    """`function` as Typer is to see it: the parameters of these functions stand for its `**flags`."""
    found = {one.name: one for each in (*prototypes, function) for one in signature(each).parameters.values()}
    options = [one for one in found.values() if one.name != "api" and one.kind is not Parameter.VAR_KEYWORD]
    named = Signature([one.replace(kind=Parameter.KEYWORD_ONLY) for one in options])
    function.__signature__ = named  # type: ignore[attr-defined]  # Typer reads the options from it
    return function


def ask(there: AbstractAsyncContextManager[Api], question: Callable[[Api], Awaitable[T]]) -> T:
    """What `question` finds out."""

    async def found() -> T:
        async with there as api:
            return await question(api)

    return asyncio.run(found())


def store_url(given: str | None, loaded: "Loaded | None") -> str:
    """The store to ask: as given, else of the settings, else the default. Raises `Invalid` where there is none yet."""
    url = given or (loaded.store() if loaded else "") or default_store()
    path = database(url)
    if path and not (path.exists() and (path.is_dir() or path.stat().st_size)):
        made = f"make it with `rota up` or `rota migrate --store {without_password(url)}`"
        there = f"there is no database {str(path)!r}{' yet, the file is empty' if path.exists() else ''}; {made}"
        raise Invalid("store", f"{there}, or name another one by --store or ROTA_STORE")
    if in_memory(url):
        raise Invalid("store", "a store in memory ends with this command; name a file, such as sqlite:///rota.db")
    return url


def key_of(server: str, store: str | None, config: Path | None = None, environment: str = "") -> str:
    """The key to ask a server with: ROTA_TOKEN, else the one kept for it, else the one beside the store."""
    from rota.identity.files import credentials

    if given := os.environ.get("ROTA_TOKEN"):
        return given
    beside = credentials(credentials_place(store or settled_store(config, environment) or default_store()))
    if found := credentials(credentials_place()).get(server) or beside.get(server):
        return found
    if not server and beside:
        return next(iter(beside.values()))
    where = server or "a server here; the first `rota up` makes one, and --server names another"
    raise Invalid("server", f"there is no key for {where}: log in by `rota login --server URL`")


def settled_store(config: Path | None, environment: str) -> str:
    """The store that the settings name; empty where they name none."""
    loaded = here(config, environment)
    return loaded.settings.store if loaded else ""


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


def given(flags: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Those of these options, or of all, that were given, as members of a body; what is to have no limit has null."""
    found = {name: flags[name] for name in names or flags if flags.get(name) is not None}
    return {name: None if value is read.NO_LIMIT else value for name, value in found.items()}


def changes(body: dict[str, Any]) -> dict[str, Any]:
    """A body that changes something. Raises `Invalid` where it says nothing."""
    if not body:
        raise Invalid("", "nothing to change; --help tells what can be")
    return body


def fits(text: str, name: str) -> bool:
    """Whether a text stands for an id: the whole, or at least six of its first or last digits."""
    return text == name or (len(text) >= 6 and (name.startswith(text) or name.endswith(text)))


async def check_known(api: Api, namespace: str, **names: str) -> None:
    """Where a listing of what belongs to these is empty: raises `NotFound` if one of them is not there at all."""
    for kind, name in names.items():
        if name and namespace != "*":
            await api("GET", thing(kind, f"{namespace}/{name}"))


async def deleted(api: Api, kind: str, name: str) -> Answer:
    """Delete a task or schedule, and warn where code declares it."""
    held = await api("GET", thing(kind, name))
    await api("DELETE", thing(kind, name))
    if held["owner"] == "code":
        warn(f"an app declares {name} in its code: it comes back when that app starts again; take it out there too")
    return Sheet({"deleted": name})


def only(word: str, text: str, found: Sequence[str]) -> str:
    """The one id that a text means. Raises `NotFound`, or `Invalid` where several fit."""
    if not found:
        raise NotFound(word, text[:60], f"see `rota {word}s list`")
    if len(found) > 1:
        raise Invalid(word, f"{text[:60]!r} can be any of {', '.join(found)}; give more of it")
    return found[0]
