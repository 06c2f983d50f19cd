"""What people type, as values of the domain. Everything here raises `Invalid` with the option's name."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NoReturn

from rota.domain.errors import Invalid
from rota.domain.names import check_name
from rota.domain.priority import Priority, priority
from rota.domain.retry import NO_RETRY, Retry
from rota.domain.triggers import Cron, Once, Trigger, parse
from rota.executors import kind_of
from rota.sdk.duration import to_limit_ms, to_ms


def name_id(field: str, text: str, namespace: str) -> str:
    """`namespace/name` of a name with or without its namespace."""
    first, slash, second = text.partition("/")
    space, name = (first, second) if slash else (namespace, text)
    return f"{check_name('namespace', space)}/{check_name(field, name)}"


def json_bytes(text: str, field: str) -> bytes:
    """JSON text as it is kept: valid Unicode, no NaN, no blanks."""
    try:
        value = json.loads(text, parse_constant=_refuse)
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, RecursionError) as error:
        shown = text if len(text) <= 60 else text[:57] + "..."
        raise Invalid(field, f"{shown!r} is not JSON: {error}") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def params(given: Sequence[str]) -> dict[str, Any]:
    """Settings of an executor from `key=value`; a value that is not JSON is text."""
    found: dict[str, Any] = {}
    for text in given:
        key, sign, value = text.partition("=")
        if not sign or not key.strip():
            raise Invalid("param", f"{text[:60]!r} is not key=value; write --param method=POST")
        try:
            found[key] = json.loads(value, parse_constant=_refuse)
        except ValueError:
            found[key] = value
    return found


def level(text: str) -> Priority:
    """A priority by name or number."""
    return priority(int(text) if text.isdecimal() and len(text) < 4 else text)


def length_ms(text: str, field: str) -> int:
    """A length of time: `90s`, `1h30m`, or a number of seconds."""
    return to_ms(_seconds(text), field)


def limit_ms(text: str, field: str) -> int | None:
    """A limit of time, as `length_ms`; `none` is no limit."""
    return None if text.lower() == "none" else to_limit_ms(_seconds(text), field)


def _seconds(text: str) -> float | str:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def moment(text: str, field: str) -> int:
    """An instant in ISO 8601; without an offset it is UTC."""
    try:
        found = parse(f"at {text}")
    except Invalid as error:
        raise Invalid(field, error.message) from None
    return found.at if isinstance(found, Once) else 0


def since(text: str, now: int) -> int:
    """An instant, or a length of time before now."""
    return now - length_ms(text, "since") if not _is_date(text) else moment(text, "since")


def _is_date(text: str) -> bool:
    return text[:4].isdecimal() and text[4:5] == "-"


def trigger(text: str, timezone: str | None, gap: str | None = None, fold: str | None = None) -> Trigger:
    """Cron text, `@daily`, `every 10s` or `at 2026-12-24T18:00`, by the clock of a zone."""
    found = parse(text, timezone or "UTC")
    if (gap or fold) and not isinstance(found, Cron):
        raise Invalid("gap" if gap else "fold", "is for cron text; other schedules meet no clock changes")
    changes: dict[str, Any] = {name: one for name, one in (("gap", gap), ("fold", fold)) if one}
    return replace(found, **changes) if isinstance(found, Cron) else found


def kind(executor: str, command: str) -> str:
    """The executor that is meant: aliases resolved, and a Python file is a script."""
    found = kind_of(check_name("executor", executor))
    return "script" if found == "python" and command.endswith(".py") else found


def policy(executor: str, retries: int | None, delay: str | None, known: Retry | None = None) -> Retry:
    """When a failed run is tried again; shell and script tasks are not, unless asked: few bear being repeated."""
    found = known or (NO_RETRY if executor in ("shell", "script") else Retry())
    if retries is not None:
        found = replace(found, retries=retries)
    return found if delay is None else replace(found, delay_ms=length_ms(delay, "retry-delay"))
