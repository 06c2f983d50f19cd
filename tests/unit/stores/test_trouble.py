"""Files that are locked, full, read-only, damaged, or someone else's."""

import asyncio
import os
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from rota.domain.errors import Incompatible, Unavailable, Unclear
from rota.domain.run import Run
from rota.testing.factories import make_run
from tests.unit.stores.files import base, opened, put, raw, schema

NOBODY = 65_534


@contextmanager
def without_rights():
    """As a user for whom permissions count; the administrator may write everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rota.db"


async def refused(path, error, *words):
    with pytest.raises(error) as caught:
        async with opened(path):
            pass
    for word in (str(path), *words):
        assert word in str(caught.value)


async def test_a_locked_file_is_unavailable_for_writing_and_fine_for_reading(path):
    async with opened(path) as store:
        await put(store, make_run(1))
        other = raw(path)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked by another transaction"):
            await put(store, make_run(2))
        assert (await store.get(Run, [make_run(1).id]))[0]
        async with opened(path) as second:
            assert (await second.get(Run, [make_run(1).id]))[0]
        other.execute("ROLLBACK")
        other.close()
        await put(store, make_run(2))
        assert len((await store.find(Run)).items) == 2


async def test_a_full_disk_refuses_and_recovers(path):
    async with opened(path) as store:
        await put(store, make_run(1))
        pages = await base(store).writer.run(partial(base(store).writer.first, "PRAGMA page_count"))
        await base(store).writer.run(partial(base(store).writer.first, f"PRAGMA max_page_count={pages}"))
        with pytest.raises(Unavailable, match="disk is full"):
            await put(store, *(make_run(number, payload=b"x" * 4_000) for number in range(10, 60)))
        assert await store.count(Run, "state") == {"pending": 1}
        await base(store).writer.run(partial(base(store).writer.first, "PRAGMA max_page_count=100000"))
        await put(store, make_run(2))
        assert await store.count(Run, "state") == {"pending": 2}


@pytest.fixture
def public_path():
    """In a folder whose parents everyone may enter, unlike those of tmp_path."""
    with TemporaryDirectory() as folder:
        yield Path(folder) / "rota.db"


async def test_a_file_that_may_only_be_read_is_unavailable(public_path):
    path = public_path
    async with opened(path) as store:
        await put(store, make_run(1))
    path.chmod(0o444)
    path.parent.chmod(0o555)
    with without_rights():
        await refused(path, Unavailable, "cannot be written")
        await refused(path.with_name("new.db"), Unavailable, "cannot be opened")
    path.parent.chmod(0o755)


async def test_a_directory_that_is_missing_is_named(tmp_path):
    await refused(tmp_path / "missing" / "rota.db", Unavailable, "directory exists")


async def test_a_directory_is_no_file(tmp_path):
    await refused(tmp_path, Unavailable, "cannot be opened")


async def test_garbage_is_incompatible(path):
    path.write_bytes(bytes(range(256)) * 64)
    await refused(path, Incompatible, "no SQLite database")


async def test_a_damaged_file_is_incompatible(path):
    async with opened(path) as store:
        await put(store, *(make_run(number) for number in range(500)))
    data = path.read_bytes()
    path.write_bytes(data[:8_192] + bytes(range(256)) * ((len(data) - 8_192) // 256))
    with pytest.raises(Incompatible, match="damaged"):
        async with opened(path) as store:
            await store.find(Run)


async def test_the_database_of_another_program_is_left_alone(path):
    other = raw(path)
    other.execute("CREATE TABLE theirs (a)")
    await refused(path, Incompatible, "not one of Rota")
    assert other.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    other.close()
    assert list(schema(path)) == ["theirs"]


async def test_a_newer_schema_is_incompatible(path):
    async with opened(path):
        pass
    other = raw(path)
    other.execute("UPDATE rota_revision SET version_num = '9999'")
    await refused(path, Incompatible, "newer version", "9999")
    other.close()


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_is_deleted_or_replaced_in_use_is_missed(path, replaced, monkeypatch):
    async with opened(path) as store:
        await put(store, make_run(1))
        monkeypatch.chdir("/")
        aside = path.rename(path.with_name("aside.db"))
        if replaced:
            path.write_bytes(aside.read_bytes())
        for _ in range(2):
            with pytest.raises(Incompatible, match="was deleted or replaced while in use"):
                await put(store, make_run(2))
            with pytest.raises(Incompatible, match=f"{path}.*put the file back"):
                await store.find(Run)
        await refused(path, Incompatible, "was deleted or replaced while in use")
        assert path.exists() == replaced, "no new file is made in its place"
        aside.rename(path)
        assert len((await store.find(Run)).items) == 1
    async with opened(path) as store:
        await put(store, make_run(2))


async def test_a_file_that_is_replaced_after_its_use_is_another_one(path):
    async with opened(path) as before, opened(path.with_name("other.db")):
        await put(before, make_run(1))
    path.unlink()
    async with opened(path.with_name("other.db")), opened(path) as store:
        assert await store.count(Run, "state") == {}
    del before


async def test_an_empty_file_is_a_fresh_database(path):
    path.touch()
    async with opened(path) as store:
        await put(store, make_run(1))


async def test_a_commit_without_an_answer_is_unclear(path, monkeypatch):
    from tests.unit.stores.test_faults import error

    def lost(_):
        raise error(10)

    async with opened(path) as store:
        with monkeypatch.context() as patch:
            patch.setattr("rota.stores.sql.link._commit", lost)
            with pytest.raises(Unclear, match="may or may not count"):
                await put(store, make_run(1))
        assert [type(one).__name__ for one in await put(store, make_run(1))] in (["Applied"], ["Already"])


async def test_a_store_that_is_not_open_says_so(path):
    async with opened(path) as store:
        pass
    with pytest.raises(Unavailable, match="not open"):
        await store.get(Run, ["a"])


async def test_a_store_can_be_opened_again(path):
    async with opened(path) as store:
        await put(store, make_run(1))
    await store.open()
    assert (await store.get(Run, [make_run(1).id]))[0]
    await store.close()


async def test_readers_do_not_wait_for_a_write(path):
    async with opened(path) as store:
        await put(store, make_run(1))
        begun, go_on = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def slow(db):
            loop.call_soon_threadsafe(begun.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()

        writing = asyncio.create_task(base(store).writer.do(slow))
        await begun.wait()
        assert (await store.get(Run, [make_run(1).id]))[0]
        go_on.set()
        await writing


async def test_an_old_sqlite_is_refused_with_the_version_that_is_wanted(path, monkeypatch):
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 39, 5))
    with pytest.raises(Incompatible, match=r"3\.40\.0"):
        async with opened(path):
            pass
