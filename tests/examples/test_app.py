import sqlite3
from contextlib import closing

import pytest

from examples import app, cancel
from examples.backup import Backup, make_sample
from examples.fetch import Fetched, ShakyServer
from examples.heartbeat import Health
from examples.log_report import Report
from rota import RunFailed
from tests.examples.support import ended_run, output


def count(database) -> int:
    with closing(sqlite3.connect(database)) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM measurement").fetchone()
    return int(rows)


async def test_a_new_user_sees_life_at_once(place):
    # Begun here and not by a fixture: pytest takes the streams back between the two.
    async with app.app.running():
        run = await ended_run(app.app, "heartbeat")
        lines = await output(app.app, run.id)
    assert (run.state, run.cause, run.schedule) == ("success", "schedule", "heartbeat")
    assert run.nominal_at is not None
    assert run.nominal_at % 10_000 == 0
    assert "MB free" in lines[0].text


async def test_a_heartbeat_without_a_schedule_is_not_late(examples):
    health = await (await app.heartbeat.asubmit()).aresult(timeout=30)
    assert isinstance(health, Health)
    assert health.late_ms == 0
    assert health.disk_free_mb > 0


async def test_a_backup_holds_what_the_database_held(examples, place):
    database = place / "shop.db"
    make_sample(database, rows=5_000)
    handle = await app.backup.asubmit(database=database, folder=place / "kept")
    backup = await handle.aresult(timeout=30)
    assert isinstance(backup, Backup)
    assert backup.file.parent == place / "kept"
    assert backup.size == backup.file.stat().st_size
    assert count(backup.file) == 5_000
    assert [file.name for file in backup.file.parent.iterdir()] == [backup.file.name]


async def test_a_backup_needs_no_database_to_be_tried(examples, place):
    backup = await (await app.backup.asubmit()).aresult(timeout=30)
    assert backup.file.parts[:2] == ("data", "backups")
    assert count(place / backup.file) == 10_000


async def test_only_the_newest_backups_are_kept(examples, place):
    folder = place / "kept"
    folder.mkdir()
    for day in range(1, 5):
        (folder / f"sample-2020010{day}T000000Z.db").touch()
    backup = await (await app.backup.asubmit(folder=folder, keep=2)).aresult(timeout=30)
    assert backup.removed == 3
    assert {file.name for file in folder.iterdir()} == {"sample-20200104T000000Z.db", backup.file.name}


async def test_a_damaged_database_is_no_backup_and_is_not_tried_again(examples, place):
    database = place / "shop.db"
    make_sample(database)
    whole = bytearray(database.read_bytes())
    whole[8_192:40_960] = b"\x55" * 32_768
    database.write_bytes(whole)
    handle = await app.backup.asubmit(database=database, folder=place / "kept")
    with pytest.raises(RunFailed, match="the copy"):
        await handle.aresult(timeout=30)
    assert (await handle.arun()).tries == 1
    assert list((place / "kept").iterdir()) == []


async def test_logs_are_counted_by_level_and_the_unreadable_are_named(place):
    logs = place / "logs"
    (logs / "deeper").mkdir(parents=True)
    (logs / "one.log").write_text("INFO begun\nERROR broken\nWarn: hot\nno level here\n")
    (logs / "deeper" / "two.log").write_text("level=error\n" * 3)
    (logs / "other.txt").write_text("ERROR not a log\n")
    (logs / "folder.log").mkdir()
    async with app.app.running():
        handle = await app.log_report.asubmit(folder=logs)
        report = await handle.aresult(timeout=30)
        lines = [line.text for line in await output(app.app, handle.id)]
    assert isinstance(report, Report)
    assert (report.lines, report.levels) == (7, {"info": 1, "error": 4, "warning": 1})
    assert [problem.split(": ")[0] for problem in report.unreadable] == [str(logs / "folder.log")]
    assert "  error: 4" in lines
    assert any("not readable" in line for line in lines)


async def test_the_logs_of_this_machine_can_be_counted(examples):
    report = await (await app.log_report.asubmit()).aresult(timeout=50)
    assert report.files >= 0


async def test_a_fetch_outlives_the_bad_moments_of_a_server(examples):
    with ShakyServer(failures=2) as server:
        handle = await app.fetch.asubmit(f"{server.url}/news")
        fetched = await handle.aresult(timeout=30)
    assert isinstance(fetched, Fetched)
    assert fetched.failed_tries == 2
    assert fetched.document == {"path": "/news", "asked": 3}


async def test_a_fetch_of_what_does_not_exist_is_not_tried_again(examples):
    with ShakyServer() as server:
        handle = await app.fetch.asubmit(f"{server.url}/missing")
        with pytest.raises(RunFailed, match="answers 404"):
            await handle.aresult(timeout=30)
    assert server.asked["/missing"] == 1


async def test_a_fetch_without_an_address_brings_its_own_server(examples):
    fetched = await (await app.fetch.asubmit()).aresult(timeout=30)
    assert fetched.failed_tries == 2


async def test_primes_are_counted_in_another_process(examples):
    handle = await app.primes.asubmit(limit=100)
    assert await handle.aresult(timeout=30) == 25


async def test_a_computation_is_cancelled_half_way(place, capsys):
    assert await cancel.main(limit=2_000_000) == "cancelled"
    said = capsys.readouterr().out
    assert "'cancelling'" in said
    assert "ended as cancelled" in said
