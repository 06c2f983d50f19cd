"""The suite itself: no test hides another, and no field of a record stays at its default unnoticed."""

from collections import Counter
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from rota.domain.records import Queue
from rota.domain.schedule import Schedule, Skip
from rota.domain.task import Revision, Task
from rota.testing.contracts.store import ClusterContract
from rota.testing.contracts.store.samples import SAMPLES

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
    assert len(tests) > 50


@pytest.mark.parametrize("kind", [kind for kind in SAMPLES if kind is not Revision], ids=lambda kind: kind.__name__)
def test_no_field_is_the_same_in_all_samples_but_those_of_the_id(kind):
    samples = SAMPLES[kind]
    same = {
        name for name in names(samples[0]) if all(getattr(samples[0], name) == getattr(one, name) for one in samples)
    }
    assert same == IDENTITY.get(kind, {"id"}) | ({"namespace"} & {*names(samples[0])})
