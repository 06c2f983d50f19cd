"""The suite itself: no test hides another, and no field of a record stays at its default unnoticed."""

from collections import Counter
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from rota.domain.records import Queue
from rota.domain.schedule import Schedule, Skip
from rota.domain.task import Revision, Task
from rota.testing.contracts.store import ClusterContract
from rota.testing.contracts.store.samples import PAIRS

IDENTITY: dict[type, set[str]] = {
    Task: {"namespace", "name"},
    Schedule: {"namespace", "name"},
    Queue: {"namespace", "name"},
    Skip: {"schedule", "first_at"},
}


def names(record: Any) -> list[str]:
    return [one.name for one in fields(record)] if is_dataclass(record) else list(record._fields)


def test_no_test_of_a_contract_hides_another():
    tests = Counter(name for base in ClusterContract.__mro__ for name in vars(base) if name.startswith("test_"))
    assert [name for name, times in tests.items() if times > 1] == []
    assert len(tests) > 100


@pytest.mark.parametrize("kind", PAIRS, ids=lambda kind: kind.__name__)
def test_the_awkward_sample_leaves_no_field_as_the_plain_one_has_it(kind):
    plain, awkward = PAIRS[kind]
    same = {name for name in names(plain) if getattr(plain, name) == getattr(awkward, name)}
    assert same == IDENTITY.get(kind, set() if kind is Revision else {"id"})
