"""A private RabbitMQ server: on free ports, in a temporary folder, for as long as it is needed."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from tests.services.postgresql import Missing, free_port, installed
from tests.services.process import Owned

PACKAGE = "rabbitmq-server"
EVERY_QUEUE = (
    'lists:foreach(fun(Q) -> rabbit_amqqueue:delete(Q, false, false, <<"test">>) end, rabbit_amqqueue:list()).'
)


def program() -> Path | None:
    found = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    return found if found.exists() else None


def unprivileged() -> dict[str, Any]:
    """Who runs it: not root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("rabbitmq")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


class RabbitServer(Owned):
    """One server. `stop` and `start` again keep its durable queues; `remove` deletes its folder."""

    def __init__(self, settings: Sequence[str] = ()) -> None:
        self.path = installed(program, PACKAGE)
        self.folder = Path(tempfile.mkdtemp(prefix="rota-rabbitmq-"))
        self.port, self.names_port = free_port(), free_port()
        self.settings = settings
        self.names: subprocess.Popen[bytes] | None = None
        """Its own name server (epmd): it would begin one that nobody ends."""
        (self.folder / "plugins").write_text("[].")
        self.folder.chmod(0o777)

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(self.names_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # Its script becomes the server, so that the process is known by its number.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_NODENAME": f"rota{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "environment"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_LOGS": "-",
            # By the folder in its command line `make services` knows it again.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-rota {self.folder}",
        }

    def start(self) -> int:
        """Start it and wait until it answers; its process."""
        (self.folder / "rabbitmq.conf").write_text("\n".join(("log.console.level = warning", *self.settings, "")))
        self.names = self.names or self._popen(["epmd", "-address", "127.0.0.1", "-port", str(self.names_port)])
        self.process = self._popen([str(self.path)])
        end = time.monotonic() + 60
        while not self._answers():
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.05)
            if self.process.poll() is not None or time.monotonic() > end:
                raise Missing((self.folder / "log").read_text()[-2_000:])
        return self.process.pid

    def wipe(self) -> None:
        """Delete all that it holds."""
        self.control("eval", EVERY_QUEUE)

    def control(self, *words: str) -> str:
        """What `rabbitmqctl` prints."""
        command = [str(self.path.with_name("rabbitmqctl")), "--quiet", *words]
        given: dict[str, Any] = {"cwd": "/", "env": self.environment, "capture_output": True, **unprivileged()}
        return str(subprocess.run(command, check=True, text=True, **given).stdout)

    def remove(self) -> None:
        self.stop(signal.SIGKILL)
        if self.names:
            self.names.kill()
            self.names.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _popen(self, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        with open(self.folder / "log", "ab") as log:
            return subprocess.Popen(
                command,
                cwd="/",
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **unprivileged(),
            )

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"AMQP\0\0\x09\x01")
                return bool(connection.recv(1))
        except OSError:
            return False


class Corners:
    """Empty places on one server, each a prefix of its own; their queues go when nobody uses them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.numbers = count()

    def make(self) -> str:
        """URL of an empty place."""
        return f"{self.url}?prefix=test-{os.getpid()}-{next(self.numbers)}"
