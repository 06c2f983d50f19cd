"""A private PostgreSQL server: on a free port, in a temporary folder, for as long as it is needed."""

import asyncio
import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from random import SystemRandom
from typing import Any

import asyncpg

from rota.stores import migrate
from rota.stores.sql import tables

BINARIES = Path("/usr/lib/postgresql")
PACKAGE = "postgresql-15"
PASSWORD = "rota"
TEMPLATE = f"rota_{os.getpid()}_template"
_CHANCE = SystemRandom()


class Missing(Exception):
    """The server is not installed here, and cannot be."""


def installed(look: Callable[[], Path | None], package: str) -> Path:
    """What is looked for; where there is none its package is installed, if that is allowed. Raises `Missing`."""
    if found := look():
        return found
    # One after the other: two processes of tests may want something at once, and the package manager has one lock.
    with open(Path(tempfile.gettempdir()) / "rota-install.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not look() and os.geteuid() == 0 and shutil.which("apt-get"):
            environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            for arguments in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", package]):
                subprocess.run(["apt-get", *arguments], check=False, env=environment, capture_output=True)
    if found := look():
        return found
    raise Missing(f"{package} is not installed; install it, or name a server of yours: docs/contributing.md")


def newest() -> Path | None:
    """The folder of the newest server's programs."""
    found = sorted(BINARIES.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def unprivileged() -> dict[str, Any]:
    """How to start what refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def free_port() -> int:
    """A port on which nobody listens, below those that systems hand out: it stays free while nobody listens there."""
    while True:
        port = _CHANCE.randrange(10_000, 32_768)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


class Server:
    """One server. `stop` and `start` again keep its data; `remove` ends it and deletes its folder.

    With `primary`, one that runs, it is its replica.
    """

    def __init__(self, settings: Sequence[str] = ("fsync=off",), primary: "Server | None" = None) -> None:
        self.binaries = installed(newest, PACKAGE)
        self.folder = Path(tempfile.mkdtemp(prefix="rota-postgresql-"))
        self.port = free_port()
        self.settings = settings
        self.process: subprocess.Popen[bytes] | None = None
        # The server refuses to run as root.
        self.user = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        if os.geteuid() == 0:
            os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        if primary:
            stream = ["-R", "-X", "stream", "-c", "fast", "--no-sync", "-d", primary.url]
            self._popen([self.binaries / "pg_basebackup", *stream, "-D", self.folder / "data"]).wait()
            return
        made = ["--username=rota", "--auth=md5", f"--pwfile={secret}", "--encoding=UTF8", "--no-locale", "--no-sync"]
        self._popen([self.binaries / "initdb", *made, "-D", self.folder / "data"]).wait()

    @property
    def url(self) -> str:
        """URL of its first database."""
        return self.of("postgres")

    def of(self, database: str) -> str:
        return f"postgresql://rota:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def start(self) -> int:
        """Start it and wait until it answers; its process."""
        options = [f"port={self.port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}"]
        given = [part for one in (*options, "max_connections=200", *self.settings) for part in ("-c", one)]
        self.process = self._popen([self.binaries / "postgres", "-D", self.folder / "data", *given])
        ask = [str(self.binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        end = time.monotonic() + 60
        while subprocess.run(ask, check=False).returncode:
            if self.process.poll() is not None or time.monotonic() > end:
                raise Missing((self.folder / "log").read_text()[-2_000:])
        return self.process.pid

    def signal(self, number: int) -> None:
        """Send it a signal; SIGINT ends it at once and in order, SIGQUIT as a crash would."""
        if self.process:
            self.process.send_signal(number)

    def stop(self) -> None:
        if self.process:
            self.signal(signal.SIGINT)
            self.process.wait(60)
            self.process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _popen(self, command: Sequence[object]) -> "subprocess.Popen[bytes]":
        with open(self.folder / "log", "ab") as log:
            return subprocess.Popen(
                [str(part) for part in command],
                cwd="/",
                stdout=log,
                stderr=log,
                start_new_session=True,
                **unprivileged(),
            )


class Databases:
    """Databases with Rota's tables on one server, each made by copying a template, and used again when empty."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.names: list[str] = []
        self.free: list[str] = []
        asyncio.run(self._make_template())

    def named(self, name: str) -> str:
        """The URL with another database."""
        return self.url.rpartition("/")[0] + "/" + name

    async def make(self) -> str:
        """URL of a database with empty tables."""
        if self.free:
            return self.free.pop()
        name = f"rota_{os.getpid()}_{len(self.names)}"
        await do(self.url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY file_copy")
        self.names.append(name)
        return self.named(name)

    async def take_back(self, url: str) -> None:
        """Empty a database for who comes next."""
        await do(url, "; ".join(f"DELETE FROM {table}" for table in tables.metadata.tables))
        self.free.append(url)

    def close(self) -> None:
        """Drop them all."""
        for name in (*self.names, TEMPLATE):
            asyncio.run(do(self.url, f"DROP DATABASE {name} WITH (FORCE)"))

    async def _make_template(self) -> None:
        await do(self.url, f"DROP DATABASE IF EXISTS {TEMPLATE}")
        await do(self.url, f"CREATE DATABASE {TEMPLATE} TEMPLATE template0 ENCODING 'UTF8'")
        await migrate(self.named(TEMPLATE))


async def do(url: str, *statements: str) -> None:
    """Statements of another program."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
