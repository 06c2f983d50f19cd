"""What is put into a store comes out equal, for each kind and every value that its fields allow."""

# ruff: noqa: S101 - a contract asserts

from dataclasses import replace
from typing import Any

import pytest

from rota.domain.errors import Invalid
from rota.domain.records import Queue
from rota.domain.run import Run
from rota.domain.schedule import Schedule
from rota.domain.task import Task, reset
from rota.ports.store import Change, Group, Store
from rota.testing.contracts.store.samples import AWKWARD_RECORDS, PAIRS, TASK
from rota.testing.contracts.store.steps import assert_same, change, everything, held, put
from rota.testing.factories import make_run, make_schedule, make_task

CHANGING = [kind for kind, (plain, awkward) in PAIRS.items() if plain.id == awkward.id]

UNSTORABLE = [
    make_run(3, error="a\0b"),
    make_run(3, keys=("main/unique/\ud800",)),
    make_task(params={"ratio": float("nan")}),
    make_task(params={"a\0b": 1}),
    make_task(params={"when": object()}),
]


class Records:
    """`get`, and the equality of what it gives."""

    @pytest.mark.parametrize("record", AWKWARD_RECORDS, ids=lambda record: type(record).__name__)
    async def test_an_awkward_record_comes_back_equal(self, store: Store, record: Any) -> None:
        (found,) = await put(store, record)
        assert_same(found.record, record)

    @pytest.mark.parametrize("kind", CHANGING, ids=lambda kind: kind.__name__)
    async def test_every_field_can_change_and_change_back(self, store: Store, kind: type[Any]) -> None:
        plain, awkward = PAIRS[kind]
        (was,) = await put(store, plain)
        for now in (awkward, plain):
            assert await change(store, was, now) == "Applied"
            was = await held(store, now)
            assert_same(was.record, now)

    async def test_an_override_keeps_its_type_so_that_a_reset_works(self, store: Store) -> None:
        (found,) = await put(store, TASK)
        for name, value in TASK.overrides.items():
            assert_same(found.record.overrides[name], value)
        assert reset(found.record, 1) == reset(TASK, 1)

    async def test_empty_bytes_are_not_nothing(self, store: Store) -> None:
        await put(store, make_run(1, payload=b"", result=None), make_run(2, payload=None, result=b""))
        first, second = await store.get(Run, [make_run(1).id, make_run(2).id])
        assert first is not None
        assert second is not None
        assert (first.record.payload, first.record.result) == (b"", None)
        assert (second.record.payload, second.record.result) == (None, b"")

    @pytest.mark.parametrize("record", UNSTORABLE, ids=["nul", "surrogate", "nan", "key", "object"])
    async def test_what_cannot_be_kept_is_refused_with_all_of_its_call(self, store: Store, record: Any) -> None:
        groups = [Group((Change(None, one),)) for one in (make_run(1), record, make_run(2))]
        with pytest.raises(Invalid):
            await store.commit(groups)
        assert await everything(store, Run) == []
        assert await everything(store, type(record)) == []

    async def test_get_answers_in_the_order_of_the_question(self, store: Store) -> None:
        one, two = make_run(1), make_run(2)
        await put(store, one, two)
        found = await store.get(Run, [two.id, "unknown", one.id, two.id])
        assert [item and item.record for item in found] == [two, None, one, two]

    async def test_get_of_nothing_is_nothing(self, store: Store) -> None:
        assert await store.get(Run, []) == []

    async def test_kinds_do_not_share_ids(self, store: Store) -> None:
        task, schedule, queue = make_task(name="x"), make_schedule(name="x"), Queue("main", "x")
        assert task.id == schedule.id == queue.id
        await put(store, task, schedule, queue)
        assert (await held(store, task)).record == task
        assert (await held(store, schedule)).record == schedule
        assert (await held(store, queue)).record == queue

    async def test_ids_that_differ_in_case_or_namespace_differ(self, store: Store) -> None:
        tasks = [make_task(namespace=namespace, name=name) for namespace in ("main", "Main") for name in ("a", "A")]
        await put(store, *tasks)
        found = await store.get(Task, [task.id for task in tasks])
        assert [item and item.record for item in found] == tasks

    async def test_a_read_record_is_a_snapshot(self, store: Store) -> None:
        (before,) = await put(store, make_schedule())
        later = replace(before.record, fired=1)
        assert await change(store, before, later) == "Applied"
        assert before.record == make_schedule()
        assert (await store.get(Schedule, [later.id]))[0] != before

    async def test_thousands_of_records_in_one_call(self, store: Store) -> None:
        runs = [make_run(number) for number in range(1, 2_501)]
        await put(store, *runs[:1])
        assert [found.record for found in await put(store, *runs[1:])] == runs[1:]
        found = await store.get(Run, [run.id for run in runs])
        assert [item and item.record for item in found] == runs
