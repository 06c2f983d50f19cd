import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from rota.executors import folders
from rota.executors.commands import ShellExecutor
from rota.executors.folders import PREFIX, held_folder, sweep
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


def bury(folder, levels):
    """Make a file this deep in a folder, below what its owner may not enter."""
    place = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("below", dir_fd=place)
        above, place = place, os.open("below", os.O_RDONLY, dir_fd=place)
        os.close(above)
    os.close(os.open("file", os.O_CREAT, dir_fd=place))
    os.fchmod(place, 0)
    os.close(place)


@contextmanager
def as_nobody():
    """Root may enter everything."""
    user = os.geteuid()
    os.seteuid(user or 65_534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("levels", [1, 1_100])
def test_no_depth_and_no_mode_keeps_a_folder(levels, monkeypatch):
    with as_nobody(), tempfile.TemporaryDirectory(dir="/tmp") as base:
        place = Path(base)
        (place / "other").mkdir()
        (place / "other" / "file").touch()
        monkeypatch.setattr(tempfile, "tempdir", base)
        with held_folder() as folder:
            bury(folder, levels)
            os.symlink(place / "other", os.path.join(folder, "link"))
        assert os.listdir(place) == ["other"]
        bury(old := left_behind(place), levels)
        os.utime(old, (0, 0))
        sweep()
        assert os.listdir(place) == ["other"]
        assert os.listdir(place / "other") == ["file"]


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
