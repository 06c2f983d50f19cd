"""Where a campaign's store lives, and how the store itself is struck."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path

from tests.chaos.nemesis import EVERYWHERE, SERVER
from tests.services.etcd import EtcdServer
from tests.services.postgresql import Server
from tests.services.rabbitmq import RabbitServer
from tests.services.redis import DURABLE, RedisServer

DISK_MB = 64
OF_THE_STORE = ("worker stops before a write", "worker dies after a write")
"""What does not befall workers that know no store."""


class Home:
    """A place; `kinds`: the faults that there are in it."""

    def __init__(self, url: str, kinds: tuple[str, ...] = EVERYWHERE) -> None:
        self.url = url
        self.kinds = kinds
        self.broker: RedisServer | RabbitServer | None = None
        """What workers are behind, if anything."""

    def crash(self) -> None:
        """Take the store away from everybody."""

    def begin(self) -> None:
        """Give it back; harmless when it is there."""

    def silence(self) -> None:
        """Take the broker away."""
        if self.broker:
            self.broker.stop(signal.SIGKILL)

    def speak(self) -> None:
        """Give it back, empty."""
        if self.broker and not self.broker.process:
            self.broker.start()


class Served(Home):
    """A server of its own, which can be killed; everybody reaches it through a proxy."""

    def __init__(self, server: Server | RedisServer | EtcdServer, deadly: signal.Signals) -> None:
        self.server = server
        self.server.start()
        self.deadly = deadly
        self.down = False
        super().__init__(self.server.url, EVERYWHERE + SERVER)

    def crash(self) -> None:
        if self.server.process:
            self.server.process.send_signal(self.deadly)
            try:
                self.server.process.wait(10)
            except subprocess.TimeoutExpired:  # it was about to start anew, and hears nothing
                self.server.process.kill()
                self.server.process.wait()
        self.down = True

    def begin(self) -> None:
        if self.down:
            self.server.start()
        self.down = False


class Disk(Home):
    """An SQLite file on a small disk of its own, which can be filled."""

    def __init__(self, folder: Path) -> None:
        self.filler = folder / "filler"
        super().__init__(f"sqlite:///{folder / 'rota.db'}", (*EVERYWHERE, "disk full"))

    def crash(self) -> None:
        with suppress(OSError), self.filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 65_536)
        with suppress(OSError), self.filler.open("ab", buffering=0) as file:
            while True:
                file.write(b"\0" * 512)

    def begin(self) -> None:
        self.filler.unlink(missing_ok=True)


@contextmanager
def sqlite(folder: Path) -> Iterator[Home]:
    """On a small disk where this user may mount one, else without the fault that it is full."""
    place = folder / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "rota-chaos", str(place)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, check=False, capture_output=True).returncode == 0
    try:
        yield Disk(place) if mounted else Home(f"sqlite:///{place / 'rota.db'}")
    finally:
        if mounted:
            subprocess.run(["umount", str(place)], check=True)


@contextmanager
def postgresql(_: Path) -> Iterator[Home]:
    """Raises `Missing` where there is no server to be had."""
    home = Served(Server(settings=()), signal.SIGQUIT)
    try:
        yield home
    finally:
        home.server.remove()


@contextmanager
def redis(_: Path) -> Iterator[Home]:
    """In the durable mode. Raises `Missing` where there is no server to be had."""
    home = Served(RedisServer(DURABLE), signal.SIGKILL)
    try:
        yield home
    finally:
        home.server.remove()


@contextmanager
def etcd(_: Path) -> Iterator[Home]:
    """A single member. Raises `Missing` where there is none to be had."""
    home = Served(EtcdServer(), signal.SIGKILL)
    try:
        yield home
    finally:
        home.server.remove()


@contextmanager
def behind(folder: Path, make: Callable[[], RedisServer | RabbitServer]) -> Iterator[Home]:
    """PostgreSQL, and workers that see nothing but a broker. Raises `Missing`."""
    with postgresql(folder) as home:
        home.kinds = tuple(kind for kind in (*home.kinds, "broker killed") if kind not in OF_THE_STORE)
        home.broker = make()
        home.broker.start()
        try:
            yield home
        finally:
            home.broker.remove()


HOMES: dict[str, Callable[[Path], AbstractContextManager[Home]]] = {
    "SQLite": sqlite,
    "PostgreSQL": postgresql,
    "Redis": redis,
    "etcd": etcd,
    "PostgreSQL, Redis Streams": partial(behind, make=RedisServer),
    "PostgreSQL, RabbitMQ": partial(behind, make=RabbitServer),
}
