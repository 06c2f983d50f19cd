"""What models and dataclasses say of how they are written does not keep them from arriving."""

import json
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Annotated, Any, NotRequired

import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    RootModel,
    Secret,
    SecretBytes,
    SecretStr,
    computed_field,
    field_serializer,
)
from pydantic.dataclasses import dataclass as checked_dataclass
from typing_extensions import TypedDict

from rota.domain.errors import Invalid
from rota.sdk.signature import Signature


def typed(kind: Any) -> Signature:
    def task(value): ...

    task.__annotations__ = {"value": kind, "return": kind}
    return Signature(task)


def arrived(signature: Signature, payload: bytes) -> Any:
    return signature.decode(payload, NOWHERE)[1]["value"]


def check_arrival(kind: Any, value: Any) -> None:
    """As an argument and as a result."""
    signature = typed(kind)
    assert arrived(signature, signature.encode_arguments((value,), {})) == value
    assert signature.decode_result(signature.encode(value)) == value


NOWHERE: Any = None
"""No context: none of these functions asks for it."""

# Aliases


class Aliased(BaseModel):
    model_config = ConfigDict(extra="forbid")

    at: int = Field(0, alias="from")


class Read(BaseModel):
    at: int = Field(validation_alias=AliasChoices("from", "since"))
    first: int = Field(validation_alias=AliasPath("all", 0))


class Written(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True)

    at: int = Field(serialization_alias="from")


class ByName(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    at: int = Field(alias="from", serialization_alias="since")


class Generated(BaseModel):
    model_config = ConfigDict(alias_generator=str.upper, extra="allow")

    inner: list[Aliased] = []


@checked_dataclass
class Checked:
    at: Annotated[int, Field(alias="from")]


@pytest.mark.parametrize(
    "value",
    [
        Aliased(**{"from": 1}),
        Read.model_validate({"since": 1, "all": [2]}),
        Written(at=1),
        ByName.model_validate({"at": 1}),
        Generated(INNER=[Aliased(**{"from": 1})], other=2),  # type: ignore[call-arg]  # as an alias generator has it
        Checked(**{"from": 1}),
    ],
)
def test_what_has_aliases_arrives(value):
    check_arrival(type(value), value)


@pytest.mark.parametrize("plain", [{"at": 1}, {"from": 1}])
def test_people_may_write_the_name_or_the_alias(plain):
    signature = typed(Aliased)
    assert arrived(signature, json.dumps({"value": plain}).encode()) == Aliased(**{"from": 1})


# What is computed


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")

    side: int
    inner: "list[Strict]" = []

    @computed_field
    def area(self) -> int:
        return self.side**2


class Open(Strict):
    model_config = ConfigDict(extra="allow")


class Packed(BaseModel):
    inner: Json[list[int]]


@pytest.mark.parametrize(
    "value", [Strict(side=2, inner=[Strict(side=1)]), Open(side=2), Packed.model_validate({"inner": "[1]"})]
)
def test_what_is_computed_does_not_travel(value):
    check_arrival(type(value), value)


def test_an_unknown_member_of_a_model_is_told_at_its_place():
    with pytest.raises(Invalid, match=r"^value: inner\[0\].wide: Extra inputs are not permitted; got 2$"):
        typed(Strict).encode_arguments(({"side": 1, "inner": [{"side": 1, "wide": 2}]},), {})


# Bytes, and the rest of what a config says of JSON

EVERY_BYTE = bytes(range(256))


@dataclass
class Blob:
    data: bytes
    others: list[bytes] = field(default_factory=list)


class Envelope(BaseModel):
    blob: Blob | None = None
    default: bytes = EVERY_BYTE
    """Named as a part of a schema is."""


class Hexed(BaseModel):
    model_config = ConfigDict(ser_json_bytes="hex", ser_json_timedelta="float")

    data: bytes
    length: timedelta = timedelta(seconds=1.5)


class Seconds(BaseModel):
    model_config = ConfigDict(ser_json_temporal="milliseconds")

    at: datetime
    length: timedelta


class Entry(TypedDict):
    data: bytes
    at: NotRequired[Hexed]


class Root(RootModel[dict[str, bytes]]): ...


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Blob, Blob(EVERY_BYTE, [b"text"])),
        (Blob | str, Blob(EVERY_BYTE)),
        (list[Envelope], [Envelope(blob=Blob(b"text"), default=b"text")]),
        (Envelope | Hexed, Hexed(data=EVERY_BYTE)),
        (Entry, {"data": b"text", "at": Hexed(data=b"")}),
        (Seconds, Seconds(at=datetime(2026, 1, 31, tzinfo=UTC), length=timedelta(milliseconds=1))),
        (Root, Root({"default": EVERY_BYTE})),
        (Base64Bytes, EVERY_BYTE),
    ],
)
def test_bytes_and_times_travel_in_one_way(kind, value):
    check_arrival(kind, value)


def test_bytes_are_base64_wherever_they_stand():
    assert typed(Envelope).encode_arguments((Envelope(blob=Blob(b"a"), default=b"b"),), {}) == (
        b'{"value":{"blob":{"data":"YQ==","others":[]},"default":"Yg=="}}'
    )


# Fields that the class makes itself


@dataclass
class Square:
    side: int
    area: int = field(init=False)
    colour: str = field(init=False, default="red")

    def __post_init__(self) -> None:
        self.area = self.side**2


@checked_dataclass
class Marked:
    side: int
    marks: list[int] = field(init=False, default_factory=list)


def test_fields_that_are_not_given_to_the_class_arrive():
    square, marked = Square(2), Marked(2)
    check_arrival(list[Square | Marked], [square, marked])
    square.colour, marked.marks = "blue", [1]
    check_arrival(list[Square | Marked], [square, marked])
    assert arrived(typed(Square), b'{"value":{"side":2}}') == Square(2)


# What is not as annotated


class Loose(BaseModel):
    side: int
    label: Any = None


class Coloured(Loose):
    colour: str = "red"


def test_a_value_arrives_as_what_is_annotated():
    signature = typed(Loose)
    payload = signature.encode_arguments((Coloured(side=1, label=timedelta(days=1)),), {})
    assert arrived(signature, payload) == Loose(side=1, label="P1D")


# Secrets


class Login(BaseModel):
    default: dict[str, Any] = {"serialization": 1}  # pydantic copies it
    password: SecretStr


class Shown(Login):
    @field_serializer("password")
    def show(self, password: SecretStr) -> str:
        return password.get_secret_value()


@pytest.mark.parametrize("kind", [SecretStr, SecretBytes | None, list[Secret[int]], Login, dict[str, list[Login]]])
@pytest.mark.parametrize("name", ["value", "return"])
def test_secrets_are_refused_at_the_declaration(kind, name):
    def task(value): ...

    task.__annotations__ = {name: kind}
    with pytest.raises(Invalid, match="let the worker read it from its own environment") as caught:
        Signature(task)
    assert caught.value.field == name


def test_a_secret_that_its_model_writes_out_arrives():
    check_arrival(Shown, Shown(password="open"))  # type: ignore[arg-type]  # as pydantic reads it


# Enums


class Corner(tuple[int, int], Enum):
    LEFT = 0, 0


def test_an_enum_of_tuples_is_declared_and_refused_as_it_is_given():
    signature = typed(Corner | None)
    check_arrival(Corner | None, None)
    with pytest.raises(Invalid, match="value: "):
        signature.encode_arguments((Corner.LEFT,), {})


# Numbers that JSON does not have


class Measured(BaseModel):
    most: float | None
    all: list[float] = []


KINDS: Any = list[dict[str, Any] | Measured] | dict[str, Any] | Measured


class Worded(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="strings")

    most: float


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (Measured(most=math.nan), "most: nan is not a number that JSON has"),
        ([{"a": 1}, Measured(most=1, all=[0, -math.inf])], "[1].all[1]: -inf is not a number that JSON has"),
        ({"a": {"b": "\0"}}, "a.b: text cannot hold NUL"),
    ],
)
def test_numbers_that_json_has_not_are_told_at_their_place(value, problem):
    with pytest.raises(Invalid) as caught:
        typed(KINDS).encode_arguments((value,), {})
    assert str(caught.value) == f"value: {problem}"
    with pytest.raises(Invalid) as caught:
        typed(KINDS).encode(value)
    assert str(caught.value) == f"result: {problem}"


def test_a_model_may_write_such_numbers_as_text_in_a_result():
    signature = typed(Worded)
    assert signature.decode_result(signature.encode(Worded(most=math.inf))) == Worded(most=math.inf)
