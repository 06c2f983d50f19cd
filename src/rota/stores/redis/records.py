"""Records as the JSON texts that Redis holds, each with its version first: `{"_":"<16 hexadecimal digits>",...}`.

Runs, tallies and blobs have an order of their own, by which scripts find what they change without reading the rest.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable
from functools import cache
from math import isfinite
from operator import attrgetter
from typing import Any, NamedTuple, get_type_hints

import msgspec

from rota.domain.errors import Incompatible, Invalid
from rota.domain.records import Blob, Tally
from rota.domain.run import Run, State
from rota.ports.store import Versioned
from rota.stores import codec
from rota.stores.codec import FORMAT, identity, without_nul

HEAD = {
    Run: (
        *("lane", "attempt", "timeout_ms", "end_by"),
        *("state", "reason", "detail", "due_at", "token", "session", "worker", "claimed_at", "started_at", "digest"),
        "progress",
    ),
    Tally: ("count", "total_ms"),
    Blob: (),
}
"""What comes first. Of a run: what a claim looks at, then what it sets; `id` follows."""
VALUES = {Run: ("payload", "result"), Tally: (), Blob: ("data",)}
"""Fields that hold JSON, shown as it is."""
_ALWAYS = -1
"""Default of fields that have no other, so that they are always written; none has this value."""
_NOTHING = msgspec.Raw()
_ENCODE = msgspec.json.Encoder().encode
_WHOLE = msgspec.json.Decoder(msgspec.Raw).decode
_BYTES = "$bytes"
_SHOWN = '{"code":'


class _Form(NamedTuple):
    mirror: Callable[..., Any]
    take: Callable[[Any], Any]
    """All fields, in the order of the mirror."""
    give: Callable[[Any], Any]
    """All fields, in the order of the record."""
    values: tuple[tuple[int, int], ...]
    """Where the fields are that hold JSON, in either order."""
    decode: Callable[[str], Any]


@cache
def _form(kind: Any) -> _Form:
    hints = get_type_hints(kind)
    own = list(hints) if kind is Blob else list(kind._fields)
    names = [*HEAD[kind], *(name for name in own if name not in HEAD[kind])]
    defaults = {} if kind is Blob else dict(kind._field_defaults)
    always = {"attempt", "timeout_ms", "end_by", "count", "total_ms"}
    columns: list[Any] = []
    for name in names:
        if name in VALUES[kind]:
            columns.append((name, msgspec.Raw, _NOTHING))
        else:
            columns.append((name, hints[name], _ALWAYS if name in always else defaults.get(name, _ALWAYS)))
    mirror = msgspec.defstruct(f"Kept{kind.__name__}", [*columns, ("v", int, _ALWAYS)], omit_defaults=True)
    values = tuple((names.index(name), own.index(name)) for name in VALUES[kind])
    return _Form(mirror, attrgetter(*names), attrgetter(*own), values, msgspec.json.Decoder(mirror).decode)


def write(record: Any, version: int, like: Any = None) -> str:
    """The text of a record; `like` is the one before. Raises `Invalid`."""
    return f'{{"_":"{version:016x}",{body(record, like)[1:]}'


def body(record: Any, like: Any = None) -> str:
    """The text without its version. Raises `Invalid`."""
    kind: Any = type(record)
    if kind not in HEAD:
        return codec.encode(record, like).decode()
    form = _form(kind)
    values = [*form.take(record)]
    try:
        if kind is Run and (retry := record.retry) and not (isfinite(retry.rate) and isfinite(retry.jitter)):
            raise ValueError("retry: rate and jitter are finite numbers")
        for place, _ in form.values:
            values[place] = _raw(values[place])
        return without_nul(_ENCODE(form.mirror(*values, FORMAT))).decode()
    except (ValueError, TypeError, OverflowError) as error:
        raise Invalid(identity(record), f"cannot be stored: {error}") from None


def result(run: Run) -> str:
    """What an operator sees of an ended run's end; nobody reads it back."""
    done = run.state is State.SUCCESS
    message = run.state if done else run.error or run.reason
    return _ENCODE(
        {"code": int(not done), "message": message, "data": _raw(run.result) if run.result else None}
    ).decode()


def held(kind: Any, text: str) -> Versioned[Any] | None:
    """The record under a key, if there is one; where a large result would be, `result` may lie instead."""
    return read(kind, text) if text and not text.startswith(_SHOWN) else None


def read(kind: Any, text: str) -> Versioned[Any]:
    """The record that `write` wrote down. Raises `Incompatible`."""
    try:
        return Versioned(_record(kind, text), int(text[6:22], 16))
    except (ValueError, TypeError) as error:
        raise Incompatible(f"a stored {kind.__name__} cannot be read: {error}") from error


def _record(kind: Any, text: str) -> Any:
    if kind not in HEAD:
        return codec.decode(kind, text)
    form = _form(kind)
    mirror = form.decode(text)
    if mirror.v > FORMAT:
        raise Incompatible(f"a {kind.__name__} is of format {mirror.v}, this version of Rota reads up to {FORMAT}")
    values = list(form.give(mirror))
    for _, place in form.values:
        values[place] = _bytes(values[place])
    return kind(*values) if kind is Blob else tuple.__new__(kind, values)


def _raw(data: bytes | None) -> msgspec.Raw:
    """JSON as it is; what is none, or would not come back as it was, in base64."""
    if data is None:
        return _NOTHING
    try:
        plain = b"\\u0000" not in data and not data.startswith(b'{"$') and bytes(_WHOLE(data)) == data
        data.decode()
    except ValueError:
        plain = False
    return msgspec.Raw(data if plain else _ENCODE({_BYTES: b64encode(data).decode()}))


def _bytes(raw: msgspec.Raw) -> bytes | None:
    data = bytes(raw)
    if data.startswith(b'{"$'):
        return b64decode(msgspec.json.decode(data)[_BYTES])
    return data or None
