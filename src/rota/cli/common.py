"""What all commands share: the store they ask, who asks, and how a verb over the engine becomes a command."""

import asyncio
import os
import pwd
import re
from collections.abc import Awaitable, Callable
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from rota.cli.show import Answer, show
from rota.domain.errors import Invalid, NotFound
from rota.domain.run import Run
from rota.engine.engine import Engine
from rota.ports.store import Versioned, Where

T = TypeVar("T")
Verb = Callable[..., Awaitable[Answer]]
Flags = Callable[..., Any]

DATA = Path("rota-data")
DATABASE = "rota.db"
PAGE = 500
ID_LENGTH = 32
SHORTEST_ID = 6

Store = Annotated[str | None, typer.Option(envvar="ROTA_STORE", help="URL of the store.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Of names that are given without one.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="At most so many.")]


def command(group: typer.Typer, name: str, flags: Flags | None = None) -> Callable[[Verb], Verb]:
    """Make an async function(engine, …) -> Answer a command that also takes --store and --json.

    `flags` is a function whose parameters stand for the verb's `**flags`.
    """

    def register(verb: Verb) -> Verb:
        @wraps(verb)
        def invoke(*, store: str | None, as_json: bool, **given: Any) -> None:
            answer = ask(store, lambda engine: verb(engine, **given))
            show(answer, as_json)
            if answer.code:
                raise typer.Exit(answer.code)

        group.command(name)(with_flags(invoke, verb, *([flags] if flags else []), _place))
        return verb

    return register


def _place(store: Store = None, as_json: Json = False) -> None:
    """The options of every command that asks a store."""


def with_flags(function: Callable[..., None], *flags: Flags) -> Callable[..., None]:
    """`function` as Typer is to see it: with the parameters of these functions, as keywords."""

    @wraps(function)
    def invoke(**given: Any) -> None:
        function(**given)

    found = [one for prototype in flags for one in signature(prototype).parameters.values()]
    parameters = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in found if one.name not in ("engine", "flags")]
    invoke.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # Typer reads the options from it
    return invoke


def ask(store: str | None, question: Callable[[Engine], Awaitable[T]]) -> T:
    """What `question` finds out over the store, opened for it alone."""
    from rota.wiring import opened

    async def asked() -> T:
        async with opened(url) as engine:
            return await question(engine)

    url = store_url(store)
    return asyncio.run(asked())


def store_url(given: str | None) -> str:
    """The store to ask: as given, else the one that `rota up` made here. Raises `Invalid` where there is none yet."""
    url = given or f"sqlite:///{DATA / DATABASE}"
    path = database(url)
    if path is None or path.exists():
        return url
    if given:
        raise Invalid("store", f"there is no database {str(path)!r}; make it with `rota migrate --store {given}`")
    raise Invalid("store", "there is none here; start one with `rota up`, or name one by --store or ROTA_STORE")


def database(url: str) -> Path | None:
    """The file of an SQLite store; None for others, and for those in memory."""
    scheme, _, rest = url.partition(":///")
    name = rest.partition("?")[0]
    return Path(name) if scheme.partition("+")[0] == "sqlite" and name and name != ":memory:" else None


def without_password(url: str) -> str:
    """A URL as it may be shown."""
    return re.sub(r"://([^/@]*?):[^@]*@", r"://\1:…@", url)


def actor() -> str:
    """Who asks, for the audit: the login name that this process runs under."""
    try:
        return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"cli:{os.getuid()}"


async def collect(engine: Engine, kind: Any, where: Where, limit: int) -> list[Any]:
    """The newest `limit` records, however short the store's pages are."""
    found: list[Any] = []
    cursor = ""
    while len(found) < limit:
        page = await engine.store.find(kind, where, cursor, min(limit - len(found), PAGE))
        found += [held.record for held in page.items]
        cursor = page.cursor
        if not cursor:
            break
    return found


async def run_id(engine: Engine, text: str) -> str:
    """The id of the one run whose id is `text` or begins with it. Raises `Invalid` or `NotFound`."""
    begin = text.strip().lower()
    if not re.fullmatch(rf"[0-9a-f]{{{SHORTEST_ID},{ID_LENGTH}}}", begin):
        raise Invalid("run", f"{text[:60]!r} is not the id of a run, nor its first {SHORTEST_ID} digits or more")
    if len(begin) == ID_LENGTH:
        return begin
    found: list[Versioned[Run]] = list((await engine.store.find(Run, Where(prefix=begin), "", 10)).items)
    if not found:
        raise NotFound("run", begin, "see `rota runs list`")
    if len(found) > 1:
        listed = ", ".join(held.record.id for held in found)
        raise Invalid("run", f"{begin!r} begins the ids of several runs, among them {listed}")
    return found[0].record.id
