"""What people type, as values of the domain. Raises `ValueError` (`Invalid` is one); Typer tells the option's name."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import typer

from rota.domain.access import Grant
from rota.domain.errors import Invalid
from rota.domain.ids import definition_id
from rota.domain.names import check_name
from rota.domain.payload import check_payload
from rota.domain.people import check_grants
from rota.domain.priority import Priority, priority
from rota.domain.triggers import Cron, Trigger, parse
from rota.sdk.duration import to_ms
from rota.wiring import SystemClock

R = TypeVar("R")

WHEN = '"0 2 * * *", "@daily", "every 10s" or "at 2026-12-24T18:00".'
DAILY = Cron("@daily")
NO_LIMIT: Any = object()
"""What `none` means; an option's None means that it was not given."""
GRANT = re.compile(r"([a-z]+)(?:@([^/]+))?(?:/(task|queue):(.+))?")
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


def grant(text: str) -> Grant:
    """A grant from `role@namespace/task:name`."""
    found = GRANT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r:.60} is no grant; write developer, viewer@etl, worker@*/queue:mail or admin@*")
    role, space, kind, own = found.groups("")
    named = {kind: name(own)} if kind else {}
    return check_grants([Grant(role, space or "main", **named)])[0]


def payload(text: str) -> bytes:
    """JSON text as it is kept: valid Unicode, no NaN, no key twice, no blanks."""
    value = check_payload(text.encode(errors="surrogatepass"), "")
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def setting(text: str) -> tuple[str, Any]:
    """A setting of an executor from `key=value`; a value that is not JSON is text."""
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise ValueError(f"{text!r:.60} is not key=value; write --param method=POST")
    try:
        return key, json.loads(payload(value))
    except ValueError:
        return key, value


def level(text: str) -> Priority:
    """A priority by name or number."""
    return priority(int(text) if text.isdecimal() else text)


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


def trigger(text: str | None, clock: Mapping[str, Any], known: Trigger = DAILY) -> Trigger:
    """What the text means by a clock (`timezone`, `gap`, `fold`), or without a text the known trigger by that clock."""
    given = {key: clock[key] for key in ("timezone", "gap", "fold") if clock.get(key)}
    kept = known.timezone if isinstance(known, Cron) else "UTC"
    found = known if text is None else parse(text, given.get("timezone", kept))
    if isinstance(found, Cron):
        return replace(found, **given)
    for key in given:
        if text is None or key != "timezone":
            raise Invalid(key, "is for cron text; other schedules meet no clock changes")
    return found


def updated(record: R, flags: Mapping[str, Any]) -> R:
    """A copy of a record in which those of its fields are new that the flags name and that were given."""
    given = {key: value for key, value in flags.items() if value is not None and hasattr(record, key)}
    new = {key: None if value is NO_LIMIT else value for key, value in given.items()}
    return replace(record, **new)  # type: ignore[type-var]  # dataclasses only


def changes(before: Any, after: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """The fields that differ. Raises `Invalid` where none does."""
    found = {key: getattr(after, key) for key in names if getattr(after, key) != getattr(before, key)}
    if not found:
        raise Invalid("", "nothing to change; --help tells what can be")
    return found
