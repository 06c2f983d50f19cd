"""Captured lines as the stores without tables keep them."""

import msgspec

from rota.domain.errors import Invalid
from rota.ports.store import Line, Sought
from rota.stores.codec import without_nul

_ENCODE = msgspec.json.Encoder().encode


def line_text(line: Line) -> str:
    """JSON of a line. Raises `Invalid`."""
    try:
        return without_nul(_ENCODE(line)).decode()
    except ValueError as error:
        raise Invalid(line.run, f"cannot be stored: {error}") from None


def line_fits(line: Line, sought: Sought) -> bool:
    """Whether a line is what a search wants."""
    return (
        (not sought.text or sought.text.casefold() in line.text.casefold())
        and sought.level in (line.level, "")
        and sought.stream in (line.stream, "")
        and (sought.since is None or line.at >= sought.since)
        and (sought.until is None or line.at < sought.until)
    )
