"""The kinds of values that settings have. Lengths of time are ms once they are read."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo

from rota.domain.durations import UNITS_MS, to_ms
from rota.domain.errors import Invalid
from rota.domain.names import check_name
from rota.identity.signed import LEAST_SECRET

SAMPLES = ("change", "default", "example", "insecure", "password", "placeholder", "replace", "sample", "secret", "your")
ROWS = ("0123456789", "abcdefgh", "qwerty")
SECONDS = "_seconds"


class Section(BaseModel):
    """A part of the tree. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _length(value: Any) -> int:
    try:
        return to_ms(_number(value), "")
    except Invalid:
        raise ValueError('write "10s", "5m", "1h30m", or seconds as a number, from 0 up to ten years') from None


def _number(value: Any) -> Any:
    """Environment variables know text only."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _limit(value: Any) -> int | None:
    return None if value == "none" else _length(value)


def _listed(value: Any) -> Any:
    """A list, also as JSON or with commas, as an environment variable has to write it."""
    if not isinstance(value, str):
        return value
    if value.startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError('write a list such as ["a", "b"], or a,b') from None
    return [one.strip() for one in value.split(",") if one.strip()]


def _name(value: str) -> str:
    try:
        return check_name("", value)
    except Invalid:
        raise ValueError("write names of letters, digits and _ . : @ + -") from None


Delay = Annotated[int, BeforeValidator(_length)]
"""A length of time."""
Length = Annotated[int, BeforeValidator(_length), Field(gt=0)]
"""More than no time."""
Limit = Annotated[Annotated[int, Field(gt=0)] | None, BeforeValidator(_limit)]
"""A length of time, or `none`."""
Texts = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Names = Annotated[tuple[Annotated[str, BeforeValidator(_name)], ...], BeforeValidator(_listed)]


def is_length(field: FieldInfo) -> bool:
    """Whether a setting is a length of time; it may then be written with `_seconds` behind its name."""
    return any(isinstance(one, BeforeValidator) and one.func in (_length, _limit) for one in field.metadata)


def spoken_ms(length: int) -> str:
    """A length of time as it can be written: `1h30m`."""
    parts = []
    for unit, size in list(UNITS_MS.items())[1:]:
        count, length = divmod(length, size)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"


def weakness(secret: str) -> str:
    """Why a secret is none, and what to do; empty for a good one. The secret is not in it."""
    low = secret.casefold()
    if len(secret.encode()) < LEAST_SECRET:
        what = f"is shorter than {LEAST_SECRET} bytes"
    elif any(word in low for word in SAMPLES):
        what = "looks like a sample that others have too"
    elif len(set(low)) < 10 or low in (low + low)[1:-1] or any(row in low for row in ROWS):
        what = "can be guessed"
    else:
        return ""
    return f"{what}; make one with `rota secrets key` and keep it out of the file"
