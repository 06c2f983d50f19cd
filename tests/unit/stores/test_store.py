import asyncio
from typing import Any

import pytest

from rota.domain.errors import Invalid, Stale
from rota.domain.lane import lane
from rota.domain.records import Blob, Queue, Session, Tally
from rota.domain.run import Run, State
from rota.domain.states import Claim, advance
from rota.ports.store import GROUP_LIMIT, Change, Group, Line, Sought, Term, Want, Where
from rota.stores import connect
from rota.stores.sql import commit as module
from rota.stores.sql import find, walks
from rota.stores.sql.sqlite import file_of
from rota.stores.sql.store import SqlStore
from rota.stores.sql.writes import Writes
from rota.testing.clock import START_AT
from rota.testing.factories import make_run, make_schedule, make_session, make_task
from tests.unit.stores.files import opened, put

LANE = lane("main", "default", "python")
NOW = START_AT + 10_000
TALLY = Tally(START_AT, "main", "report", "default", "success", 10, "node", 1, 7)


@pytest.fixture(params=["memory", "inline", "file"])
async def store(request, tmp_path):
    where = tmp_path / "rota.db" if request.param == "file" else "sqlite://"
    async with opened(where, inline=request.param == "inline") as found:
        yield found


def want(**more):
    return Want(**{"session": "session-1", "worker": "w", "token": 7, "limit": 10, "lanes": (LANE,), **more})


def names(results):
    return [type(result).__name__ for result in results]


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite://", ""),
        ("sqlite:///:memory:", ""),
        ("sqlite:///rota.db", "rota.db"),
        ("sqlite:////data/rota.db", "/data/rota.db"),
    ],
)
def test_a_url_names_a_file_or_memory(url, file):
    assert file_of(url) == file
    assert connect(url).shared is (file == "")


@pytest.mark.parametrize("url", ["", "rota.db", "oracle://x", "sqlite", "sqlite://rota.db", "sqlite:///a?mode=ro"])
def test_a_url_that_names_nothing_of_ours_is_refused_with_the_choices(url):
    with pytest.raises(Invalid, match="sqlite"):
        connect(url)


async def test_two_stores_in_memory_are_two_places():
    async with opened("sqlite://") as one, opened("sqlite://") as other:
        await put(one, make_run(1))
        assert await other.get(Run, [make_run(1).id]) == [None]


async def test_what_cannot_be_stored_names_its_id_and_nothing_is_written(store):
    bad: list[Any] = [
        make_run(2, error="a\0b"),
        make_run(2, detail="\ud800"),
        make_run(2, keys=("\0",)),
        make_run(2, created_at=1 << 63),
        make_task(2, params={"a": float("nan")}),
        make_session(2, worker="\0"),
        Blob("a\0", b""),
    ]
    for record in bad:
        with pytest.raises(Invalid) as caught:
            await put(store, make_run(1), record, make_run(3))
        assert caught.value.field == record.id
        assert (await store.find(Run)).items == ()
    await put(store, make_run(1))


async def test_a_change_that_cannot_be_stored_names_its_id(store):
    await put(store, make_run(1), make_run(2))
    one, two = (await store.find(Run, oldest=True)).items
    changes = [
        Change(one, one.record._replace(progress="half")),
        Change(two, two.record._replace(progress="\0")),
    ]
    with pytest.raises(Invalid) as caught:
        await store.commit([Group((change,)) for change in changes])
    assert caught.value.field == make_run(2).id
    assert [item.record.progress for item in (await store.find(Run)).items] == ["", ""]


async def test_a_required_field_that_is_missing_is_invalid(store):
    with pytest.raises(Invalid):
        await put(store, make_run(1, task=None))


async def test_a_tally_that_cannot_be_stored_is_refused_with_its_group(store):
    with pytest.raises(Invalid):
        await store.commit([Group((Change(None, make_run(1)),), TALLY._replace(node="\0"))])
    assert (await store.find(Run)).items == ()


async def test_groups_of_one_call_share_no_keys(store):
    run = make_run(1)
    for groups in ([Group((Change(None, run), Change(None, run)))], [Group((Change(None, run),))] * 2):
        with pytest.raises(Invalid, match="twice"):
            await store.commit(groups)
    await put(store, run)
    (held,) = (await store.find(Run)).items
    with pytest.raises(Invalid, match="twice"):
        await store.commit([Group((Change(held, None),)), Group((Change(None, run),))])


async def test_a_group_has_a_limit(store):
    changes = tuple(Change(None, make_run(number)) for number in range(GROUP_LIMIT + 1))
    with pytest.raises(Invalid, match=str(GROUP_LIMIT)):
        await store.commit([Group(changes)])
    assert names(await store.commit([Group(changes[1:])])) == ["Applied"]


async def test_a_change_keeps_its_id(store):
    await put(store, make_run(1))
    (held,) = (await store.find(Run)).items
    with pytest.raises(Invalid, match="keeps kind and id"):
        await store.commit([Group((Change(held, make_run(2)),))])


async def test_tallies_of_one_call_are_summed_and_can_be_deleted(store):
    groups = [Group((Change(None, make_run(number)),), TALLY) for number in range(5)]
    await store.commit([*groups, Group((), TALLY._replace(bucket=50))])
    one, other = sorted((await store.find(Tally)).items)
    assert one.record == TALLY._replace(count=5, total_ms=35)
    assert other.record == TALLY._replace(bucket=50)
    assert names(await store.commit([Group((Change(one, None),)), Group((Change(other, None),))])) == ["Applied"] * 2
    assert (await store.find(Tally)).items == ()


async def test_a_tally_of_a_call_with_conflicts_counts_what_applied(store):
    await put(store, make_run(1), make_run(2))
    one, two = (await store.find(Run, oldest=True)).items
    await store.commit([Group((Change(two, two.record._replace(progress="half")),))])
    late = [Group((Change(held, held.record._replace(progress="late")),), TALLY) for held in (one, two)]
    assert names(await store.commit(late)) == ["Applied", "Conflict"]
    (cell,) = (await store.find(Tally)).items
    assert cell.record.count == 1
    assert names(await store.commit(late)) == ["Already", "Conflict"]


async def test_a_run_that_goes_takes_its_lines_and_large_values_along(store):
    gone, kept = make_run(1), make_run(2)
    blobs = [Blob(f"{run.id}/{name}", b"x") for run in (gone, kept) for name in ("payload", "result")]
    await put(store, gone, kept, *blobs)
    await store.logs.append([Line(run.id, 1, NOW, "stdout", "info", "x") for run in (gone, kept, gone)])
    held = (await store.get(Run, [gone.id]))[0]
    await store.commit([Group((Change(held, None),))])
    assert [line.run for line in (await store.logs.search(Sought()))[0]] == [kept.id]
    _, position = await store.logs.read(kept.id)
    found = await store.get(Blob, [blob.id for blob in blobs])
    assert [item is not None for item in found] == [False, False, True, True]
    await store.logs.append([Line(kept.id, 1, NOW, "stdout", "info", "y")])
    assert [line.text for line in (await store.logs.read(kept.id, position))[0]] == ["y"]


async def test_many_lines_go_a_few_at_a_time(store, monkeypatch):
    monkeypatch.setattr(module, "LINES", 3)
    await put(store, make_run(1), make_run(2))
    await store.logs.append([Line(make_run(1 + number % 2).id, 1, NOW, "log", "info", "x") for number in range(8)])
    held, other = await store.get(Run, [make_run(1).id, make_run(2).id])
    deleted: list[int] = []

    async def lines():
        return len((await store.logs.search(Sought()))[0])

    async def write(*arguments):
        before = await lines()
        result = await original(*arguments)
        deleted.append(before - await lines())
        return result

    original, store.base.write = store.base.write, write
    with pytest.raises(Stale):
        await store.commit([Group((Change(held, None),))], Term("leader", 7))
    changed = Change(other._replace(version=other.version + 1), None)
    await store.commit([Group((Change(held, None),)), Group((changed,))])
    assert deleted == [3, 1, 0]
    assert await lines() == 4


async def test_positions_of_lines_are_never_used_again(store):
    await put(store, make_run(1))
    await store.logs.append([Line(make_run(1).id, 1, NOW, "log", "info", "x")] * 3)
    _, position = await store.logs.read(make_run(1).id)
    (held,) = (await store.find(Run)).items
    await store.commit([Group((Change(held, None),))])
    await store.logs.append([Line("later", 1, NOW, "log", "info", "y")])
    assert [line.text for line in (await store.logs.read("later", position))[0]] == ["y"]


async def test_what_advance_makes_of_a_run_is_what_a_claim_stores(store):
    runs = [make_run(number, timeout_ms=5 * number, attempt=number % 2) for number in range(20)]
    await put(store, make_session(1), *runs)
    (claimed,) = await store.claim([want(limit=100)], NOW)
    event = Claim("session-1", "w", 7)
    assert [found.record for found in claimed.runs] == [advance(run, event, NOW) for run in runs]
    assert await store.get(Run, [run.id for run in runs]) == list(claimed.runs)


async def test_a_claim_that_meets_another_change_inside_its_transaction_is_undone(store, monkeypatch):
    await put(store, make_session(1), make_run(1))
    monkeypatch.setattr(Writes, "flush", lambda self, db: 0)
    with pytest.raises(AssertionError):
        await store.claim([want()], NOW)
    assert await store.count(Run, "state") == {"pending": 1}


async def test_a_hundred_lanes_and_an_excluded_backlog(store):
    await put(store, make_session(1), *(make_run(n, queue=f"q{n % 100}", task=f"t{n % 2}") for n in range(300)))
    lanes = tuple(lane("main", f"q{number}", "python") for number in range(100))
    (claimed,) = await store.claim([want(lanes=lanes, limit=50, exclude=("main/t0",))], NOW)
    assert [found.record.id for found in claimed.runs] == [make_run(n).id for n in range(1, 100, 2)]


async def test_listing_across_many_namespaces(store):
    runs = [make_run(number, namespace=f"n{number % 70}") for number in range(140)]
    await put(store, *runs)
    found: list[Run] = []
    cursor, first = "", True
    while first or cursor:
        first = False
        page = await store.find(Run, Where(states=(State.PENDING, State.FAILED)), cursor, 33)
        found += [item.record for item in page.items]
        cursor = page.cursor
    assert found == runs[::-1]
    assert await store.count(Run, "namespace") == {f"n{number}": 2 for number in range(70)}


async def test_what_no_index_serves_is_looked_at_once_page_by_page(store, monkeypatch):
    monkeypatch.setattr(find, "LOOK_LIMIT", 3)
    runs = [make_run(number, queue="odd" if number % 4 else "rare") for number in range(13)]
    await put(store, *runs)
    found: list[Run] = []
    cursor, pages = "", 0
    while cursor or not pages:
        page = await store.find(Run, Where(queue="rare"), cursor)
        found += [item.record for item in page.items]
        cursor, pages = page.cursor, pages + 1
    assert (found, pages) == (runs[::-4], 5)


async def test_a_window_of_time_is_all_that_is_looked_at_across_many_namespaces(store, monkeypatch):
    monkeypatch.setattr(walks, "STREAMS_LIMIT", 2)
    monkeypatch.setattr(find, "LOOK_LIMIT", 3)
    await put(store, *(make_run(number, namespace=f"n{number % 4}") for number in range(20)))
    page = await store.find(Run, Where(since=START_AT + 18))
    assert (len(page.items), page.cursor) == (2, "")


@pytest.mark.parametrize("limits", [(64, 0), (0, 64)], ids=str)
async def test_a_listing_goes_on_as_it_began(store, monkeypatch, limits):
    """By then so many more or fewer namespaces and states have runs that it would begin in another way."""
    runs = [make_run(number) for number in range(9)]
    await put(store, *runs)
    found: list[Run] = []
    cursor = ""
    for limit in limits:
        monkeypatch.setattr(walks, "STREAMS_LIMIT", limit)
        page = await store.find(Run, Where(), cursor, 5)
        found += [item.record for item in page.items]
        cursor = page.cursor
    assert found == runs[::-1]


@pytest.mark.parametrize("cursor", ["x", "{}", "[]", '["a"]', "[1,2,3]", '["a"]extra', "\ud800"])
async def test_a_cursor_from_elsewhere_is_refused(store, cursor):
    with pytest.raises(Invalid, match="cursor"):
        await store.find(Run, Where(), cursor)


async def test_counting_by_what_is_no_column_names_the_choices(store):
    with pytest.raises(Invalid, match="queue"):
        await store.count(Run, "colour")


async def test_a_filter_that_a_kind_lacks_finds_nothing(store):
    await put(store, make_session(1), make_task(1), Queue("main", "default"), make_schedule(1))
    assert (await store.find(Session, Where(task="a"))).items == ()
    assert (await store.find(Queue, Where(since=1))).items == ()
    assert len((await store.find(Queue, Where(namespace="main"))).items) == 1


async def test_a_filter_that_no_database_can_compare_is_invalid(store):
    for where in (
        Where(task="\ud800", namespace="main"),
        Where(prefix="\ud800"),
        Where(since=1 << 64, namespace="main"),
    ):
        with pytest.raises(Invalid):
            await store.find(Run, where)


async def test_a_store_serves_several_loops(store):
    await put(store, make_session(1), *(make_run(number) for number in range(40)))
    given: list[str] = []

    async def work():
        while True:
            (claimed,) = await store.claim([want(limit=3)], NOW)
            if not claimed.runs:
                return
            given.extend(found.record.id for found in claimed.runs)
            moved = [Change(held, held.record._replace(progress="x")) for held in claimed.runs]
            results = await store.commit([Group((change,)) for change in moved])
            assert names(results) == ["Applied"] * len(moved)

    await asyncio.gather(*(asyncio.to_thread(asyncio.run, work()) for _ in range(3)))
    assert sorted(given) == [make_run(number).id for number in range(40)]


async def test_terms_lapse_by_the_clock_that_is_given():
    now = [1_000]
    async with opened("sqlite://", inline=True, now=lambda: now[0]) as store:
        assert (await store.lead("scheduler", "a", 500)).mine
        now[0] += 499
        assert not (await store.lead("scheduler", "b", 500)).mine
        now[0] += 1
        taken = await store.lead("scheduler", "b", 500)
        assert (taken.mine, taken.number) == (True, 2)


async def test_a_clock_that_is_set_back_keeps_no_term_for_whoever_died():
    now = [10**12]
    async with opened("sqlite://", inline=True, now=lambda: now[0]) as store:
        assert (await store.lead("scheduler", "a", 500)).mine
        now[0] -= 3_600_000
        taken = await store.lead("scheduler", "b", 500)
        assert (taken.mine, taken.number) == (True, 2)


def test_a_store_that_was_never_opened_can_be_closed():
    asyncio.run(SqlStore("sqlite://").close())
