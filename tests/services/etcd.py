"""Private etcd servers: members of a cluster, on free ports, each in a temporary folder, as long as they are needed."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import grpc

from rota.stores.etcd.client.coding import txn_message
from rota.stores.etcd.client.messages import TXN
from rota.stores.etcd.client.words import Delete, Txn
from tests.services.postgresql import Missing, free_port, installed
from tests.services.process import Owned

PACKAGE = "etcd-server"

HASTY = "--heartbeat-interval=50", "--election-timeout=500"
"""For members that are near one another."""


def program() -> Path | None:
    found = shutil.which("etcd")
    return Path(found) if found else None


class EtcdServer(Owned):
    """One member. `stop` and `start` again keep its data; `remove` deletes its folder.

    With `cluster`, addresses of the members by name, it is one of them; `settings` are further flags.
    """

    def __init__(self, settings: Sequence[str] = (), name: str = "a", cluster: dict[str, int] | None = None) -> None:
        self.path = installed(program, PACKAGE)
        self.folder = Path(tempfile.mkdtemp(prefix="rota-etcd-"))
        self.port = free_port()
        self.health = free_port()
        self.name = name
        self.cluster = cluster or {name: free_port()}
        self.settings = settings
        self.scheme = "https" if any(one.startswith("--cert-file") for one in settings) else "http"

    @property
    def url(self) -> str:
        return f"etcd{self.scheme[4:]}://127.0.0.1:{self.port}"

    def begin(self) -> None:
        """Start it, and do not wait: a member alone does not answer."""
        given = {
            "name": self.name,
            "data-dir": self.folder / "data",
            "listen-client-urls": f"{self.scheme}://127.0.0.1:{self.port}",
            "advertise-client-urls": f"{self.scheme}://127.0.0.1:{self.port}",
            "listen-metrics-urls": f"http://127.0.0.1:{self.health}",
            "listen-peer-urls": f"http://127.0.0.1:{self.cluster[self.name]}",
            "initial-advertise-peer-urls": f"http://127.0.0.1:{self.cluster[self.name]}",
            "initial-cluster": ",".join(f"{name}=http://127.0.0.1:{port}" for name, port in self.cluster.items()),
            "initial-cluster-token": "-".join(map(str, self.cluster.values())),
        }
        flags = [f"--{name}={value}" for name, value in given.items()]
        with open(self.folder / "log", "ab") as log:
            command = [str(self.path), *flags, *self.settings]
            self.process = subprocess.Popen(command, cwd="/", stdout=log, stderr=log, start_new_session=True)

    def start(self) -> int:
        """Start it and wait until it answers; its process."""
        if not self.process or self.process.poll() is not None:
            self.begin()
        end = time.monotonic() + 30
        while not self._answers():
            if not self.process or self.process.poll() is not None or time.monotonic() > end:
                raise Missing((self.folder / "log").read_text()[-2_000:])
        return self.process.pid if self.process else 0

    def freeze(self) -> None:
        """Let it stand still, all of it, until `thaw`."""
        super().freeze()
        if self.process:
            threads = [*Path(f"/proc/{self.process.pid}/task").glob("*/stat")]
            while any(" T " not in one.read_text() for one in threads):
                pass

    def remove(self) -> None:
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health}/health", timeout=1) as answer:
                return b'"true"' in answer.read()
        except OSError:
            return False


class EtcdCluster:
    """Three members, of which tests kill some."""

    def __init__(self, settings: Sequence[str] = ()) -> None:
        ports = {name: free_port() for name in "abc"}
        self.members = [EtcdServer((*HASTY, *settings), name, ports) for name in ports]
        for one in self.members:
            one.begin()
        try:
            for one in self.members:
                one.start()
        except Missing:
            self.remove()
            raise

    @property
    def url(self) -> str:
        scheme, _, _ = self.members[0].url.partition(":")
        return f"{scheme}://" + ",".join(f"127.0.0.1:{one.port}" for one in self.members)

    def remove(self) -> None:
        for one in self.members:
            one.remove()


class Prefixes:
    """Empty places on one server, each a prefix of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.numbers = count()

    def make(self) -> str:
        """URL of an empty place."""
        return f"{self.url.rstrip('/')}/test-{os.getpid()}-{next(self.numbers)}"

    def take_back(self, url: str) -> None:
        """Delete all that lies there."""
        parts = urlsplit(url)
        start = parts.path[1:].encode()
        with grpc.insecure_channel(parts.netloc) as channel:
            channel.unary_unary(*TXN)(txn_message(Txn((), (Delete(start + b"/", start + b"0"),))))
