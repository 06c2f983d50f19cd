import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from queue import SimpleQueue
from typing import Any

import pytest

from rota.ports.store import Hint
from rota.stores.hub import ANYTHING
from rota.stores.sql import hints
from rota.stores.sql.hints import LIMIT, Post, folder, is_private, understood, written
from rota.stores.sql.store import SqlStore
from rota.testing.factories import make_run
from tests.unit.stores.files import base, opened, put, url

COMMIT = """
import asyncio, sys
from rota.ports.store import Change, Group, Hint
from rota.stores import connect
from rota.testing.factories import make_run

async def main(url):
    store = connect(url)
    await store.open()
    for number, line in enumerate(sys.stdin, 1):
        group = Group((Change(None, make_run(number)),))
        await store.commit([group], hints=[Hint(topic) for topic in line.split()])
        print(number, flush=True)
    await store.close()

asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture
def path(tmp_path, monkeypatch):
    # Sockets have short paths, and pytest's directories long ones.
    with tempfile.TemporaryDirectory(prefix="rota-") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        monkeypatch.setenv("TMPDIR", short)
        yield tmp_path / "rota.db"


async def test_who_claims_is_told_before_the_commit_has_reached_the_disk(path):
    """So it can set out for the write lock meanwhile. The commit here does not begin until somebody has heard of it."""
    heard, early = threading.Event(), []

    def traced(statement):
        if statement == "COMMIT":
            early.append(heard.wait(5))

    async with opened(path) as store:
        writer: Any = base(store).writer
        await writer.run(lambda: writer._connected().connection.dbapi_connection.set_trace_callback(traced))
        ear = store.watch(["lane:*"])
        committing = asyncio.create_task(put(store, make_run(1), hints=(Hint("lane:a", 2), Hint("due"))))
        assert await ear.wait(30) == {"lane:a": 2}
        heard.set()
        await committing
    assert early == [True]


@pytest.fixture
def sender(path):
    """Another process that commits with the topics that it is told."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMIT, url(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    told, said = process.stdin, process.stdout
    assert told is not None
    assert said is not None

    def commit(topics):
        print(topics, file=told, flush=True)
        said.readline()

    yield commit
    told.close()
    process.wait(timeout=30)
    said.close()


def post(path, heard=None):
    return Post(str(path), heard.append if heard is not None else lambda _: None, lambda: None)


async def test_other_processes_are_heard(path, sender):
    async with opened(path) as store:
        ear = store.watch(["lane:*", "done"])
        await asyncio.to_thread(sender, "lane:a lane:a other")
        assert await ear.wait(10) == {"lane:a": 2}
        await asyncio.to_thread(sender, "done")
        assert (await ear.wait(10)).get("done")


async def test_without_sockets_other_processes_are_noticed(path, sender, monkeypatch):
    monkeypatch.setattr(hints.Post, "_bound", lambda self: None)
    async with opened(path) as store:
        ear = store.watch(["lane:*", "done"])
        await asyncio.to_thread(sender, "lane:a")
        assert await ear.wait(10) == {"lane:*": 1, "done": 1}


async def test_own_commits_are_heard_once_and_not_noticed_as_a_change_of_others(path, monkeypatch):
    monkeypatch.setattr(hints, "LOOK_S", 0.01)
    async with opened(path) as store:
        ear = store.watch(["lane:a", "done"])
        await put(store, make_run(1), hints=(Hint("lane:a", 3), Hint("lane:b")))
        assert await ear.wait(10) == {"lane:a": 3}
        assert await ear.wait(0.1) == {}


def test_a_message_of_another_shape_is_ignored():
    for data in (b"", b"{", b"\xff", b"[]", b'"a"', b'{"a":"b"}', b'{"a":-1}', b'{"a":0}', b'{"a":1.5}', b'{"a":null}'):
        assert understood(data) == {}
    assert understood(b'{"a":1,"b":99999999999}') == {"a": 1, "b": 1 << 31}


def test_a_long_message_becomes_a_short_one():
    assert understood(written({"a": 1})) == {"a": 1}
    long = written({f"topic-{number}": 1 for number in range(1_000)})
    assert len(long) <= LIMIT
    assert understood(long) == {ANYTHING: 1}


def test_the_directory_is_that_of_the_real_file(path, tmp_path):
    path.touch()
    (tmp_path / "link.db").symlink_to(path)
    assert folder(str(path)) == folder(str(tmp_path / "link.db")) != folder(str(tmp_path / "other.db"))


def test_only_a_directory_of_ones_own_is_trusted(path, tmp_path):
    mine, lax, link = tmp_path / "mine", tmp_path / "lax", tmp_path / "link"
    mine.mkdir(mode=0o700)
    lax.mkdir()
    lax.chmod(0o755)
    link.symlink_to(mine)
    (tmp_path / "file").touch(mode=0o600)
    assert is_private(mine)
    assert not any(map(is_private, (lax, link, tmp_path / "file")))
    if os.geteuid() == 0:
        os.chown(mine, 65_534, 65_534)
        assert not is_private(mine)


def test_nothing_is_sent_into_a_directory_that_others_may_enter(path):
    where = folder(str(path))
    where.mkdir(parents=True)
    where.chmod(0o777)
    inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    inbox.bind(str(where / "spy"))
    inbox.setblocking(False)
    mine = post(path)
    mine.send({"a": 1})
    with pytest.raises(BlockingIOError):
        inbox.recv(10)
    mine.listen()
    assert not [name for name in os.listdir(where) if name != "spy"]
    mine.close()
    inbox.close()


def test_sockets_of_the_dead_are_cleared_away_and_the_living_still_hear(path):
    heard: list[Any] = []
    one, other = post(path), post(path, heard)
    other.listen()
    where = folder(str(path))
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    dead.bind(str(where / "0-dead"))
    dead.close()
    one.send({"a": 1})
    assert not (where / "0-dead").exists()
    assert len(os.listdir(where)) == 1
    one.close()
    other.close()
    assert not where.exists()


def test_what_the_killed_left_of_any_database_goes_when_the_next_one_listens(path, tmp_path):
    meeting = folder(str(path)).parent
    for name in ("empty", "left", "alive"):
        (meeting / name).mkdir(parents=True)
    meeting.chmod(0o700)
    inboxes = {}
    for name in ("left", "alive"):
        inboxes[name] = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        inboxes[name].bind(str(meeting / name / "7-one"))
    inboxes["left"].close()
    hints.sweep(meeting / "gone with the last of the others")
    hints.sweep(meeting)
    assert [one.name for one in meeting.iterdir()] == ["alive"]
    (meeting / "empty").mkdir()
    one = post(path)
    one.listen()
    one.close()
    inboxes["alive"].close()
    assert "empty" not in os.listdir(meeting)


def test_nothing_is_left_by_the_last_one(path):
    one = post(path)
    one.listen()
    one.close()
    assert not folder(str(path)).parent.exists()


def test_what_a_sweep_was_quicker_with_keeps_nobody_from_the_rest(path, monkeypatch):
    monkeypatch.setattr(hints, "sweep", lambda meeting: None)  # its own would come at any moment
    one = post(path)
    one.listen()
    shutil.rmtree(folder(str(path)))
    one.close()
    assert not folder(str(path)).parent.exists()


def test_a_full_inbox_does_not_stop_the_sender(path):
    one = post(path)
    where = folder(str(path))
    where.mkdir(parents=True, mode=0o700)
    where.parent.chmod(0o700)
    deaf = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    deaf.bind(str(where / "deaf"))
    for _ in range(2_000):
        one.send({"a": 1})
    assert (where / "deaf").exists()
    one.close()
    deaf.close()


def test_who_still_sends_while_it_closes_leaves_no_socket_open(path):
    listener, late = (
        Post(str(path), lambda hints: None, lambda: None),
        Post(str(path), lambda hints: None, lambda: None),
    )
    listener.listen()
    late.close()
    late.send({"lane:main/default/python/": 1})
    assert late._outbox is not None
    assert late._outbox.fileno() == -1
    listener.close()


def test_closing_twice_and_without_listening_is_harmless(path):
    mine = post(path)
    mine.close()
    mine.close()
    mine.listen()
    mine.send({"a": 1})


def test_who_listens_to_sessions_alone_is_woken_for_nothing_else(path):
    where, mine = folder(str(path)), post(path)
    mine.listen(["session:1", "lead"])
    assert [name.endswith(hints.NARROW) for name in os.listdir(where)] == [True]
    inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    inbox.setblocking(False)
    inbox.bind(str(where / f"1-spy{hints.NARROW}"))
    mine.send({"lane:main/default/python/": 1, "done": 1})
    with pytest.raises(BlockingIOError):
        inbox.recv(10)
    mine.send({"lane:main/default/python/": 1, "session:1": 1})
    assert inbox.recv(100)
    inbox.close()
    mine.close()


def test_who_listens_to_more_later_hears_it(path):
    heard: SimpleQueue[Any] = SimpleQueue()
    mine, other = Post(str(path), heard.put, lambda: None), post(path)
    mine.listen(["session:1"])
    mine.listen(["lane:*"])
    assert [name.endswith(hints.NARROW) for name in os.listdir(folder(str(path)))] == [False]
    other.send({"lane:a": 1})
    assert heard.get(timeout=10) == {"lane:a": 1}
    mine.close()
    other.close()


async def test_who_reads_before_it_writes_is_told_once_there_is_something_to_read(tmp_path):
    """The hint of a lane may come before the commit; for who claims that is early enough, for the leader it is not."""
    store = SqlStore(f"sqlite:///{tmp_path / 'rota.db'}")
    await store.open()
    ready = store.watch(["ready"])
    await store.commit([], None, [Hint("lane:main/default/python/", 3)])
    assert await ready.wait(5) == {"ready": 3}
    await store.close()
