"""`commit`: compare and set, all of a group or nothing, each group for itself, and what a resent group is told."""

# ruff: noqa: S101 - a contract asserts

from rota.domain.records import Blob, Tally, Unique, Until
from rota.domain.run import Run, State
from rota.domain.task import Task
from rota.ports.store import GROUP_BYTES, GROUP_LIMIT, Change, Conflict, Group, Store, Versioned
from rota.testing.clock import START_AT
from rota.testing.contracts.store.steps import change, everything, held, put, verdicts
from rota.testing.factories import make_run, make_task

ENDED = Tally(START_AT, "main", "report", "default", "success", 10, "node", 1, 7)
KEY = Unique("main/unique/a", make_run().id, "body", Until.TERMINAL)


class Commits:
    """Records change only from what they were."""

    async def test_a_new_record_must_be_new(self, store: Store) -> None:
        (known,) = await put(store, make_run(1))
        other = make_run(1, task="other")
        (result,) = await store.commit([Group((Change(None, other),))])
        assert isinstance(result, Conflict)
        assert result.current == (known,)
        assert await held(store, other) == known

    async def test_a_change_from_what_is_held_applies(self, store: Store) -> None:
        (was,) = await put(store, make_run(1))
        now = was.record._replace(progress="half")
        assert await change(store, was, now) == "Applied"
        after = await held(store, now)
        assert after.record == now
        assert after.version != was.version

    async def test_a_change_from_an_old_version_changes_nothing(self, store: Store) -> None:
        (was,) = await put(store, make_run(1))
        assert await change(store, was, was.record._replace(progress="first")) == "Applied"
        known = await held(store, was.record)
        (result,) = await store.commit([Group((Change(was, was.record._replace(progress="second")),))])
        assert isinstance(result, Conflict)
        assert result.current == (known,)
        assert await held(store, was.record) == known

    async def test_a_record_that_changed_and_changed_back_is_another_one(self, store: Store) -> None:
        (first,) = await put(store, make_run(1))
        assert await change(store, first, first.record._replace(progress="half")) == "Applied"
        assert await change(store, await held(store, first.record), first.record) == "Applied"
        assert (await held(store, first.record)).version != first.version
        assert await change(store, first, first.record._replace(progress="late")) == "Conflict"

    async def test_a_change_of_what_is_gone_changes_nothing(self, store: Store) -> None:
        (was,) = await put(store, make_run(1))
        assert await change(store, was, None) == "Applied"
        (result,) = await store.commit([Group((Change(was, was.record._replace(progress="late")),))])
        assert isinstance(result, Conflict)
        assert result.current == (None,)
        assert await store.get(Run, [was.record.id]) == [None]

    async def test_a_change_of_what_never_was_changes_nothing(self, store: Store) -> None:
        run = make_run(1)
        assert await change(store, Versioned(run, 1), run._replace(progress="late")) == "Conflict"
        assert await store.get(Run, [run.id]) == [None]

    async def test_delete_from_what_is_held(self, store: Store) -> None:
        (was,) = await put(store, make_run(1))
        assert await change(store, was, None) == "Applied"
        assert await store.get(Run, [was.record.id]) == [None]
        assert await everything(store, Run) == []

    async def test_delete_from_an_old_version_deletes_nothing(self, store: Store) -> None:
        (was,) = await put(store, make_run(1))
        assert await change(store, was, was.record._replace(progress="half")) == "Applied"
        assert await change(store, was, None) == "Conflict"
        assert (await held(store, was.record)).record.progress == "half"

    async def test_a_record_made_anew_is_another_one(self, store: Store) -> None:
        (first,) = await put(store, make_run(1))
        assert await change(store, first, None) == "Applied"
        (again,) = await put(store, make_run(1))
        assert again.version != first.version
        assert await change(store, first, first.record._replace(progress="late")) == "Conflict"
        assert await change(store, first, None) == "Conflict"
        assert await held(store, first.record) == again

    async def test_a_change_to_the_same_values_is_a_change(self, store: Store) -> None:
        (was,) = await put(store, make_run(1))
        assert await change(store, was, was.record) == "Applied"
        assert await change(store, was, was.record._replace(progress="late")) == "Conflict"

    async def test_a_group_happens_together(self, store: Store) -> None:
        (was,) = await put(store, make_task(1))
        run = make_run(1, keys=(KEY.id,))
        group = Group((Change(None, run), Change(None, KEY), Change(was, make_task(1, description="why"))))
        assert verdicts(await store.commit([group])) == ["Applied"]
        assert (await held(store, run)).record == run
        assert (await held(store, KEY)).record == KEY
        assert (await held(store, was.record)).record.description == "why"

    async def test_a_group_with_one_conflict_happens_not_at_all(self, store: Store) -> None:
        (key,) = await put(store, KEY)
        run, task = make_run(2, keys=(KEY.id,)), make_task(1)
        mine = Unique(KEY.id, run.id, "body", Until.TERMINAL)
        for order in ((0, 1, 2), (1, 0, 2), (2, 0, 1)):
            changes = (Change(None, run), Change(None, mine), Change(None, task))
            (result,) = await store.commit([Group(tuple(changes[place] for place in order))])
            assert isinstance(result, Conflict)
            assert result.current == tuple((None, key, None)[place] for place in order)
            assert await store.get(Run, [run.id]) == [None]
            assert await store.get(Task, [task.id]) == [None]
            assert await held(store, KEY) == key

    async def test_groups_of_one_call_come_out_one_by_one(self, store: Store) -> None:
        (was, changed) = await put(store, make_run(1), make_run(2))
        assert await change(store, changed, changed.record._replace(progress="half")) == "Applied"
        groups = [
            Group((Change(None, make_run(3)),)),
            Group((Change(changed, None), Change(None, make_run(4)))),
            Group((Change(was, was.record._replace(progress="done")), Change(None, make_run(5)))),
            Group((Change(None, make_run(6)),)),
        ]
        assert verdicts(await store.commit(groups)) == ["Applied", "Conflict", "Applied", "Applied"]
        found = await store.get(Run, [make_run(number).id for number in range(1, 7)])
        assert [item is not None for item in found] == [True, True, True, False, True, True]

    async def test_a_call_without_groups_is_answered(self, store: Store) -> None:
        assert await store.commit([]) == []

    async def test_hundreds_of_groups_in_one_call(self, store: Store) -> None:
        taken = await put(store, *(make_run(number) for number in range(0, 600, 3)))
        groups = [Group((Change(None, make_run(number, task="other")),)) for number in range(600)]
        wanted = ["Conflict" if number % 3 == 0 else "Applied" for number in range(600)]
        assert verdicts(await store.commit(groups)) == wanted
        assert [await held(store, one.record) for one in taken[:5]] == taken[:5]

    async def test_a_full_group_happens_together(self, store: Store) -> None:
        blobs = [
            Blob(f"{number}/payload", bytes([number]) * (GROUP_BYTES // GROUP_LIMIT)) for number in range(GROUP_LIMIT)
        ]
        (last,) = await put(store, blobs[-1])
        full = Group(tuple(Change(None, blob) for blob in blobs))
        assert verdicts(await store.commit([full])) == ["Conflict"]
        assert await store.get(Blob, [blob.id for blob in blobs[:-1]]) == [None] * (GROUP_LIMIT - 1)
        assert await change(store, last, None) == "Applied"
        assert verdicts(await store.commit([full])) == ["Applied"]
        found = await store.get(Blob, [blob.id for blob in blobs])
        assert [item and item.record for item in found] == blobs

    async def test_a_resent_group_is_known_again(self, store: Store) -> None:
        was, gone = await put(store, make_run(1), KEY)
        ended = was.record._replace(state=State.SUCCESS, ended_at=START_AT + 5)
        group = Group((Change(was, ended), Change(gone, None), Change(None, make_task(1))), ENDED)
        assert verdicts(await store.commit([group])) == ["Applied"]
        after = [await held(store, ended), await held(store, make_task(1))]
        assert verdicts(await store.commit([group])) == ["Already"]
        assert [await held(store, ended), await held(store, make_task(1))] == after

    async def test_a_group_resent_after_a_further_change_is_a_conflict(self, store: Store) -> None:
        (was,) = await put(store, make_run(1))
        group = Group((Change(was, was.record._replace(progress="half")),))
        assert verdicts(await store.commit([group])) == ["Applied"]
        further = await held(store, was.record)
        assert await change(store, further, further.record._replace(progress="done")) == "Applied"
        assert verdicts(await store.commit([group])) == ["Conflict"]
        assert (await held(store, was.record)).record.progress == "done"

    async def test_a_group_of_which_only_half_is_held_is_a_conflict(self, store: Store) -> None:
        await put(store, make_run(1))
        group = Group((Change(None, make_run(1)), Change(None, make_run(2))))
        assert verdicts(await store.commit([group])) == ["Conflict"]
        assert await store.get(Run, [make_run(2).id]) == [None]

    async def test_a_tally_counts_what_applied_and_only_once(self, store: Store) -> None:
        (was,) = await put(store, make_run(1))
        first = Group((Change(was, was.record._replace(progress="done")),), ENDED)
        second = Group((Change(None, make_run(2)),), ENDED._replace(total_ms=5))
        third = Group((Change(None, make_run(3)),), ENDED._replace(task="other", bucket=-1, count=3))
        late = Group((Change(was, was.record._replace(progress="late")),), ENDED)
        assert verdicts(await store.commit([first, second, third])) == ["Applied"] * 3
        assert verdicts(await store.commit([first, second, third])) == ["Already"] * 3
        assert verdicts(await store.commit([late])) == ["Conflict"]
        cells = sorted(await everything(store, Tally), key=lambda cell: cell.task)
        assert cells == [
            ENDED._replace(task="other", bucket=-1, count=3),
            ENDED._replace(count=2, total_ms=12),
        ]

    async def test_tallies_of_one_cell_in_one_call_add_up(self, store: Store) -> None:
        groups = [Group((Change(None, make_run(number)),), ENDED) for number in range(1, 101)]
        assert verdicts(await store.commit(groups)) == ["Applied"] * 100
        assert await everything(store, Tally) == [ENDED._replace(count=100, total_ms=700)]
