"""A private Redis server: on a free port, in a temporary folder, for as long as it is needed."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from redis import Redis

from tests.services.postgresql import Missing, free_port, installed
from tests.services.process import Owned

PACKAGE = "redis-server"
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
PASSING = ("--appendonly", "no")


def program() -> Path | None:
    found = shutil.which("redis-server")
    return Path(found) if found else None


class RedisServer(Owned):
    """One server. `stop` and `start` again keep its data if the settings do; `remove` deletes its folder."""

    def __init__(self, settings: Sequence[str] = PASSING) -> None:
        self.path = installed(program, PACKAGE)
        self.folder = Path(tempfile.mkdtemp(prefix="rota-redis-"))
        self.port = free_port()
        self.settings = settings
        self.file = ""
        """Of settings that the server writes itself, as a Sentinel does."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> int:
        """Start it and wait until it answers; its process."""
        # By the folder in its command line `make services` knows it again.
        given = [
            "--set-proc-title",
            "no",
            "--port",
            self.port,
            "--bind",
            "127.0.0.1",
            "--dir",
            self.folder,
            "--save",
            "",
            *self.settings,
        ]
        with open(self.folder / "log", "ab") as log:
            command = [str(self.path), *filter(None, [self.file]), *(str(one) for one in given)]
            self.process = subprocess.Popen(command, cwd="/", stdout=log, stderr=log, start_new_session=True)
        end = time.monotonic() + 30
        ask = ["redis-cli", "-p", str(self.port), "ping"]
        while not subprocess.run(ask, check=False, capture_output=True).stdout.startswith((b"PONG", b"NOAUTH")):
            if self.process.poll() is not None or time.monotonic() > end:
                raise Missing((self.folder / "log").read_text()[-2_000:])
        return self.process.pid

    def wipe(self) -> None:
        """Delete all that it holds."""
        with Redis.from_url(self.url) as client:
            client.flushall()

    def remove(self) -> None:
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


class Spaces:
    """Empty places on one server, each a prefix of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.numbers = count()

    def make(self) -> str:
        """URL of an empty place."""
        return f"{self.url}?prefix=test-{os.getpid()}-{next(self.numbers)}"

    def take_back(self, url: str) -> None:
        """Delete all that lies there."""
        with Redis.from_url(self.url) as client:
            for some in iter_keys(client, url.rpartition("=")[2]):
                client.unlink(*some)


def iter_keys(client: "Redis", prefix: str) -> list[list[bytes]]:
    """All keys of a prefix, in lists that are short enough for one command."""
    keys: list[bytes] = list(client.scan_iter(match=f"{{{prefix}}}:*", count=5_000))
    return [keys[start : start + 5_000] for start in range(0, len(keys), 5_000)]
