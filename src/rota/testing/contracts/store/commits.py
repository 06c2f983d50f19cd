"""`commit`: compare and set, all of a group or nothing, each group for itself, and what a resent group is told."""

from typing import Any

import pytest

from rota.domain.records import Blob, Tally, Unique, Until
from rota.domain.run import Run, State
from rota.domain.task import Task
from rota.ports.store import ALREADY, APPLIED, GROUP_BYTES, GROUP_LIMIT, Change, Conflict, Group, Store, Where
from rota.testing.contracts.store.steps import NOW, TALLY, change, changed, everything, held, new, put
from rota.testing.factories import make_run, make_task

KEY = Unique("main/unique/a", make_run().id, "body", Until.TERMINAL)
HALF, LATE = make_run(1, progress="half"), make_run(1, progress="late")
SINCE: dict[str, list[Run | None]] = {
    "changed": [HALF],
    "changed to what it was": [make_run(1)],
    "changed and changed back": [HALF, make_run(1)],
    "deleted": [None],
    "deleted and made anew": [None, make_run(1)],
}
"""What a run became after it was read."""


class Commits:
    @pytest.mark.parametrize("since", SINCE)
    async def test_a_change_from_an_old_version_changes_nothing(self, store: Store, since: str) -> None:
        (was,) = await put(store, make_run(1))
        known: Any = was
        for record in SINCE[since]:
            assert await change(store, known, record) == APPLIED
            (known,) = await store.get(Run, [was.record.id])
        assert await change(store, was, LATE) == Conflict((known,))
        assert await change(store, was, None) == (Conflict((known,)) if known else ALREADY)
        assert not known or await change(store, None, LATE) == Conflict((known,))
        assert await change(store, was._replace(record=make_run(2)), make_run(2)) == Conflict((None,))
        assert await store.get(Run, [was.record.id]) == [known]
        assert await everything(store, Run) == ([known.record] if known else [])

    @pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
    async def test_a_group_with_one_conflict_happens_not_at_all(self, store: Store, order: tuple[int, ...]) -> None:
        (key,) = await put(store, KEY)
        records = make_run(2, keys=(KEY.id,)), Unique(KEY.id, make_run(2).id, "body", Until.TERMINAL), make_task(1)
        (result,) = await store.commit([new(*(records[place] for place in order), tally=TALLY)])
        assert result == Conflict(tuple((None, key, None)[place] for place in order))
        assert await held(store, KEY) == key
        for kind in (Run, Task, Tally):
            assert await everything(store, kind) == []

    @pytest.mark.parametrize("number", [4, 600])
    async def test_groups_of_one_call_come_out_one_by_one(self, store: Store, number: int) -> None:
        runs = [make_run(place) for place in range(number)]
        known = await put(store, *runs[::2])
        groups, wanted = [], []
        for place, was in enumerate(known):
            again = Change(was, was.record._replace(progress="done")) if place % 2 else Change(None, was.record)
            groups += [Group((Change(None, make_task(place)), again)), new(runs[2 * place + 1])]
            wanted += [APPLIED if place % 2 else Conflict((None, was)), APPLIED]
        assert await store.commit(groups) == wanted
        assert [run.progress for run in await everything(store, Run)] == ["", "done", "", ""] * (number // 4)
        assert sorted(task.name for task in await everything(store, Task)) == sorted(
            make_task(place).name for place in range(1, number // 2, 2)
        )

    async def test_of_many_that_change_alike_one_from_an_old_version_does_not(self, store: Store) -> None:
        known = await put(store, *(make_run(place) for place in range(60)))
        await changed(store, known[1], make_run(1, progress="late"))
        results = await store.commit([Group((Change(was, was.record._replace(progress="done")),)) for was in known])
        assert [place for place, result in enumerate(results) if isinstance(result, Conflict)] == [1]
        assert [run.progress for run in await everything(store, Run)] == [*["done"] * 58, "late", "done"]

    async def test_a_full_group_happens_together(self, store: Store) -> None:
        size = GROUP_BYTES // GROUP_LIMIT
        blobs = [Blob(f"{number}/payload", bytes([number]) * size) for number in range(GROUP_LIMIT)]
        (last,) = await put(store, blobs[-1])
        assert await store.commit([new(*blobs)]) == [Conflict((*[None] * (GROUP_LIMIT - 1), last))]
        assert await change(store, last, None) == APPLIED
        assert await store.get(Blob, [blob.id for blob in blobs]) == [None] * GROUP_LIMIT
        assert await store.commit([new(*blobs)]) == [APPLIED]
        found = await store.get(Blob, [blob.id for blob in blobs])
        assert [item and item.record for item in found] == blobs

    async def test_a_resent_group_is_known_again(self, store: Store) -> None:
        was, gone = await put(store, make_run(1), KEY)
        ended = make_run(1, state=State.SUCCESS, ended_at=NOW)
        group = Group((Change(was, ended), Change(gone, None), Change(None, make_task(1))), TALLY)
        assert await store.commit([group]) == [APPLIED]
        after: list[Any] = [await held(store, ended), await held(store, make_task(1))]
        assert [item.record for item in after] == [ended, make_task(1)]
        assert await store.get(Unique, [KEY.id]) == [None]
        assert await store.commit([group]) == [ALREADY]
        assert [await held(store, ended), await held(store, make_task(1))] == after
        # What is held only in part, or was changed since, was not this group.
        assert await store.commit([new(make_task(1), make_task(2))]) == [Conflict((after[1], None))]
        further = await changed(store, after[0], ended._replace(detail="late"))
        assert await store.commit([group]) == [Conflict((further, None, after[1]))]
        assert await held(store, ended) == further
        assert await everything(store, Task) == [make_task(1)]

    async def test_a_tally_counts_what_applied_and_only_once(self, store: Store) -> None:
        (known,) = await put(store, make_run(1))
        other = TALLY._replace(minute=TALLY.minute + 60_000, task="other", bucket=-1, count=3)
        groups = [new(make_run(number), tally=TALLY) for number in range(10, 110)]
        groups += [new(make_run(2), tally=TALLY._replace(total_ms=5)), new(make_run(3), tally=other)]
        assert await store.commit(groups) == [APPLIED] * 102
        assert await store.commit(groups) == [ALREADY] * 102
        assert await store.commit([new(HALF, tally=TALLY)]) == [Conflict((known,))]
        assert await everything(store, Tally) == [other, TALLY._replace(count=101, total_ms=705)]
        assert await store.count(Tally, "task") == {other.task: 3, TALLY.task: 101}
        assert await everything(store, Tally, Where(since=other.minute)) == [other]
