"""`find` and `count`: every filter, both directions, and pages without doubles or gaps."""

# ruff: noqa: S101 - a contract asserts

from collections.abc import Sequence
from typing import Any

import pytest

from rota.domain.ids import occurrence_id
from rota.domain.records import Audit, Blob, Queue, Session, Tally, Unique, Until
from rota.domain.run import Run, State
from rota.domain.schedule import Schedule, Skip
from rota.domain.task import Task
from rota.ports.store import LOOK_LIMIT, Change, Group, Store, Where
from rota.testing.clock import START_AT
from rota.testing.contracts.store.steps import change, eventually, everything, put
from rota.testing.factories import make_run, make_schedule, make_session, make_task

RUNS = [
    make_run(1),
    make_run(2, namespace="other"),
    make_run(3, task="other"),
    make_run(4, queue="other"),
    make_run(5, schedule="nightly"),
    make_run(6, state=State.RUNNING, session="session-1"),
    make_run(7, state=State.RUNNING, session="session-2"),
    make_run(8, state=State.SUCCESS, ended_at=START_AT + 100),
    make_run(9, state=State.FAILED, ended_at=START_AT + 200, task="other"),
    make_run(10, state=State.BLOCKED),
    make_run(11, state=State.RETRYING, due_at=START_AT + 300),
]
RUN_FILTERS: list[tuple[Where, set[int]]] = [
    (Where(), set(range(1, 12))),
    (Where(namespace="other"), {2}),
    (Where(task="other"), {3, 9}),
    (Where(queue="other"), {4}),
    (Where(schedule="nightly"), {5}),
    (Where(session="session-1"), {6}),
    (Where(states=(State.RUNNING,)), {6, 7}),
    (Where(states=(State.SUCCESS, State.FAILED, State.BLOCKED)), {8, 9, 10}),
    (Where(states=(State.CANCELLED,)), set()),
    (Where(prefix=RUNS[3].id), {4}),
    (Where(prefix=RUNS[0].id[:11]), set(range(1, 12))),
    (Where(since=START_AT + 10), {10, 11}),
    (Where(until=START_AT + 3), {1, 2}),
    (Where(since=START_AT + 3, until=START_AT + 5), {3, 4}),
    (Where(ended_until=START_AT + 200), {8}),
    (Where(ended_until=START_AT + 201), {8, 9}),
    (Where(states=(State.FAILED,), task="other"), {9}),
    (Where(namespace="main", states=(State.PENDING,), queue="default", since=START_AT + 2), {3, 5}),
    (Where(states=(State.SUCCESS,), ended_until=START_AT + 1_000), {8}),
    (Where(namespace="nowhere"), set()),
]
TIMED: dict[type, list[Any]] = {
    Run: [make_run(number) for number in range(1, 8)],
    Session: [make_session(number) for number in range(1, 8)],
    Audit: [Audit(f"audit-{number}", START_AT + number, "ann", "pause", "x") for number in range(1, 8)],
    Skip: [Skip("main/nightly", 1, START_AT + n, START_AT + n, 1, "overlap") for n in range(1, 8)],
    Blob: [Blob(f"{make_run(number).id}/result", b"{}", START_AT + number) for number in range(1, 8)],
    Task: [make_task(number) for number in range(1, 8)],
    Schedule: [make_schedule(number) for number in range(1, 8)],
}
"""Seven records of each kind that has a time of creation, oldest first."""


def numbers(runs: Sequence[Run]) -> list[int]:
    """The factories' numbers of runs."""
    return [run.created_at - START_AT for run in runs]


class Finding:
    """Listings: what the filters let through, in which order, page by page."""

    @pytest.mark.parametrize(("where", "wanted"), RUN_FILTERS, ids=str)
    async def test_a_filter_finds_exactly_its_runs(self, store: Store, where: Where, wanted: set[int]) -> None:
        await put(store, *RUNS)
        for oldest in (False, True):
            found = numbers(await everything(store, Run, where, oldest))
            assert found == sorted(wanted, reverse=not oldest)

    @pytest.mark.parametrize("oldest", [False, True])
    @pytest.mark.parametrize("kind", TIMED, ids=lambda kind: kind.__name__)
    async def test_records_come_by_time_of_creation(self, store: Store, kind: type[Any], oldest: bool) -> None:
        records = TIMED[kind]
        await put(store, *records[3:], *records[:3])
        wanted = records if oldest else records[::-1]
        assert await everything(store, kind, oldest=oldest) == wanted
        assert await everything(store, kind, oldest=oldest, limit=2) == wanted

    async def test_a_late_occurrence_is_listed_by_its_creation(self, store: Store) -> None:
        late = make_run(9, id=occurrence_id("main/nightly", START_AT - 1_000), nominal_at=START_AT - 1_000)
        await put(store, make_run(8), late, make_run(10))
        assert numbers(await everything(store, Run)) == [10, 9, 8]

    @pytest.mark.parametrize("oldest", [False, True])
    async def test_paging_neither_doubles_nor_misses_while_others_insert(self, store: Store, oldest: bool) -> None:
        here = [make_run(number) for number in range(10, 30)]
        await put(store, *here)
        found: list[Run] = []
        cursor, number = "", 0
        while number == 0 or cursor:
            page = await store.find(Run, Where(), cursor, 3, oldest)
            found += [item.record for item in page.items]
            cursor, number = page.cursor, number + 1
            await put(store, make_run(100 + number), make_run(10 - number))
        mine = [run for run in found if run in here]
        assert mine == (here if oldest else here[::-1])
        assert len({run.id for run in found}) == len(found)

    @pytest.mark.parametrize("oldest", [False, True])
    async def test_paging_goes_on_although_the_page_was_deleted(self, store: Store, oldest: bool) -> None:
        here = [make_run(number) for number in range(1, 12)]
        await put(store, *here)
        found: list[Run] = []
        cursor, first = "", True
        while first or cursor:
            first = False
            page = await store.find(Run, Where(), cursor, 3, oldest)
            found += [item.record for item in page.items]
            cursor = page.cursor
            await store.commit([Group((Change(item, None),)) for item in page.items])
        assert found == (here if oldest else here[::-1])
        assert await everything(store, Run) == []

    @pytest.mark.parametrize("oldest", [False, True])
    async def test_records_of_one_instant_are_all_found_once(self, store: Store, oldest: bool) -> None:
        here = [make_run(number, created_at=START_AT, id=f"{number:032x}") for number in range(1, 12)]
        await put(store, *here)
        found = await everything(store, Run, oldest=oldest, limit=2)
        assert sorted(run.id for run in found) == [run.id for run in here]

    async def test_few_among_thousands_are_found_by_following_the_cursor(self, store: Store) -> None:
        many = [make_run(number) for number in range(1, LOOK_LIMIT + 200)]
        rare = many[50]._replace(task="rare", priority=3)
        many[50] = rare
        await put(store, *many)
        assert await everything(store, Run, Where(task="rare", states=(State.PENDING,), queue="default")) == [rare]

    async def test_a_changed_run_lies_in_one_place(self, store: Store) -> None:
        (was,) = await put(store, make_run(1))
        ended = was.record._replace(state=State.SUCCESS, ended_at=START_AT + 5)
        assert await change(store, was, ended) == "Applied"
        for state in State:
            found = await everything(store, Run, Where(states=(state,)))
            assert found == ([ended] if state is State.SUCCESS else [])

    @pytest.mark.parametrize("kind", [Task, Schedule, Queue], ids=lambda kind: kind.__name__)
    async def test_definitions_are_found_by_namespace(self, store: Store, kind: type[Any]) -> None:
        make: Any = {Task: make_task, Schedule: make_schedule, Queue: Queue}[kind]
        mine = [make(namespace="main", name=name) for name in ("a", "b")]
        await put(store, *mine, make(namespace="main2", name="a"))
        found = await everything(store, kind, Where(namespace="main"))
        assert sorted(record.name for record in found) == ["a", "b"]

    async def test_a_prefix_is_text_not_a_pattern(self, store: Store) -> None:
        names = ["a_1", "ab1", "a%1", "A_1", "a_2"]
        await put(store, *(Unique(f"main/unique/{name}", "r", "", Until.TERMINAL) for name in names))
        found = await everything(store, Unique, Where(prefix="main/unique/a_"))
        assert sorted(unique.id for unique in found) == ["main/unique/a_1", "main/unique/a_2"]
        assert [unique.id for unique in await everything(store, Unique, Where(prefix="main/unique/a%"))] == [
            "main/unique/a%1"
        ]

    async def test_sessions_by_open_and_by_closing_time(self, store: Store) -> None:
        open_one, early, late = make_session(1), make_session(2, closed_at=10), make_session(3, closed_at=20)
        await put(store, open_one, early, late)
        assert await everything(store, Session, Where(open=True)) == [open_one]
        assert await everything(store, Session, Where(open=False), oldest=True) == [early, late]
        assert await everything(store, Session, Where(ended_until=20)) == [early]

    async def test_unique_keys_by_expiry(self, store: Store) -> None:
        held = Unique("main/unique/held", "r", "", Until.TERMINAL)
        early, late = (Unique(f"main/unique/{at}", "r", "", Until.INSTANT, at) for at in (10, 20))
        await put(store, held, early, late)
        assert await everything(store, Unique, Where(ended_until=20)) == [early]

    async def test_skips_by_schedule_and_time(self, store: Store) -> None:
        mine, later = (Skip("main/a", 1, at, at, 1, "overlap") for at in (START_AT, START_AT + 9))
        await put(store, mine, later, Skip("main/ab", 1, START_AT, START_AT, 1, "overlap"))
        assert await everything(store, Skip, Where(schedule="main/a"), oldest=True) == [mine, later]
        assert await everything(store, Skip, Where(schedule="main/a", since=START_AT + 9)) == [later]

    async def test_the_audit_by_time(self, store: Store) -> None:
        early, late = (Audit(f"audit-{at}", at, "ann", "pause", "main/a") for at in (10, 20))
        await put(store, early, late)
        assert await everything(store, Audit, Where(since=20)) == [late]

    async def test_tallies_by_time(self, store: Store) -> None:
        early, late = (Tally(START_AT + at, "main", "a", "default", "success", 1, "node") for at in (0, 60_000))
        await store.commit([Group((Change(None, make_run(n)),), tally) for n, tally in enumerate((early, late), 1)])
        assert await everything(store, Tally, Where(since=START_AT + 60_000)) == [late]

    @pytest.mark.parametrize(
        ("by", "where", "wanted"),
        [
            ("state", Where(), {"pending": 5, "running": 2, "success": 1, "failed": 1, "blocked": 1, "retrying": 1}),
            ("state", Where(task="other"), {"pending": 1, "failed": 1}),
            ("queue", Where(), {"default": 10, "other": 1}),
            ("task", Where(), {"report": 9, "other": 2}),
            ("task", Where(states=(State.RUNNING,)), {"report": 2}),
            ("state", Where(namespace="nowhere"), {}),
        ],
        ids=str,
    )
    async def test_counts_by_a_field(self, store: Store, by: str, where: Where, wanted: dict[str, int]) -> None:
        await put(store, *RUNS)

        async def counted() -> bool:
            return await store.count(Run, by, where) == wanted

        assert await eventually(store, counted)
