"""What is put into a store comes out equal, for each kind and every value that its fields allow."""

from typing import Any

import pytest

from rota.domain.errors import Invalid
from rota.domain.records import Blob, Queue
from rota.domain.run import State
from rota.domain.task import Task
from rota.ports.store import Store
from rota.testing.contracts.store.samples import SAMPLES
from rota.testing.contracts.store.steps import NOW, assert_same, changed, everything, held, new, put
from rota.testing.factories import make_run, make_schedule, make_task

UNSTORABLE = {
    "nul": make_run(3, error="a\0b"),
    "surrogate": make_run(3, keys=("main/unique/\ud800",)),
    "nan": make_task(params={"ratio": float("nan")}),
    "key": make_task(params={"a\0b": 1}),
    "object": make_task(params={"when": object()}),
}


class Records:
    @pytest.mark.parametrize("kind", SAMPLES, ids=lambda kind: kind.__name__)
    async def test_every_field_can_change_and_change_back(self, store: Store, kind: type[Any]) -> None:
        first, *others = SAMPLES[kind]
        read = await put(store, first)
        for now in (*others, first) if others else ():
            read.append(await changed(store, read[-1], now))
        for found, wanted in zip(read, (first, *others, first), strict=False):
            assert_same(found.record, wanted)

    @pytest.mark.parametrize("case", UNSTORABLE)
    async def test_what_cannot_be_kept_is_refused_with_all_of_its_call(self, store: Store, case: str) -> None:
        record = UNSTORABLE[case]
        with pytest.raises(Invalid):
            await store.commit([new(make_run(1)), new(record), new(make_run(2))])
        assert await everything(store, type(make_run())) == []
        assert await everything(store, type(record)) == []

    async def test_get_answers_id_by_id_whatever_is_like_it(self, store: Store) -> None:
        tasks = [make_task(namespace=namespace, name=name) for namespace in ("main", "Main") for name in ("a", "A")]
        others = make_schedule(name="a"), Queue("main", "a")
        assert {tasks[0].id} == {other.id for other in others}
        await put(store, *tasks, *others)
        asked = [tasks[2].id, "unknown", *(task.id for task in tasks), tasks[2].id]
        found = await store.get(Task, asked)
        assert [item and item.record for item in found] == [tasks[2], None, *tasks, tasks[2]]
        assert [(await held(store, other)).record for other in others] == [*others]

    async def test_of_a_run_there_are_only_the_large_values_that_were_put(self, store: Store) -> None:
        run = make_run(1, payload=None, state=State.SUCCESS, ended_at=NOW, result=b"1")
        payload = Blob(f"{run.id}/payload", b"[1]")
        await put(store, run, payload)
        found = await store.get(Blob, [payload.id, f"{run.id}/result"])
        assert [item and item.record for item in found] == [payload, None]

    async def test_nothing_asked_is_answered_and_closing_twice_is_harmless(self, store: Store) -> None:
        await put(store, make_run(1))
        answers = [await store.get(Task, []), await store.commit([]), await store.claim([], 0), await store.beat([])]
        assert answers == [[]] * 4
        await store.close()
        await store.close()
