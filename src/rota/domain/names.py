"""What may be called what. Checked before any key or path is built from a name."""

import re
from collections.abc import Collection
from difflib import get_close_matches

from rota.domain.errors import Invalid

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@+-]{0,127}")
KEY_LIMIT = 512
TEXT_LIMIT = 4_000


def check_name(field: str, value: object) -> str:
    """`value` if it can be a name, else `Invalid`."""
    if isinstance(value, str) and NAME.fullmatch(value):
        return value
    raise Invalid(field, not_a_name(value))


def not_a_name(value: object) -> str:
    """What is said of a value that cannot be a name."""
    return f"{repr(value)[:60]} is not a name: use 1 to 128 letters, digits and _ . : @ + -, no blanks"


def number_of(number: int, thing: str) -> str:
    """`1 run`, `2 runs`, `2 entries`."""
    things = f"{thing[:-1]}ies" if thing.endswith("y") else f"{thing}s"
    return f"{number} {thing if number == 1 else things}"


def nearest(word: str, known: Collection[str]) -> str:
    """What was probably meant, as the end of an error message."""
    if meant := get_close_matches(word[:128], known, n=1):  # nothing that is known is longer, and it takes its time
        return f"; did you mean {meant[0]!r}?"
    return f"; known are {', '.join(known)}" if known else ""


def check_key(field: str, value: object) -> str:
    """`value` if it can be a unique or idempotency key: 1 to 512 printable characters, not blank."""
    if isinstance(value, str) and 0 < len(value) <= KEY_LIMIT and value.isprintable() and value.strip():
        return value
    raise Invalid(field, f"a key has 1 to {KEY_LIMIT} printable characters and is not blank")


def check_text(field: str, value: object, limit: int = TEXT_LIMIT) -> str:
    """`value` if it can be stored as text everywhere (no NUL, no lone surrogate), else `Invalid`."""
    if not isinstance(value, str):
        raise Invalid(field, "text is wanted")
    if len(value) > limit:
        raise Invalid(field, f"text of {len(value)} characters is over the limit of {limit}")
    if "\0" in value:
        raise Invalid(field, "text cannot hold NUL")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Invalid(field, "text holds a lone surrogate; send valid Unicode") from None
    return value


def without_password(url: str) -> str:
    """A URL as it may be shown, and what should have been one."""
    shown = re.sub(r"(://[^/@:]*):.*@" if "://" in url else "():.*@", r"\1:…@", url)
    return re.sub(r"([?&]\w*password=)[^&]*", r"\1…", shown)
