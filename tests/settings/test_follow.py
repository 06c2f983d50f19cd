import asyncio
import logging
from pathlib import Path

import pytest

from rota.settings.follow import LIVE, Follower, following
from rota.settings.load import load
from rota.settings.tree import Settings

ONE = "[worker]\nmax_concurrent_tasks = 1\n"
TWO = "[worker]\nmax_concurrent_tasks = 2\n"


class Taker:
    """Remembers what it was given to take over."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, frozenset[str]]] = []
        self.told = asyncio.Event()

    async def __call__(self, settings: Settings, changed: frozenset[str]) -> None:
        self.taken.append((settings.worker.max_concurrent_tasks, changed))
        self.last = settings
        self.told.set()


def replace(path: Path, text: str) -> None:
    fresh = path.with_name("fresh")
    fresh.write_text(text)
    fresh.replace(path)


def test_what_can_change_alive_exists():
    assert set(LIVE) <= set(Settings().flat())


async def test_a_change_is_taken_over_as_far_as_it_can_be(write, caplog):
    taker = Taker()
    follower = Follower(load(write(ONE)), taker)
    await follower.look()
    assert (taker.taken, caplog.text) == ([], "")
    write(TWO + "[api]\nhost = '0.0.0.0'\n[redis]\npassword = 'canary'")
    await follower.look()
    assert taker.taken == [(2, frozenset({"worker.max_concurrent_tasks"}))]
    assert taker.last.api.guard_options().loopback, "what waits for a restart is not in effect"
    assert caplog.messages == [
        "worker.max_concurrent_tasks is now 2",
        "changed, but in effect only after a restart: api.host, redis.password",
    ]
    caplog.clear()
    write(ONE)
    await follower.look()
    assert caplog.messages == ["worker.max_concurrent_tasks is now 1"]


@pytest.mark.parametrize("broken", ["[worker", "[worker]\nmax_concurrent_tasks = 0", "[worker]\nslots = 3", None])
async def test_a_broken_file_changes_nothing_and_says_so(write, folder, caplog, broken):
    taker = Taker()
    follower = Follower(load(write(ONE)), taker)
    if broken is None:
        (folder / "rota.toml").unlink()
    else:
        write(broken)
    await follower.look()
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.message.startswith("the settings stay as they were: ")
    assert "rota.toml" in record.message
    write(TWO)
    await follower.look()
    assert [slots for slots, _ in taker.taken] == [2]


async def test_what_cannot_be_taken_over_is_tried_again_at_the_next_change(write, caplog):
    taken = []

    async def refusing(settings: Settings, _: frozenset[str]) -> None:
        taken.append(settings.worker.max_concurrent_tasks)
        raise RuntimeError("not now")

    follower = Follower(load(write(ONE)), refusing)
    write(TWO)
    await follower.look()
    await follower.look()
    assert taken == [2, 2]
    assert "RuntimeError: not now" in caplog.text


@pytest.mark.parametrize("way", ["replaced", "written over", "a link that is turned", "a link behind a link"])
async def test_a_file_is_followed_however_it_changes(write, folder, way):
    path, kept = write(ONE), folder / "far" if way == "a link behind a link" else folder
    if "link" in way:
        for name, text in (("..1", ONE), ("..2", TWO)):
            (kept / name).mkdir(parents=True)
            (kept / name / "rota.toml").write_text(text)
        (kept / "..data").symlink_to("..1")
        path.unlink()
        path.symlink_to(kept / "..data" / "rota.toml")
    taker = Taker()
    async with following(load(path), taker), asyncio.timeout(30):
        for slots, text in (2, TWO), (1, ONE), (2, TWO):
            taker.told.clear()
            if way == "replaced":
                replace(path, text)
            elif way == "written over":
                write(text)
            else:
                (kept / "..fresh").symlink_to(f"..{slots}")
                (kept / "..fresh").rename(kept / "..data")
            await taker.told.wait()
    assert taker.taken == [(slots, frozenset({"worker.max_concurrent_tasks"})) for slots in (2, 1, 2)]


async def test_without_a_file_there_is_nothing_to_follow():
    async with following(load(), Taker()):
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "settings"]
