"""A private PgBouncer in transaction mode before a PostgreSQL server."""

import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from tests.services.postgresql import Missing, free_port, installed, unprivileged

PACKAGE = "pgbouncer"
SIZE = 3
"""Connections to the server, for each database, however many clients there are."""
SETTINGS = """
[databases]
* = host={host} port={port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 200
"""


def program() -> Path | None:
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    return Path(found) if found else None


class Pooler:
    """Stands before the server of a URL until `remove`."""

    def __init__(self, url: str) -> None:
        path = installed(program, PACKAGE)
        self.folder = Path(tempfile.mkdtemp(prefix="rota-pgbouncer-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        parts = urlsplit(url)
        settings = self.folder / "settings.ini"
        settings.write_text(
            SETTINGS.format(
                host=parts.hostname,
                port=parts.port or 5432,
                user=parts.username,
                password=parts.password,
                own=self.port,
                size=SIZE,
            )
        )
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [str(path), str(settings)], cwd="/", stdout=log, stderr=log, start_new_session=True, **unprivileged()
            )
        end = time.monotonic() + 30
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise Missing((self.folder / "log").read_text()[-2_000:])

    def before(self, url: str, options: str = "?pooler=transaction") -> str:
        """The URL by which a database is reached through it."""
        parts = urlsplit(url)
        return f"postgresql://{parts.username}:{parts.password}@127.0.0.1:{self.port}{parts.path}{options}"

    def remove(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
