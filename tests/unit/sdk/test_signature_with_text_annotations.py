from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from rota.domain.errors import Invalid
from rota.ports.executor import Context
from rota.sdk.signature import Signature

if TYPE_CHECKING:
    from decimal import Decimal

CONTEXT: Any = object()


@dataclass
class Leaf:
    day: date
    parent: Leaf | None = None


def grow(leaf: Leaf, *others: list[Leaf], context: Context) -> dict[str, Leaf]: ...  # type: ignore[empty-body]  # never called


def test_annotations_that_are_text_mean_the_same():
    leaf = Leaf(date(2026, 1, 31), Leaf(date(2026, 1, 30)))
    signature = Signature(grow)
    payload = signature.encode_arguments((leaf, [leaf]), {})
    assert signature.decode(payload, CONTEXT) == ((leaf, [leaf]), {"context": CONTEXT})
    assert signature.decode_result(signature.encode({"a": leaf})) == {"a": leaf}


def test_names_that_only_the_type_checker_knows_are_refused():
    def pay(amount: Decimal): ...

    with pytest.raises(Invalid, match=r"^amount: its annotation names 'Decimal'; .* outside of `if TYPE_CHECKING`"):
        Signature(pay)


def test_names_of_the_enclosing_function_are_refused():
    @dataclass
    class Local:
        day: date

    def task(value: Local): ...

    with pytest.raises(Invalid, match=r"^value: its annotation names 'Local'; .* at module level"):
        Signature(task)
