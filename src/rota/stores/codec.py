"""Records as JSON and back, so that each comes back equal or is refused. JSON only; every text carries its format.

Refused are NUL, lone surrogates and NaN anywhere in a record, and whatever else would not come back as it was given.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Hashable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar, cast, get_type_hints

import msgspec

from rota.domain import triggers
from rota.domain.errors import Incompatible, Invalid
from rota.domain.priority import Priority
from rota.domain.records import Tally
from rota.domain.retry import Retry
from rota.domain.schedule import Policy, Schedule
from rota.domain.task import Clocks, Isolation, OnLost, Owner, Revision, Task

FORMAT = 1
"""Raised when a reader of the former format would misunderstand what is written now."""

R = TypeVar("R")

_DOMAIN: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Clocks, Isolation, OnLost, Owner, Policy, Priority, Retry)
}
_NUL = re.compile(rb"(?:^|[^\\])(?:\\\\)*\\u0000")
_ENCODE = msgspec.json.Encoder().encode


def identity(record: Any) -> str:
    """The id of a record within its kind; a tally's is made of its cell, the minute first."""
    if type(record) is Tally:
        return "/".join([f"{record.minute:015d}", *map(str, record[1:7])])
    return str(record.id)


def encode(record: Any, like: Any = None) -> bytes:
    """JSON of a record, with its format version. Raises `Invalid` that names the id of what cannot be kept.

    It is read back for proof, but not where all that is intricate about it is the same as in `like`, which was stored.
    """
    try:
        data = without_nul(_ENCODE(_mirrored(record)))
        if not _is_proven(record, like) and decode(type(record), data) != record:
            raise ValueError("a value would not come back as it was given (NaN, or a type that JSON lacks)")
    except Incompatible as error:
        raise Invalid(identity(record), f"cannot be stored: {error.__cause__}") from None
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Invalid(identity(record), f"cannot be stored: {error}") from None
    return data


def decode(kind: type[R], data: bytes | str) -> R:
    """The record that `encode` wrote down. Raises `Incompatible`."""
    shape = _shape(cast(Hashable, kind))
    try:
        mirror = shape.decoder.decode(data)
        if mirror.v > FORMAT:
            raise Incompatible(f"a {kind.__name__} is of format {mirror.v}, this version of Rota reads up to {FORMAT}")
        return cast(R, _original(shape, mirror))
    except (ValueError, TypeError, RecursionError) as error:
        raise Incompatible(f"a stored {kind.__name__} cannot be read: {error}") from error


def without_nul(data: bytes) -> bytes:
    """JSON text. Raises `ValueError` if it holds an escaped NUL (and not just a backslash before `u0000`)."""
    if b"\\u0000" in data and _NUL.search(data):
        raise ValueError("text cannot hold NUL")
    return data


def pack(value: Any) -> Any:
    """A value as plain JSON values: what JSON lacks becomes an object with one member, `$` and its type."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind is list:
        return [pack(one) for one in value]
    if isinstance(value, Mapping):
        plain = {_key(key): pack(one) for key, one in value.items()}
        return {"$map": plain} if any(key.startswith("$") for key in plain) else plain
    if kind is tuple:
        return {"$tuple": [pack(one) for one in value]}
    if kind is bytes:
        return {"$bytes": b64encode(value).decode()}
    if _DOMAIN.get(kind.__name__) is kind:
        return {f"${kind.__name__}": msgspec.to_builtins(value)}
    if hasattr(value, "to_json"):
        return {"$trigger": value.to_json()}
    raise TypeError(f"a {kind.__name__} is none of JSON's types")


def unpack(value: Any) -> Any:
    """The value that `pack` was given."""
    if isinstance(value, list):
        return [unpack(one) for one in value]
    if not isinstance(value, dict):
        return value
    name, inner = next(iter(value.items()), ("", None))
    if not name.startswith("$"):
        return {key: unpack(one) for key, one in value.items()}
    if (special := _SPECIAL.get(name)) is not None:
        return special(inner)
    return msgspec.convert(inner, _DOMAIN[name[1:]])


def _key(key: object) -> str:
    if isinstance(key, str):
        return key
    raise TypeError(f"{key!r} is no text, and only text can be a name in JSON")


@lru_cache(maxsize=4_096)
def _trigger(data: bytes) -> triggers.Trigger:
    """Triggers are immutable, and a cron expression takes longer to read than the rest of its schedule."""
    return triggers.from_json(msgspec.json.decode(data), stored=True)


_SPECIAL: dict[str, Callable[[Any], Any]] = {
    "$map": lambda inner: {key: unpack(one) for key, one in inner.items()},
    "$tuple": lambda inner: tuple(unpack(one) for one in inner),
    "$bytes": b64decode,
    "$trigger": lambda inner: _trigger(_ENCODE(inner)),
}


class _Field(NamedTuple):
    """How a field is written where its own type does not say so."""

    type: Any
    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]


class _Shape(NamedTuple):
    """A kind, and the struct with its fields as JSON knows them."""

    kind: Callable[..., Any]
    take: Callable[[Any], Any]
    """All fields, of a record as of its mirror."""
    special: list[tuple[int, _Field]]
    deep: tuple[str, ...]
    """The fields whose values have fields or members of their own."""
    mirror: Callable[..., Any]
    decoder: msgspec.json.Decoder[Any]


def _special(kind: type) -> dict[str, _Field]:
    mapping = _Field(dict[str, Any], pack, unpack)
    if kind is Task:
        return {"params": mapping, "overrides": mapping}
    if kind is Schedule:
        trigger = _Field(msgspec.Raw, lambda one: msgspec.Raw(_ENCODE(one.to_json())), lambda raw: _trigger(bytes(raw)))
        return {"trigger": trigger, "overrides": mapping}
    if kind is Revision:
        task = _shape(Task)
        return {"task": _Field(task.mirror, _mirrored, lambda mirror: _original(task, mirror))}
    return {}


@cache
def _shape(kind: Any) -> _Shape:
    special, defaults, hints = _special(kind), _defaults(kind), get_type_hints(kind)
    columns: list[Any] = [("v", int)]
    for name, default in defaults.items():
        hint = special[name].type if name in special else hints[name]
        columns.append((name, hint) if default is MISSING else (name, hint, default))
    mirror = msgspec.defstruct(f"Stored{kind.__name__}", columns, frozen=True)
    return _Shape(
        kind,
        attrgetter(*defaults),
        [(place, special[name]) for place, name in enumerate(defaults) if name in special],
        tuple(name for name in defaults if name in special or is_dataclass(hints[name])),
        mirror,
        msgspec.json.Decoder(mirror),
    )


def _defaults(kind: Any) -> dict[str, Any]:
    """Fields of a record in order, each with its default or MISSING."""
    if not is_dataclass(kind):
        return {name: kind._field_defaults.get(name, MISSING) for name in kind._fields}
    return {
        one.name: one.default if one.default_factory is MISSING else msgspec.field(default_factory=one.default_factory)
        for one in fields(kind)
    }


def _is_proven(record: Any, like: Any) -> bool:
    if type(like) is not type(record):
        return False
    return all(getattr(record, name) is getattr(like, name) for name in _shape(record.__class__).deep)


def _taken(shape: _Shape, whole: Any) -> list[Any]:
    values = shape.take(whole)
    return [*values] if isinstance(values, tuple) else [values]  # a revision has one field


def _mirrored(record: Any) -> Any:
    shape = _shape(record.__class__)
    values = _taken(shape, record)
    for place, field in shape.special:
        values[place] = field.dump(values[place])
    return shape.mirror(FORMAT, *values)


def _original(shape: _Shape, mirror: Any) -> Any:
    values = _taken(shape, mirror)
    for place, field in shape.special:
        values[place] = field.load(values[place])
    return shape.kind(*values)
