import math
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any, NoReturn
from uuid import UUID

import pytest
from pydantic import BaseModel

from rota.domain.errors import Invalid, TooLarge
from rota.domain.records import VALUE_LIMIT
from rota.ports.executor import Handler
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


def free(value): ...


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def test_it_is_a_handler():
    handler: Handler = Signature(add)
    args, kwargs = handler.decode(b'{"a": 1}', CONTEXT)
    assert handler.encode(handler.function(*args, **kwargs)) == b"3"


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (None, None),
        ({"day": date(2026, 1, 31), "set": {1}}, b'{"day":"2026-01-31","set":[1]}'),
        (Order(date(2026, 1, 31), [Line(count=1)]), b'{"day":"2026-01-31","lines":[{"count":1,"price":0.0}]}'),
        ([Colour.RED, Decimal("1.50"), UUID(int=1)], b'["red","1.50","00000000-0000-0000-0000-000000000001"]'),
    ],
)
def test_a_result_without_annotation_is_written_by_its_own_type(value, data):
    assert Signature(free).encode(value) == data


def test_a_result_comes_back_as_annotated():
    def task() -> list[Order]: ...  # type: ignore[empty-body]  # never called

    orders = [Order(date(2026, 1, 31), [Line(count=1)])]
    signature = Signature(task)
    assert signature.decode_result(signature.encode(orders)) == orders
    assert signature.decode_result(None) is None


@pytest.mark.parametrize("value", ["three", None, [3], 3.5])
def test_a_result_that_belies_its_annotation_is_refused(value):
    with pytest.raises(
        Invalid, match=r"^result: is not what the function is annotated to return: should be a valid int"
    ):
        Signature(add).encode(value)


@pytest.mark.parametrize("value", ["3", 3.0, Decimal(3)])
def test_a_result_that_can_be_read_as_promised_is_taken(value):
    signature = Signature(add)
    assert signature.decode_result(signature.encode(value)) == 3


def test_a_result_of_other_code_is_told_to_who_reads_it():
    with pytest.raises(Invalid, match=r"^result: should be a valid integer"):
        Signature(add).decode_result(b'"three"')


def test_nothing_may_be_returned_where_the_annotation_allows_it():
    def perhaps() -> int | None: ...

    def never() -> None: ...

    assert [Signature(one).encode(None) for one in (perhaps, never, free)] == [None] * 3
    with pytest.raises(Invalid, match="annotated to return"):
        Signature(never).encode(1)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (object(), "cannot be written as JSON"),
        ([math.nan], "nan is not a number that JSON has"),
        ("a\0", "NUL"),
        ({"a": "\udcff"}, "surrogates not allowed"),
        (cyclic(), "Circular reference"),
        (nested(5000), "depth exceeded"),
        (lambda: 1, "cannot be written as JSON"),
    ],
)
def test_a_result_that_is_not_json_is_refused(value, problem):
    with pytest.raises(Invalid) as caught:
        Signature(free).encode(value)
    assert caught.value.field == "result"
    assert problem in caught.value.message


def test_a_result_over_the_limit_is_told_to_travel_by_reference():
    with pytest.raises(TooLarge, match=r"result: .* pass a reference"):
        Signature(free).encode("x" * VALUE_LIMIT)


def test_a_function_that_never_returns_has_no_result():
    def task() -> NoReturn:
        raise RuntimeError

    assert Signature(task).encode(None) is None
