import functools
import json
import math
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from rota.domain.errors import Invalid, TooLarge
from rota.domain.records import VALUE_LIMIT
from rota.ports.executor import Context
from rota.sdk.signature import Signature

CONTEXT: Any = object()


class Colour(Enum):
    RED = "red"


class Line(BaseModel):
    count: int
    price: float = 0.0


@dataclass
class Order:
    day: date
    lines: list[Line]


def add(a: int, b: int = 2) -> int:
    return a + b


def paint(colour: Colour, when: datetime, amount: Decimal, run: UUID, order: Order | None = None): ...


def free(value, other=None): ...


def gather(first: int, /, second: int = 2, *rest: float, last: str = "z", **others: date): ...


def encode(function: Callable[..., Any], *args: Any, **kwargs: Any) -> bytes:
    return Signature(function).encode_arguments(args, kwargs)


def decode(function: Callable[..., Any], payload: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return Signature(function).decode(payload, CONTEXT)


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


# Arguments out


def test_arguments_are_an_object_of_names_and_defaults_stay_at_home():
    assert encode(add, 1) == encode(add, a=1) == b'{"a":1}'
    assert encode(add, 1, b=3) == b'{"a":1,"b":3}'


def test_no_arguments_are_no_bytes():
    def nothing(a: int = 1): ...

    assert encode(nothing) == b""
    assert decode(nothing, b"") == ((), {})


def test_what_star_args_takes_is_under_a_star():
    assert encode(gather, 1) == b'{"first":1}'
    assert encode(gather, 1, 2, 3, 4.5, last="x", day=date(2026, 1, 31)) == (
        b'{"first":1,"second":2,"*":[3.0,4.5],"last":"x","day":"2026-01-31"}'
    )


def test_plain_json_may_stand_for_a_value():
    payload = encode(paint, "red", "2026-01-31T12:00:00Z", 5, "12345678123456781234567812345678")
    assert decode(paint, payload)[1] == {
        "colour": Colour.RED,
        "when": datetime(2026, 1, 31, 12, tzinfo=UTC),
        "amount": Decimal(5),
        "run": UUID("12345678123456781234567812345678"),
    }


def test_a_dict_may_stand_for_a_dataclass_with_models_in_it():
    def store(order: Order): ...

    order = Order(date(2026, 1, 31), [Line(count=1)])
    plain = {"day": "2026-01-31", "lines": [{"count": 1, "price": 0.0}]}
    assert encode(store, order) == encode(store, plain)
    assert decode(store, encode(store, plain))[1] == {"order": order}


def test_tuples_are_lists_where_there_is_no_annotation():
    assert encode(free, (1, (2,))) == b'{"value":[1,[2]]}'


def test_none_is_taken_where_it_is_the_default():
    def implicit(day: date = None): ...  # type: ignore[assignment]  # noqa: RUF013  # as older programs write it

    assert encode(implicit, None) == b'{"day":null}'


def test_validators_of_the_type_run_on_the_worker_only():
    class Doubled(BaseModel):
        count: int

        def model_post_init(self, context: Any, /) -> None:
            self.count *= 2

    def task(value: Doubled): ...

    assert encode(task, {"count": 1}) == b'{"value":{"count":1}}'


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "field", "problem"),
    [
        (add, (), {}, "a", "is missing"),
        (add, ("1",), {}, "a", "should be a valid integer; got '1'"),
        (add, (True,), {}, "a", "should be a valid integer; got True"),
        (add, (1.0,), {}, "a", "should be a valid integer; got 1.0"),
        (add, (None,), {}, "a", "should be a valid integer"),
        (add, (object(),), {}, "a", "should be a valid integer; got <object"),
        (add, (1, 2, 3), {}, "arguments", "3 by position, it takes at most 2"),
        (add, (1,), {"a": 1}, "a", "given twice"),
        (add, (1,), {"c": 1}, "c", "there is no such parameter"),
        (add, (10**5000,), {}, "payload", "number out of range"),
        (gather, (), {"first": 1}, "first", "by position only"),
        (gather, (1,), {"*": [1.0]}, "*", "holds what is given by position"),
        (gather, (1, 2, "x"), {}, "*rest", "[0]: should be a valid number; got 'x'"),
        (gather, (1,), {"day": "soon"}, "day", "should be a valid date"),
        (paint, (1, 2, 3, 4), {}, "colour", "should be 'red'"),
        (paint, (Colour.RED, 5, 1, UUID(int=1)), {}, "when", "should be a valid datetime; got 5"),
        (paint, (Colour.RED, date(2026, 1, 1), 1, UUID(int=1)), {}, "when", "should be a valid datetime"),
        (free, (datetime(2026, 1, 1, tzinfo=UTC),), {}, "value", "annotate the parameter with its type"),
        (free, (b"x",), {}, "value", "is not plain JSON"),
        (free, ({1: 2},), {}, "value", "should be a valid string"),
        (free, (math.nan,), {}, "value", "nan is not a number that JSON has"),
        (free, ([-math.inf],), {}, "value", "-inf is not a number that JSON has"),
        (free, ("a\0b",), {}, "value", "NUL"),
        (free, ({"\0": 1},), {}, "value", "NUL"),
        (free, (1,), {"other": "a\0"}, "other", "NUL"),
        (free, (1,), {"other": "\ud800"}, "other", "surrogates not allowed"),
        (free, (cyclic(),), {}, "value", "cyclic reference"),
        (free, (nested(5000),), {}, "value", "depth exceeded"),
        (free, (nested(240),), {}, "payload", "recursion limit"),
    ],
)
def test_a_wrong_call_names_the_parameter_and_the_problem(function, args, kwargs, field, problem):
    with pytest.raises(Invalid) as caught:
        encode(function, *args, **kwargs)
    assert caught.value.field == field
    assert problem in caught.value.message
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (Order(date(2026, 1, 31), [Line(count=1), Line.model_construct(count="x")]), "lines[1].count: should"),
        (Order("2026-01-31", []), "day: should be a valid date"),  # type: ignore[arg-type]  # that is the test
        (Order(date(2026, 1, 31), [Line(count=1, price=math.nan)]), "lines[0].price: nan is not a number"),
        ({"day": "2026-01-31"}, "lines: Field required"),
        ({"day": date(2026, 1, 31), "lines": []}, "should be an instance of Order"),
    ],
)
def test_a_wrong_part_is_named_with_its_place(value, problem):
    def store(order: Order): ...

    with pytest.raises(Invalid) as caught:
        encode(store, value)
    assert caught.value.field == "order"
    assert caught.value.message.startswith(problem)


def test_a_misspelled_name_is_told_the_right_one():
    with pytest.raises(Invalid, match="did you mean 'colour'"):
        encode(paint, color="red", when="", amount=1, run="")


def test_nan_in_text_is_text():
    assert decode(free, encode(free, "NaN, \\u0000, Infinity"))[1] == {"value": "NaN, \\u0000, Infinity"}


def test_arguments_over_the_limit_are_told_to_travel_by_reference():
    with pytest.raises(TooLarge, match=r"arguments: .* pass a reference"):
        encode(free, "x" * VALUE_LIMIT)


# Arguments in


@pytest.mark.parametrize(
    ("payload", "call"),
    [
        (b'{"first": 1}', ((1, 2), {})),
        (b'{"first": 1, "*": [3]}', ((1, 2, 3.0), {})),
        (b' {"last": "x", "first": 1, "day": "2026-01-31"}', ((1, 2), {"last": "x", "day": date(2026, 1, 31)})),
        (b'{"first": 1, "first": 2}', ((2, 2), {})),
    ],
)
def test_payloads_typed_by_people_are_read(payload, call):
    assert decode(gather, payload) == call


@pytest.mark.parametrize(
    ("payload", "field", "problem"),
    [
        (b"", "first", "is missing"),
        (b"{}", "first", "is missing"),
        (b"[1]", "payload", "a JSON object such as"),
        (b"null", "payload", "a JSON object such as"),
        (b'{"first": 1', "payload", "EOF"),
        (b"\xff", "payload", "Invalid JSON"),
        (b'{"first": "1"}', "first", "should be a valid integer; got '1'"),
        (b'{"first": 1, "*": 2}', "*rest", "should be a valid array"),
        (b'{"first": 1, "last": "\\u0000"}', "last", "NUL"),
        (b'{"first": 1, "last": "\\ud800"}', "payload", "Invalid JSON"),
        (b'{"first": 1, "*": [NaN]}', "*rest", "should be a finite number"),
    ],
)
def test_a_wrong_payload_names_the_parameter_and_the_problem(payload, field, problem):
    with pytest.raises(Invalid) as caught:
        decode(gather, payload)
    assert caught.value.field == field
    assert problem in caught.value.message


@pytest.mark.parametrize(("name", "field"), [("c", "c"), ("*", "*"), ("", "payload"), ("c" * 1_000_000, "c" * 60)])
def test_an_unknown_member_is_refused(name, field):
    with pytest.raises(Invalid, match="there is no such parameter; known are a, b") as caught:
        decode(add, json.dumps({"a": 1, name: 1}).encode())
    assert caught.value.field == field


# Context


def test_the_context_is_given_by_the_worker():
    def by_name(a: int, context: Context): ...

    def by_position(context: Context, /, *rest: int): ...

    def perhaps(a: int, job: Context | None = None): ...

    def quoted(a: int, *, context: "Context"): ...

    assert encode(by_name, 1) == encode(perhaps, 1) == b'{"a":1}'
    assert decode(by_name, b'{"a": 1}') == decode(quoted, b'{"a": 1}') == ((), {"a": 1, "context": CONTEXT})
    assert encode(by_position, 1, 2) == b'{"*":[1,2]}'
    assert decode(by_position, b'{"*":[1,2]}') == ((CONTEXT, 1, 2), {})
    assert decode(perhaps, b'{"a": 1}') == ((), {"a": 1, "job": CONTEXT})


def test_the_context_cannot_be_passed():
    def task(context: Context, **others: Any): ...

    with pytest.raises(Invalid, match=r"^context: is given by the worker"):
        encode(task, context=1)
    with pytest.raises(Invalid, match=r"^context: is given by the worker"):
        decode(task, b'{"context": 1}')


def test_there_is_one_context():
    def task(one: Context, two: Context): ...

    with pytest.raises(Invalid, match=r"^two: one is the context already"):
        Signature(task)


# Declarations that cannot work


@dataclass
class Lost:
    other: "Nowhere"  # type: ignore[name-defined]  # noqa: F821  # that is the test


class LostModel(BaseModel):
    other: "Nowhere"  # type: ignore[name-defined]  # noqa: F821  # that is the test


@pytest.mark.parametrize(
    ("annotation", "problem"),
    [
        (sqlite3.Connection, "has no JSON form"),
        (list[sqlite3.Connection], "has no JSON form"),
        ("Nowhere", "its annotation names 'Nowhere'"),
        ("list[Nowhere]", "its annotation names 'Nowhere'"),
        (Lost, "'Nowhere' is not defined"),
        (LostModel, "'Nowhere' is not defined"),
    ],
)
@pytest.mark.parametrize("name", ["value", "return"])
def test_an_annotation_without_json_is_refused_at_once(annotation, problem, name):
    def task(value): ...

    task.__annotations__ = {name: annotation}
    with pytest.raises(Invalid) as caught:
        Signature(task)
    assert caught.value.field == name
    assert problem in caught.value.message


def generator():
    yield 1


async def stream():
    yield 1


@pytest.mark.parametrize("function", [generator, stream, Order, "add", None])
def test_what_is_no_plain_function_is_refused(function):
    with pytest.raises(Invalid, match=r"^function: "):
        Signature(function)


def test_other_callables_have_signatures_too():
    class Adder:
        def __call__(self, a: int) -> int:
            return a

        def method(self, a: int) -> int:
            return a

    @functools.wraps(add)
    def wrapped(*args: Any, **kwargs: Any) -> int:
        return add(*args, **kwargs)

    for function in (Adder(), Adder().method, wrapped, functools.partial(add, b=1), functools.partial(gather, 1, 2)):
        with pytest.raises(Invalid, match=r"should be a valid (integer|number)"):
            encode(function, "x")
