"""What a command answers, for people and for programs. Whatever comes from a store is escaped on its way out."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TextIO
from unicodedata import category

ERROR_LIMIT = 1_000
STYLES = {
    "success": "green",
    "ok": "green",
    "running": "cyan",
    "retrying": "yellow",
    "warn": "yellow",
    "failed": "red",
    "fail": "red",
    "cancelled": "magenta",
}
EMPTY: tuple[Any, ...] = (None, "", [], {})
INSTANTS = {"accounted_from", "at", "end_by", "since", "start_by"}


class Listing(NamedTuple):
    """Rows of JSON values; people see the named columns of them, `word` says what there is none of."""

    word: str
    rows: Sequence[Mapping[str, Any]]
    columns: tuple[str, ...]
    code: int = 0


class Sheet(NamedTuple):
    """One thing: its fields by name, and a listing of what belongs to it, for people only."""

    data: Mapping[str, Any]
    below: Listing | None = None
    code: int = 0


class Said(NamedTuple):
    """What was done, or what is to be told in sentences."""

    data: Any
    lines: Sequence[str]
    code: int = 0


Answer = Listing | Sheet | Said


def show(answer: Answer, as_json: bool) -> None:
    """Print an answer on standard output."""
    if as_json:
        data = answer.rows if isinstance(answer, Listing) else answer.data
        print(json.dumps(data, indent=2))
        return
    match answer:
        case Listing():
            _show_listing(answer)
        case Sheet():
            _show_sheet(answer)
        case Said():
            for line in answer.lines:
                print(clean(line))


def warn(text: str) -> None:
    """One line on standard error."""
    print(f"warning: {clean(text)}", file=sys.stderr)


def fail(text: str, stream: TextIO | None = None) -> None:
    """One line on standard error, or on that stream, whatever the text holds."""
    line = clean(" ".join(text.split()))
    print(f"error: {line if len(line) <= ERROR_LIMIT else line[:ERROR_LIMIT] + '…'}", file=stream or sys.stderr)


def clean(text: str, keep: str = "") -> str:
    r"""Text as a terminal may see it: what does not print, but for `keep`, is spelled out as in `\x1b`."""
    if text.isprintable():
        return text
    return "".join(one if _harmless(one) or one in keep else one.encode("unicode_escape").decode() for one in text)


def _harmless(one: str) -> bool:
    return one.isprintable() or category(one) == "Zs"


def word(key: str, value: Any) -> str:
    """A JSON value in one short line; its key tells an instant or a length of time."""
    if value in EMPTY:
        return "-"
    match value:
        case bool():
            return "yes" if value else "no"
        case int() | float() if key.endswith("_ms"):
            return length(value)
        case str() if key in INSTANTS or key.endswith("_at"):
            return value.replace("T", " ")[:19] + "Z"
        case str():
            return value
        case list():
            return ", ".join(word("", one) for one in value)
        case dict():
            return ", ".join(f"{title(name)} {word(name, one)}" for name, one in _spoken(value))
    return str(value)


def title(key: str) -> str:
    """A key as people read it: `next_at` is `next`, `attempt_ms` is `attempt`."""
    return key.removesuffix("_ms").removesuffix("_at").replace("_", " ")


def length(ms: float) -> str:
    """A length of time in its two largest units."""
    if abs(ms) < 1_000:
        return f"{ms:.3g} ms"
    if abs(ms) < 60_000:
        return f"{ms / 1_000:.3g} s"
    days, rest = divmod(int(abs(ms) // 1_000), 86_400)
    hours, rest = divmod(rest, 3_600)
    parts = [(days, "d"), (hours, "h"), (rest // 60, "min"), (rest % 60, "s")]
    first = next(place for place, (number, _) in enumerate(parts) if number)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number)


def _spoken(data: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What people want to see: no empty values, no instant twice."""
    return [
        (key, value)
        for key, value in data.items()
        if value not in EMPTY and not (key.endswith("_ms") and key.removesuffix("_ms") in data)
    ]


def _show_sheet(sheet: Sheet) -> None:
    spoken = _spoken(sheet.data)
    width = max((len(title(key)) for key, _ in spoken), default=0) + 2
    for key, value in spoken:
        first, *more = word(key, value).splitlines() or [""]
        print(f"{title(key):{width}}{clean(first)}")
        for line in more:
            print(f"{'':{width}}{clean(line, keep=chr(9))}")
    if sheet.below and sheet.below.rows:
        print()
        _show_listing(sheet.below)


def _show_listing(listing: Listing) -> None:
    if not listing.rows:
        print(f"no {listing.word}", file=sys.stderr)
        return
    cells = [[clean(word(key, row.get(key))) for key in listing.columns] for row in listing.rows]
    if sys.stdout.isatty():
        _show_table(listing.columns, cells)
        return
    lines = [[title(key) for key in listing.columns], *cells]
    widths = [max(len(line[place]) for line in lines) for place in range(len(listing.columns))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _show_table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for key in columns:
        table.add_column(title(key), no_wrap=key in ("id", "session"), overflow="fold")
    for line in cells:
        table.add_row(*(Text(cell, STYLES.get(cell, "")) for cell in line))
    Console(highlight=False).print(table)
