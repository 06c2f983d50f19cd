"""What a command answers, for people and for programs. Whatever comes from a store is escaped on its way out."""

import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from getpass import getpass
from itertools import chain
from typing import Any, NamedTuple, TextIO
from unicodedata import category

import typer

from rota.api.views import is_instant
from rota.domain.access import Grant
from rota.observe import logs

log = logging.getLogger("rota")
ERROR_LIMIT = 1_000
STYLES = {"success": "green", "ok": "green", "running": "cyan", "warn": "yellow", "failed": "red", "fail": "red"}
ID = re.compile(r"\b[0-9a-f]{24}([0-9a-f]{8})\b")
FIXED = ("id", "session", "state", "created", "next", "opened", "at", "duration")
"""Columns that are never folded."""
TWICE = ("retry_count", "timeout_seconds", "warning")
"""What stands elsewhere in a record or, where there is something to warn of, on standard error."""
THEIRS = ("payload", "result", "params")
"""What people and tasks wrote: shown as they wrote it, for what its keys and values mean is theirs to know."""
EMPTY: tuple[Any, ...] = (None, "", [], {})


class Listing(NamedTuple):
    """Records; people see these columns of them, which fit 80 characters, and with --wide `more` of them; `word` says
    what there is none of.
    """

    word: str
    data: Sequence[Any]
    columns: Sequence[str]
    more: Sequence[str] = ()
    code: int = 0


class Sheet(NamedTuple):
    """A record or other JSON; people see the lines, or where there are none the fields by name."""

    data: Any
    lines: Sequence[str] = ()
    code: int = 0


Answer = Listing | Sheet


def show(answer: Answer, as_json: bool, wide: bool = False) -> None:
    """Print an answer on standard output, and end the command where its exit code is not 0."""
    if as_json:
        print(json.dumps(answer.data, indent=2))
    elif isinstance(answer, Listing):
        _show_rows(answer, wide)
    else:
        for line in answer.lines or _fields(answer.data):
            print(clean(line))
    if answer.code:
        raise typer.Exit(answer.code)


def hidden(prompt: str) -> str:
    """A secret that somebody types, or that is piped in: a line of it."""
    return getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")


def note(text: str) -> None:
    """One line on standard error."""
    print(clean(text), file=sys.stderr)


def warn(text: str) -> None:
    """A warning, likewise; a log line where these are JSON."""
    if logs.speak_json():
        log.warning(text)
    else:
        note(f"warning: {text}")


def fail(text: str, stream: TextIO | None = None) -> None:
    """One line on standard error, or on that stream, whatever the text holds; a log line where these are JSON."""
    line = clean(" ".join(text.split()))
    told = line if len(line) <= ERROR_LIMIT else line[:ERROR_LIMIT] + "…"
    if logs.speak_json():
        log.error(told)
    else:
        print(f"error: {told}", file=stream or sys.stderr)


def clean(text: str) -> str:
    r"""Text as a terminal may see it: what does not print, but for blanks and tabs, is spelled out as in `\x1b`."""
    if text.isprintable():
        return text
    return "".join(one if _harmless(one) else one.encode("unicode_escape").decode() for one in text)


def _harmless(one: str) -> bool:
    return one.isprintable() or one == "\t" or category(one) == "Zs"


def word(key: str, value: Any) -> str:
    """A JSON value in one short line; its key tells an instant or a length of time."""
    if value in EMPTY:
        return "-"
    if key in THEIRS and not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    match value:
        case bool():
            return "yes" if value else "no"
        case int() | float() if key.endswith("_ms"):
            return length(value)
        case str() if is_instant(key):
            return clock(value)
        case list():
            return ", ".join(word(key, one) for one in value)
        case {"role": _, "namespace": _}:
            return str(Grant(**value))
        case dict():
            return ", ".join(f"{title(name)} {word(name, one)}" for name, one in _spoken(value))
    return str(value)


def clock(instant: str) -> str:
    """An instant in ISO 8601 as people read it, the one way everywhere."""
    return instant.replace("T", " ")[:19] + "Z"


def title(key: str) -> str:
    """A key as people read it: `next_at` is `next`, `attempt_ms` is `attempt`."""
    return key.removesuffix("_ms").removesuffix("_at").replace("_", " ")


def length(ms: float) -> str:
    """A length of time in its two largest units."""
    if ms < 60_000:
        return f"{ms:.3g} ms" if ms < 999.5 else f"{ms / 1_000:.3g} s"
    parts, rest = [], int(ms // 1_000)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        number, rest = divmod(rest, size)
        parts += [f"{number} {unit}"] if number else []
    return " ".join(parts[:2])


def _spoken(data: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What people want to see: no empty values, nothing twice."""
    twice = {*TWICE, "id" if data.get("id") == data.get("name") else ""}
    twice |= {key for key in data if key.endswith("_ms") and key.removesuffix("_ms") in data}
    return [(key, value) for key, value in data.items() if value not in EMPTY and key not in twice]


def _fields(data: Mapping[str, Any]) -> Iterator[str]:
    spoken = _spoken(data)
    width = max((len(title(key)) for key, _ in spoken), default=0) + 2
    for key, value in spoken:
        records = isinstance(value, list) and isinstance(value[0], dict) and key not in THEIRS
        lines = chain(*map(_attempt, value)) if records else word(key, value).splitlines()
        for number, line in enumerate(lines):
            yield f"{'' if number else title(key):{width}}{line}"


def _attempt(ended: Mapping[str, Any]) -> list[str]:
    """An earlier attempt of a run: how it went, and its error line by line."""
    told = {key: value for key, value in _spoken(ended) if key not in ("session", "claimed_at", "started_at", "error")}
    return [word("", told), *ended.get("error", "").splitlines()]


def _show_rows(listing: Listing, wide: bool) -> None:
    if not listing.data:
        print(f"no {listing.word}", file=sys.stderr)
        return
    keys = [*listing.columns, *(listing.more if wide else ())]
    titles = [title(key) for key in keys]
    cells = [[_cell(key, row.get(key), wide) for key in keys] for row in listing.data]
    if sys.stdout.isatty() and not wide:
        _show_table(titles, cells)
        return
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    for line in [titles, *cells]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(key: str, value: Any, wide: bool) -> str:
    """A value as it stands in a table: of a text its first line, of an id its end, for it begins with the time."""
    line = next(iter(word(key, value).splitlines()), "")
    return clean(line if wide else ID.sub(r"\1", line)).replace("\t", " ")


def _show_table(titles: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in titles:
        table.add_column(name, no_wrap=name in FIXED, overflow="fold")
    for line in cells:
        table.add_row(*(Text(cell, STYLES.get(cell, "")) for cell in line))
    Console(highlight=False).print(table)
