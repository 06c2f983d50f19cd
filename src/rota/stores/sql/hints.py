"""Hints between the processes of one machine that share a database file.

Each process that listens binds a datagram socket in a directory that only this user may enter; whoever commits sends
a small JSON text to each of the others. Everything here may fail, and then hints are late, no more: a slow look at the
file's change counter catches whatever was lost, and a quicker one stands in where there are no such sockets.
"""

import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from secrets import token_hex
from threading import Event, Lock, Thread

import msgspec

from rota.stores.hub import ANYTHING

LIMIT = 4_096
"""Bytes of a datagram; more than that becomes "anything may have happened"."""
OWN = ("session:", "lead")
"""Topics of beats and terms. Who listens to these alone says so by its name, and is not woken for anything else."""
NARROW = ".own"
LOOK_S = 1.0
"""Between looks at the change counter where sockets work."""
LOOK_ALONE_S = 0.25
"""And where they do not."""

_USER = os.geteuid()
_DECODE = msgspec.json.Decoder(dict[str, int]).decode


def folder(file: str) -> Path:
    """Where the listeners of a database meet: `rota-<user>/<hash of its path>` in the directory for temporary files."""
    digest = blake2b(os.path.realpath(file).encode(errors="surrogateescape"), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"rota-{_USER}" / digest


def is_private(path: Path) -> bool:
    """Whether a directory is this user's alone. Nobody else may have put it there, nor a link in its place."""
    found = path.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == _USER and not found.st_mode & 0o077


def sweep(meeting: Path) -> None:
    """Remove what processes that were killed have left, of whichever database."""
    with suppress(OSError):  # the last of the others may have removed it
        for one in list(meeting.iterdir()):
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
                for path in one.iterdir():
                    try:
                        probe.connect(str(path))
                    except ConnectionRefusedError:
                        path.unlink()
                one.rmdir()  # fails while others listen


def written(hints: Mapping[str, int]) -> bytes:
    """The datagram for hints."""
    data = msgspec.json.encode(hints)
    return data if len(data) <= LIMIT else msgspec.json.encode({ANYTHING: 1})


def understood(data: bytes) -> dict[str, int]:
    """The hints of a datagram; none if it is not one of ours."""
    try:
        return {topic: min(number, 1 << 31) for topic, number in _DECODE(data).items() if number > 0}
    except (ValueError, OverflowError):
        return {}


class Post:
    """Sends this process's hints to the others, and once `listen` was called, tells it theirs.

    `look` is called in the listening thread now and then, to look at the change counter.
    """

    def __init__(self, file: str, tell: Callable[[Mapping[str, int]], None], look: Callable[[], None]) -> None:
        self._folder = folder(file)
        self._tell = tell
        self._look = look
        self._name = f"{os.getpid()}-{token_hex(4)}"
        self._inbox: socket.socket | None = None
        self._outbox: socket.socket | None = None
        self._making = Lock()
        self._thread: Thread | None = None
        self._closed = Event()

    def listen(self, topics: Iterable[str] = ("",)) -> None:
        """Begin to listen, to these topics too."""
        narrow = all(topic.startswith(OWN) for topic in topics)
        if self._thread is not None:
            if not narrow and self._name.endswith(NARROW):
                self._widen()
        elif not self._closed.is_set():
            self._name += NARROW if narrow else ""
            self._inbox = self._bound()
            self._thread = Thread(target=self._attend, name="rota-hints", daemon=True)
            self._thread.start()

    def send(self, hints: Mapping[str, int]) -> None:
        """Tell the other processes. Never waits; from any thread."""
        with suppress(OSError):
            names = os.listdir(self._folder)
            if not any(topic.startswith(OWN) for topic in hints):
                names = [name for name in names if not name.endswith(NARROW)]
            if names and not (self._inbox and names == [self._name]) and is_private(self._folder):
                self._send(written(hints), names)

    def close(self) -> None:
        """Stop listening; harmless twice."""
        self._closed.set()
        with suppress(OSError):
            self._sender().sendto(b"", str(self._folder / self._name))  # ends the wait of the listening thread
        # Each by itself: a sweep may have been here first.
        for remove in ((self._folder / self._name).unlink, self._folder.rmdir, self._folder.parent.rmdir):
            with suppress(OSError):  # the folders stay while others listen
                remove()
        if self._thread is not None:
            self._thread.join(timeout=2 * LOOK_S)
            self._thread = None
        for one in (self._inbox, self._outbox):
            if one is not None:
                one.close()
        self._inbox = None  # the outbox stays, closed, so that who sends still makes no other

    def _widen(self) -> None:
        wide = self._name.removesuffix(NARROW)
        with suppress(OSError):  # there may be no socket; then it looks by itself
            (self._folder / self._name).rename(self._folder / wide)
        self._name = wide

    def _bound(self) -> socket.socket | None:
        # The last of the others may remove the directory while this process enters it.
        return self._entered() or self._entered()

    def _entered(self) -> socket.socket | None:
        try:
            for path in (self._folder.parent, self._folder):
                path.mkdir(mode=0o700, exist_ok=True)
                if not is_private(path):
                    return None
        except OSError:
            return None
        inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        inbox.settimeout(LOOK_S)
        try:
            inbox.bind(str(self._folder / self._name))
        except OSError:
            inbox.close()
            return None
        return inbox

    def _attend(self) -> None:
        inbox = self._inbox
        if inbox is not None:
            sweep(self._folder.parent)
        while not self._closed.is_set():
            data = self._received(inbox)
            if self._closed.is_set():
                return
            if data is None:
                self._look()
            elif hints := understood(data):
                self._tell(hints)

    def _received(self, inbox: socket.socket | None) -> bytes | None:
        """The next datagram, or None when it is time for a look."""
        if inbox is None:
            self._closed.wait(LOOK_ALONE_S)
            return None
        try:
            return inbox.recv(LIMIT)
        except OSError:
            return None

    def _send(self, data: bytes, names: list[str]) -> None:
        sender = self._sender()
        for name in names:
            if name == self._name:
                continue
            path = self._folder / name
            # A full inbox has enough to wake up for; a refusal means that its process is gone.
            with suppress(OSError):
                try:
                    sender.sendto(data, str(path))
                except ConnectionRefusedError:
                    path.unlink()

    def _sender(self) -> socket.socket:
        with self._making:
            if self._outbox is None:
                self._outbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._outbox.setblocking(False)
            return self._outbox
