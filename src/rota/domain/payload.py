"""Payload: the JSON that a task is given. Checked where it comes in, and bytes from there to the handler."""

import json
import re
from collections import Counter
from itertools import accumulate
from math import isinf
from typing import Any

from rota.domain.errors import Invalid, TooLarge
from rota.domain.records import VALUE_LIMIT

DEEPEST = 200
"""Levels that JSON may have: whoever reads it, or tells of it, spends several of its own on each."""
_BETWEEN = re.compile(rb'(?:"(?:[^"\\]|\\.)*+"|[^][{}"]+)+')
_STEPS = bytes.maketrans(b"[{]}", b"\1\1\xff\xff")


def check_payload(data: bytes, field: str = "payload") -> Any:
    """The value of `data`, None for none. Raises `TooLarge`, or `Invalid` for what not every reader reads alike.

    That is what is no JSON, a key twice in an object, NaN, text that is no Unicode, and more than DEEPEST levels.
    """
    if not data:
        return None
    if len(data) > VALUE_LIMIT:
        raise TooLarge(field, f"{len(data)} bytes; the limit is {VALUE_LIMIT}: pass a reference instead")
    try:
        return decoded(data)
    except (ValueError, RecursionError) as error:
        said = str(error).partition(";")[0]  # the rest is advice to programmers of Python
        raise Invalid(field, f"{data[:60].decode(errors='backslashreplace')!r} is not JSON: {said}") from None


def decoded(data: bytes) -> Any:
    """The value of JSON that all readers read alike. Raises `ValueError` or `RecursionError`."""
    value = _DECODER.decode(data.decode())
    if is_deep(data):
        raise ValueError(f"it is nested in more than {DEEPEST} levels")
    if b"\\u" in data:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def is_deep(data: bytes) -> bool:
    """Whether JSON has more than DEEPEST levels."""
    if data.count(b"[") + data.count(b"{") <= DEEPEST:
        return False
    steps = memoryview(_BETWEEN.sub(b"", data).translate(_STEPS)).cast("b")
    return max(accumulate(steps)) > DEEPEST


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"key {twice!r:.60} stands twice in one object")
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"it has no {name}")


def _number(text: str) -> float:
    if isinf(number := float(text)):
        raise ValueError(f"{text:.60} is larger than any number that is kept")
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_number)
