import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path, PurePosixPath
from types import GenericAlias
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from rota.domain.errors import Invalid
from rota.sdk.signature import Signature


class Colour(Enum):
    RED = "red"
    BLUE = 2


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


class Mood(StrEnum):
    GOOD = "good"


class Line(BaseModel):
    product: UUID
    price: Decimal
    count: int = 1
    note: str | None = None


@dataclass
class Order:
    placed_at: datetime
    lines: list[Line]
    colour: Colour | None = None
    labels: set[str] = field(default_factory=set)


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))) | st.just(UTC)
LINES = st.builds(
    Line,
    product=st.uuids(),
    price=st.decimals(allow_nan=False, allow_infinity=False),
    count=st.integers(),
    note=st.none() | TEXT,
)
SCALARS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, st.integers()),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bool, st.booleans()),
    (str, TEXT),
    (bytes, st.binary()),
    (datetime, st.datetimes(timezones=ZONES)),
    (datetime, st.datetimes()),
    (date, st.dates()),
    (time, st.times()),
    (timedelta, st.timedeltas()),
    (UUID, st.uuids()),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (Colour, st.sampled_from(Colour)),
    (Size, st.sampled_from(Size)),
    (Mood, st.sampled_from(Mood)),
    (Path, TEXT.map(Path)),
    (PurePosixPath, TEXT.map(PurePosixPath)),
    (Line, LINES),
    (Order, st.builds(Order, placed_at=st.datetimes(), lines=st.lists(LINES, max_size=3))),
]
KEYS = [(kind, values) for kind, values in SCALARS if kind in (str, int, UUID, date, Mood)]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)


@st.composite
def typed_values(draw: st.DrawFn, depth: int = 2) -> tuple[Any, Any]:
    """A type and a value of it."""
    shape = draw(st.sampled_from(["scalar", "list", "tuple", "set", "dict", "optional"] if depth else ["scalar"]))
    if shape == "scalar":
        kind, values = draw(st.sampled_from(SCALARS))
        return kind, draw(values)
    if shape == "dict":
        key, keys = draw(st.sampled_from(KEYS))
        kind, value = draw(typed_values(depth - 1))
        return GenericAlias(dict, (key, kind)), dict.fromkeys(draw(st.lists(keys, max_size=3)), value)
    if shape == "set":
        kind, values = draw(st.sampled_from(KEYS))
        return GenericAlias(set, kind), draw(st.sets(values, max_size=3))
    kind, value = draw(typed_values(depth - 1))
    if shape == "optional":
        return kind | None, draw(st.sampled_from([value, None]))
    many = draw(st.integers(0, 3)) * (value,)
    return (GenericAlias(list, kind), list(many)) if shape == "list" else (GenericAlias(tuple, (kind, ...)), many)


def typed(kind: Any) -> Signature:
    def task(value): ...

    task.__annotations__ = {"value": kind, "return": kind}
    return Signature(task)


@given(typed_values())
def test_what_was_given_arrives(one):
    kind, value = one
    signature = typed(kind)
    args, kwargs = signature.decode(signature.encode_arguments((value,), {}), NOWHERE)
    assert (args, kwargs) == ((), {"value": value})
    assert type(kwargs["value"]) is type(value)


@given(typed_values())
def test_what_was_returned_comes_back(one):
    kind, value = one
    signature = typed(kind)
    assert signature.decode_result(signature.encode(value)) == value


@given(JSON)
def test_plain_json_needs_no_annotation(value):
    def free(value): ...

    signature = Signature(free)
    assert signature.decode(signature.encode_arguments((value,), {}), NOWHERE) == ((), {"value": value})
    assert signature.decode_result(signature.encode(value)) == value


def gather(first: int, /, second: str = "s", *rest: int, last: bool = True, **others: date): ...


@given(
    st.lists(st.integers(), min_size=1, max_size=1),
    st.lists(TEXT, max_size=1),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.sampled_from(["d1", "d2", "first_"]), st.dates()),
)
def test_every_kind_of_parameter_gets_what_the_call_gave_it(first, second, rest, others):
    args = (*first, *second, *(rest if second else []))
    signature = Signature(gather)
    got, named = signature.decode(signature.encode_arguments(args, others), NOWHERE)
    assert got == (args if second else (*first, "s"))
    assert named == others


@given(st.binary() | JSON.map(json.dumps).map(str.encode), st.sampled_from([int, str, Order, set[date], Any]))
def test_whatever_arrives_is_read_or_refused(payload, kind):
    try:
        args, named = typed(kind).decode(payload, NOWHERE)
    except Invalid as refusal:
        field = refusal.field
    else:
        assert (args, [*named]) == ((), ["value"])
        return
    assert field


@pytest.mark.parametrize("kind", [int, float, bool, datetime, UUID, Decimal, Colour, Order, list[int], set[int]])
@given(value=TEXT)
def test_text_becomes_nothing_but_what_it_spells(kind, value):
    signature = typed(kind)
    try:
        data = signature.encode_arguments((value,), {})
    except Invalid as refusal:
        field = refusal.field
    else:
        assert kind in (datetime, UUID, Decimal, Colour)
        assert isinstance(signature.decode(data, NOWHERE)[1]["value"], kind)
        return
    assert field == "value"


NOWHERE: Any = None
"""No context: none of these functions asks for it."""
