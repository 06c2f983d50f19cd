"""`find` and `count`: every filter, both directions, and pages without doubles or gaps. `due`: what comes when."""

from collections import Counter
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from rota.domain.ids import occurrence_id
from rota.domain.people import Kind, Token, User
from rota.domain.records import Audit, Blob, Queue, Seal, Session, Unique, Until
from rota.domain.run import Run, State
from rota.domain.schedule import Schedule, Skip
from rota.domain.task import Task
from rota.ports.store import APPLIED, LOOK_LIMIT, Change, Due, Group, Store, Where
from rota.testing.clock import START_AT
from rota.testing.contracts.store.steps import NOW, change, changed, eventually, everything, pages, put
from rota.testing.factories import MINUTE_MS, make_run, make_schedule, make_session, make_task

EARLY = START_AT - 1_000
RUNS = [
    make_run(0),
    make_run(1, namespace="other"),
    make_run(2, task="other"),
    make_run(3, queue="other"),
    make_run(4, schedule="nightly", nominal_at=EARLY, id=occurrence_id("main/nightly", EARLY)),
    make_run(5, state=State.RUNNING, session="session-1"),
    make_run(6, state=State.RUNNING, session="session-2"),
    make_run(7, state=State.SUCCESS, ended_at=START_AT + 100),
    make_run(8, state=State.FAILED, ended_at=START_AT + 200, task="other"),
    make_run(9, state=State.BLOCKED),
    make_run(10, state=State.RETRYING, due_at=START_AT + 300),
]
RUN_FILTERS: dict[Where, set[int]] = {
    Where(namespace="other"): {1},
    Where(task="other"): {2, 8},
    Where(queue="other"): {3},
    Where(schedule="nightly"): {4},
    Where(session="session-1"): {5},
    Where(states=(State.RUNNING,)): {5, 6},
    Where(states=(State.SUCCESS, State.FAILED, State.BLOCKED, State.FAILED)): {7, 8, 9},
    Where(states=(State.CANCELLED,)): set(),
    Where(prefix=RUNS[3].id): {3},
    Where(prefix=RUNS[0].id[:11]): {*range(11)} - {4},
    Where(since=START_AT + 9): {9, 10},
    Where(until=START_AT + 2): {0, 1},
    Where(until=0): set(),
    Where(since=START_AT + 2, until=START_AT + 4): {2, 3},
    Where(ended_until=START_AT + 200): {7},
    Where(ended_until=START_AT + 201): {7, 8},
    Where(states=(State.PENDING, State.FAILED), task="other"): {2, 8},
    Where(states=(State.PENDING,), queue="other"): {3},
    Where(namespace="main", states=(State.PENDING,), queue="default", since=START_AT + 1): {2, 4},
    Where(states=(State.SUCCESS,), ended_until=START_AT + 1_000): {7},
}
LISTED: dict[type, tuple[list[Any], dict[Where, set[int]]]] = {
    Run: (RUNS, RUN_FILTERS),
    Task: ([make_task(1), make_task(2, namespace="main2"), make_task(3)], {Where(namespace="main"): {0, 2}}),
    Schedule: ([make_schedule(1), make_schedule(2, namespace="main2")], {Where(namespace="main"): {0}}),
    Queue: ([Queue("main", "a"), Queue("main2", "a"), Queue("main", "b")], {Where(namespace="main"): {0, 2}}),
    Session: (
        [make_session(1), make_session(2, closed_at=10), make_session(3, closed_at=20)],
        {Where(open=True): {0}, Where(open=False): {1, 2}, Where(ended_until=20): {1}},
    ),
    Unique: (
        [Unique(f"main/unique/{name}", "r", "", Until.TERMINAL) for name in ("a_1", "ab1", "a%1", "A_1", "a_2", "zz")]
        + [Unique(f"main/unique/{at}", "r", "", Until.INSTANT, at) for at in (10, 20)],
        # A prefix is text, not a pattern.
        {Where(prefix="main/unique/a_"): {0, 4}, Where(prefix="main/unique/a%"): {2}, Where(ended_until=20): {6}}
        | {Where(open=True): set(), Where(prefix="main/unique/"): {*range(8)}},
    ),
    Skip: (
        [Skip(f"main/a{of}", 1, START_AT + at, START_AT + at, 1, "overlap") for at, of in ((1, ""), (2, "b"), (3, ""))],
        {Where(schedule="main/a"): {0, 2}, Where(schedule="main/a", since=START_AT + 2): {2}},
    ),
    Audit: (
        [
            Audit(f"audit-{9 - at}", at, "ann", "pause", "x", sealed_at=sealed)
            for at, sealed in ((1, 5), (2, None), (3, 4))
        ],
        {Where(since=2): {1, 2}, Where(open=True): {1}, Where(open=False): {0, 2}, Where(ended_until=5): {2}},
    ),
    Seal: ([Seal(f"{at:012d}", at, (f"audit-{at}",), "", "", "") for at in (1, 2, 3)], {Where(since=2): {1, 2}}),
    User: ([User(name, created_at=at) for at, name in enumerate(("zoe", "ann"))], {Where(prefix="a"): {1}}),
    Token: (
        [Token(f"token-{9 - at}", Kind.KEY, "ci", created_at=at, expires_at=at or None) for at in (0, 1, 2)],
        {Where(ended_until=2): {1}},
    ),
    Blob: ([Blob(f"{9 - at}/result", b"{}", START_AT + at) for at in (1, 2, 3)], {}),
}
"""Records of each kind, oldest first, and which of them a filter finds."""
UNTIMED = {Queue, Unique}
COUNTED = [Where(), Where(task="other"), Where(states=(State.RUNNING,)), Where(namespace="nowhere")]
COUNTED += [Where(states=(State.PENDING,), queue="other"), Where(states=(State.FAILED, State.BLOCKED))]
WAITING = [
    make_run(0, due_at=NOW + 20, state=State.SCHEDULED),
    make_run(1, due_at=NOW - 20, state=State.SCHEDULED),
    make_run(2, due_at=NOW, state=State.RETRYING),
    make_run(3, due_at=NOW + 1, state=State.RUNNING),
    make_run(4, due_at=NOW - 5, state=State.PENDING),
    make_run(5, due_at=NOW - 10, state=State.BLOCKED),
    make_run(6),
    make_run(7, state=State.SUCCESS),
]


class Finding:
    @pytest.mark.parametrize("oldest", [False, True])
    @pytest.mark.parametrize("kind", LISTED, ids=lambda kind: kind.__name__)
    async def test_a_filter_finds_exactly_its_records_by_time_of_creation(
        self, store: Store, kind: type[Any], oldest: bool
    ) -> None:
        records, filters = LISTED[kind]
        await put(store, *records[2:], *records[:2])
        for where, wanted in ({Where(): {*range(len(records))}} | filters).items():
            for limit in (2, 50):
                found = [records.index(one) for one in await everything(store, kind, where, oldest, limit)]
                order = sorted(wanted, reverse=not oldest)
                assert (sorted(found, reverse=not oldest) if kind in UNTIMED else found) == order, where

    @pytest.mark.parametrize("oldest", [False, True])
    @pytest.mark.parametrize("deleting", [False, True])
    async def test_paging_neither_doubles_nor_misses_while_others_write(
        self, store: Store, deleting: bool, oldest: bool
    ) -> None:
        """Some records share an instant, and thus have no order."""
        here = [make_run(number, created_at=START_AT + number // 4) for number in range(40, 60)]
        await put(store, *here)
        found: list[Run] = []
        numbers = count(100)
        async for items in pages(store, Run, Where(), oldest, 3):
            found += [item.record for item in items]
            if deleting:
                await store.commit([Group((Change(item, None),)) for item in items])
            else:
                await put(store, make_run(number := next(numbers)), make_run(0, id=f"{number:032x}"))
        mine = [run for run in found if run in here]
        assert sorted(mine) == sorted(here)
        assert mine == sorted(mine, key=lambda run: run.created_at, reverse=not oldest)
        assert len({run.id for run in found}) == len(found)

    async def test_few_among_thousands_are_found_by_following_the_cursor(self, store: Store) -> None:
        many = [make_run(number) for number in range(LOOK_LIMIT + 500)]
        many[50] = make_run(50, task="rare", priority=3)
        assert [item.record for item in await put(store, *many)] == many
        assert await everything(store, Run, Where(task="rare", states=(State.PENDING,), queue="default")) == [many[50]]

    async def test_a_changed_run_lies_in_one_place(self, store: Store) -> None:
        (was,) = await put(store, make_run(1))
        ended = await changed(store, was, make_run(1, state=State.SUCCESS, ended_at=START_AT + 5))
        for state in State:
            found = await everything(store, Run, Where(states=(state,)))
            assert found == ([ended.record] if state is State.SUCCESS else [])

    @pytest.mark.parametrize("where", COUNTED, ids=str)
    @pytest.mark.parametrize("by", ["state", "queue", "task"])
    async def test_counts_by_a_field(self, store: Store, by: str, where: Where) -> None:
        await put(store, *RUNS)
        wanted = Counter(getattr(run, by) for run in await everything(store, Run, where))
        assert await eventually(store, lambda: store.count(Run, by, where), lambda found: found == wanted)

    @pytest.mark.parametrize(
        ("now", "limit", "wanted", "next_at"),
        [
            (NOW - 21, 100, (), NOW - 20),
            (NOW, 100, (1, 5, 4, 2), NOW + 1),
            (NOW, 2, (1, 5), NOW + 1),
            (NOW + 1, 100, (1, 5, 4, 2, 3), NOW + 20),
            (NOW + 20, 100, (1, 5, 4, 2, 3, 0), None),
        ],
    )
    async def test_what_is_due_comes_earliest_first_with_the_next_instant(
        self, store: Store, now: int, limit: int, wanted: tuple[int, ...], next_at: int | None
    ) -> None:
        kept = await put(store, *WAITING, make_schedule(1, next_at=NOW + 2))
        assert await store.due(Run, now, limit) == Due(tuple(kept[number] for number in wanted), next_at)
        assert await store.due(Schedule, NOW, limit) == Due((), NOW + 2)

    async def test_all_that_is_due_is_reached_by_moving_it_on(self, store: Store) -> None:
        runs = [make_run(number, due_at=NOW - number % 3, state=State.SCHEDULED) for number in range(50)]
        await put(store, *runs)
        moved: list[Run] = []
        while items := (await store.due(Run, NOW, 7)).items:
            for item in items:
                moved.append(item.record)
                assert await change(store, item, item.record._replace(state=State.PENDING, due_at=None)) == APPLIED
        assert sorted(moved) == runs
        assert await store.due(Run, NOW, 7) == Due((), None)

    async def test_an_item_leaves_and_comes_back_with_its_instant(self, store: Store) -> None:
        (was,) = await put(store, make_schedule(1, next_at=NOW))
        for next_at in (NOW + MINUTE_MS, None, NOW + 5):
            was = await changed(store, was, replace(was.record, next_at=next_at))
            assert await store.due(Schedule, NOW, 10) == Due((), next_at)
        assert await store.due(Schedule, NOW + 5, 10) == Due((was,), None)
        assert await change(store, was, None) == APPLIED
        assert await store.due(Schedule, NOW + 5, 10) == Due((), None)
