"""What people type, as values of the domain. Raises `ValueError` (`Invalid` is one); Typer tells the option's name."""

import re
from collections.abc import Callable
from typing import Any

import typer

from rota.domain.durations import to_ms
from rota.domain.errors import Invalid
from rota.domain.ids import definition_id
from rota.domain.names import check_name
from rota.domain.payload import check_payload
from rota.domain.priority import priority
from rota.domain.records import DISPATCH
from rota.domain.triggers import parse
from rota.wiring import SystemClock

WHEN = '"0 2 * * *", "@daily", "every 10s" or "at 2026-12-24T18:00".'
NO_LIMIT: Any = object()
"""What `none` means; an option's None means that it was not given."""
GRANT = re.compile(r"([a-z]+)(?:@([^/]+))?(?:/(task|queue):(.+))?")
KEY_LIMIT = 200
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def option(parser: Callable[[str], Any], about: str, *names: str) -> Any:
    """An option of which `parser` makes a value of the domain."""
    return typer.Option(*names, parser=parser, metavar=parser.__name__.upper(), help=about)


def argument(metavar: str) -> Any:
    """The argument that names a task, schedule or queue."""
    return typer.Argument(parser=full_name, metavar=metavar, help="Its name, or namespace/name.")


def full_name(text: str) -> str:
    """`namespace/name` of a name with or without its namespace."""
    space, own = text.split("/", 1) if "/" in text else ("main", text)
    return definition_id(check_name("namespace", space), check_name("", own))


def name(text: str) -> str:
    """A name without a namespace."""
    return check_name("", text)


def grant(text: str) -> dict[str, str]:
    """A grant from `role@namespace/task:name`."""
    found = GRANT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r:.60} is no grant; write developer, viewer@etl, worker@*/queue:mail or admin@*")
    role, space, kind, own = found.groups("")
    return {"role": role, "namespace": space or "main", **({kind: name(own)} if kind else {})}


def payload(text: str) -> Any:
    """A JSON value of text that all readers read alike: valid Unicode, no NaN, no key twice."""
    return check_payload(text.encode(errors="surrogatepass"), "")


def setting(text: str) -> tuple[str, Any]:
    """A setting of an executor from `key=value`; a value that is not JSON is text."""
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise ValueError(f"{text!r:.60} is not key=value; write --param method=POST")
    try:
        return key, payload(value)
    except ValueError:
        return key, value


def endpoints(text: str) -> str:
    """URL of the store on etcd at `host:port,host:port`; with https:// before each it is reached by TLS."""
    found = [re.fullmatch(r"(?:(https?)://)?([^\s/@?#,]+)/?", one.strip()) for one in text.split(",")]
    if not all(found) or len({one[1] == "https" for one in found if one}) > 1:
        raise ValueError(f"{text!r:.80} are no endpoints; write localhost:2379, or several with commas")
    places = [(one[1] == "https", one[2]) for one in found if one]
    return f"etcd{'s' if places[0][0] else ''}://{','.join(place for _, place in places)}/"


def strategy(text: str) -> str:
    """A way for runs to get to workers."""
    if text in DISPATCH:
        return text
    raise ValueError(f"{text!r:.60} is none; choose from {', '.join(DISPATCH)}")


def level(text: str) -> int | str:
    """A priority by name or number."""
    found = int(text) if text.isdecimal() else text
    priority(found)
    return found


def key(text: str | None) -> str | None:
    """A key for idempotency, which travels in a header."""
    if text is None or (text.isascii() and text.isprintable() and 0 < len(text) <= KEY_LIMIT and text == text.strip()):
        return text
    raise Invalid("key", f"a key has 1 to {KEY_LIMIT} printable ASCII characters and no blanks around them")


def length(text: str) -> int:
    """Milliseconds of `90s`, `1h30m`, or a number of seconds."""
    return to_ms(float(text) if NUMBER.fullmatch(text) else text, "")


def limit(text: str) -> Any:
    """A length of time that is a limit; `none` is no limit."""
    if text.lower() == "none":
        return NO_LIMIT
    if found := length(text):
        return found
    raise ValueError("0 leaves no time; write none for no limit")


def instant(text: str) -> int:
    """An instant in ISO 8601; without an offset it is UTC."""
    try:
        return parse(f"at {text}").after(0) or 0
    except Invalid as error:
        raise ValueError(error.message.replace('"at ', '"')) from None


def since(text: str) -> int:
    """An instant, or the one that is a length of time ago."""
    return instant(text) if re.match("[0-9]{4}-", text) else SystemClock().now() - length(text)


def delay(text: str) -> int:
    """The instant that is a length of time ahead."""
    return SystemClock().now() + length(text)
