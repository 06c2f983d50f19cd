import os
import tempfile

import pytest

from rota.executors import folders
from rota.executors.folders import PREFIX, held_folder, sweep
from rota.executors.shell import ShellExecutor
from tests.unit.executors.support import assigned, outcome


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def left_behind(place):
    """As after a worker that was killed a while ago."""
    folder = place / f"{PREFIX}old"
    folder.mkdir()
    (folder / "result").touch()
    os.utime(folder, (0, 0))
    return folder


async def test_nothing_is_left_of_an_attempt(place):
    executor = ShellExecutor()
    _, notes = await outcome(executor, assigned('dirname "$ROTA_RESULT"'))
    assert notes.texts("stdout")[0].startswith(str(place / PREFIX))
    assert list(place.iterdir()) == []
    left_behind(place)
    await executor.close()
    assert list(place.iterdir()) == []


def test_what_a_killed_worker_left_is_removed_by_the_next_one(place):
    left_behind(place)
    ShellExecutor()
    assert list(place.iterdir()) == []


def test_what_somebody_holds_or_has_just_made_or_a_link_stays(place, monkeypatch):
    (place / f"{PREFIX}young").mkdir()
    other = place / "other"
    other.mkdir()
    (place / f"{PREFIX}link").symlink_to(other)
    with held_folder() as held:
        os.utime(held, (0, 0))
        sweep()
        assert len(list(place.iterdir())) == 4
    monkeypatch.setattr(os, "geteuid", lambda: -1)
    left_behind(place)
    sweep()
    assert len(list(place.iterdir())) == 4


def test_a_folder_that_was_never_held_is_removed_in_time(place, monkeypatch):
    (place / f"{PREFIX}young").mkdir()
    monkeypatch.setattr(folders, "YOUNG_S", -1)
    sweep()
    assert list(place.iterdir()) == []
