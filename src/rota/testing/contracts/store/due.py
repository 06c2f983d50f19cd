"""`due`: what the time index holds, and the exact instant of what comes next."""

# ruff: noqa: S101 - a contract asserts

from dataclasses import replace

from rota.domain.run import Run, State
from rota.domain.schedule import Schedule
from rota.ports.store import Store
from rota.testing.contracts.store.steps import NOW, change, claim, held, put
from rota.testing.factories import make_run, make_schedule, make_session

WAITING = [
    make_run(1, due_at=NOW + 20, state=State.SCHEDULED),
    make_run(2, due_at=NOW - 20, state=State.SCHEDULED),
    make_run(3, due_at=NOW, state=State.RETRYING),
    make_run(4, due_at=NOW + 1, state=State.RUNNING),
    make_run(5, due_at=NOW - 5, state=State.PENDING),
    make_run(6, due_at=NOW - 10, state=State.BLOCKED),
    make_run(7),
    make_run(8, state=State.SUCCESS),
]


class DueTimes:
    """Runs by `due_at`, schedules by `next_at`."""

    async def test_what_is_due_comes_earliest_first_with_the_next_instant(self, store: Store) -> None:
        kept = {item.record.id: item for item in await put(store, *WAITING)}
        due = await store.due(Run, NOW, 100)
        assert due.items == tuple(kept[make_run(number).id] for number in (2, 6, 5, 3))
        assert due.next_at == NOW + 1
        assert (await store.due(Run, NOW + 1, 100)).next_at == NOW + 20

    async def test_nothing_due(self, store: Store) -> None:
        await put(store, *WAITING)
        due = await store.due(Run, NOW - 21, 100)
        assert (due.items, due.next_at) == ((), NOW - 20)

    async def test_nothing_waits(self, store: Store) -> None:
        await put(store, make_run(7), make_run(8, state=State.SUCCESS), make_schedule(1, next_at=None))
        for kind in (Run, Schedule):
            due = await store.due(kind, NOW, 100)
            assert (due.items, due.next_at) == ((), None)

    async def test_a_limit_keeps_the_earliest(self, store: Store) -> None:
        await put(store, *WAITING)
        due = await store.due(Run, NOW, 2)
        assert [item.record.id for item in due.items] == [make_run(2).id, make_run(6).id]

    async def test_all_that_is_due_is_reached_by_moving_it_on(self, store: Store) -> None:
        await put(store, *(make_run(number, due_at=NOW - number % 3, state=State.SCHEDULED) for number in range(50)))
        moved: list[str] = []
        while items := (await store.due(Run, NOW, 7)).items:
            for item in items:
                moved.append(item.record.id)
                assert await change(store, item, item.record._replace(state=State.PENDING, due_at=None)) == "Applied"
        assert sorted(moved) == [make_run(number).id for number in range(50)]

    async def test_an_item_leaves_and_comes_back_with_its_instant(self, store: Store) -> None:
        (was,) = await put(store, make_schedule(1, next_at=NOW))
        for next_at, wanted in ((NOW + 60_000, NOW + 60_000), (None, None), (NOW + 5, NOW + 5)):
            assert await change(store, was, replace(was.record, next_at=next_at)) == "Applied"
            due = await store.due(Schedule, NOW, 10)
            assert (due.items, due.next_at) == ((), wanted)
            was = await held(store, was.record)
        assert (await store.due(Schedule, NOW + 5, 10)).items == (was,)
        assert await change(store, was, None) == "Applied"
        assert (await store.due(Schedule, NOW + 5, 10)).items == ()

    async def test_a_claim_sets_the_instant_of_its_run(self, store: Store) -> None:
        await put(store, make_session(1), make_run(1, due_at=NOW + 5, timeout_ms=1_000), make_run(2, due_at=NOW + 9))
        timed, untimed = (item.record for item in (await claim(store)).runs)
        assert untimed.due_at is None
        assert (await store.due(Run, NOW + 9, 10)) == ((), timed.due_at)

    async def test_runs_and_schedules_do_not_mix(self, store: Store) -> None:
        await put(store, make_run(1, due_at=NOW), make_schedule(1, next_at=NOW + 1))
        assert (await store.due(Schedule, NOW, 10)) == ((), NOW + 1)
        assert (await store.due(Run, NOW, 10)).next_at is None
