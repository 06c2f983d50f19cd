"""A program in a session and process group of its own. When its leader ends, nothing of the group is left behind.

A member that starts a session of its own (`setsid`) leaves the group on purpose and lives on. It, or any grandchild,
may hold a pipe open for ever; so the end of an attempt is the end of the leader, never an end of file.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from subprocess import DEVNULL, PIPE, Popen
from typing import IO

from rota.executors.threads import Threads
from rota.ports.executor import Context

LINE_LIMIT = 16_384
"""Bytes of a line; the rest of it is cut."""
KEEP_LIMIT = 4 << 20
"""Bytes of one stream of one attempt that are told; a flood beyond is read, counted and dropped."""
LINE_COST = 32
"""What a line counts beyond its length, so that a flood of short lines ends as well."""
TAIL_LIMIT = 2_000
CHUNK = 65_536
LAST_READS = 16
"""Reads of what is left once the program has ended; a pipe holds one chunk, the rest would be a grandchild's flood."""
GROUP_POLL = 0.005
"""Seconds between two looks at a group whose leader has ended and whose other members are about to."""
LEADER_POLL = 0.05
"""Seconds between two looks at a leader, where nothing tells of its end."""
KILL_POLLS = 200
"""Looks after SIGKILL; a member that is left then hangs in the kernel and runs no code any more."""

WATCHERS = Threads[None]()
os.register_at_fork(after_in_child=WATCHERS.forget)


class Lines:
    """Cuts bytes into lines and tells each. `tail` is the end of it all, whatever was dropped."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._begin()

    def _begin(self) -> None:
        self._rest = self._tail = b""
        self._cut = self._dropped = 0
        self._room = KEEP_LIMIT

    @property
    def tail(self) -> str:
        """The last words, for an error's text."""
        return _text(self._tail).strip()

    def feed(self, data: bytes) -> None:
        """Take in the next bytes."""
        self._tail = (self._tail + data[-TAIL_LIMIT:])[-TAIL_LIMIT:]
        if self._room <= 0:
            self._dropped += len(data)
            return
        *whole, rest = (self._rest + data).split(b"\n")
        for line in whole:
            self._line(line)
        # What exceeds an unfinished line is only counted: the next bytes are appended to a line that is full already.
        self._rest = rest[:LINE_LIMIT]
        self._cut += len(rest) - len(self._rest)

    def end(self) -> None:
        """Tell the unfinished line, and how much was dropped; then begin anew."""
        if self._rest:
            self._line(self._rest)
        if self._dropped:
            self._tell(f"… {self._dropped:,} more bytes of output were dropped")
        self._begin()

    def _line(self, line: bytes) -> None:
        over = self._cut + max(0, len(line) - LINE_LIMIT)
        self._cut = 0
        self._room -= len(line) + LINE_COST
        text = _text(line[:LINE_LIMIT]).rstrip("\r")
        self._tell(f"{text} … ({over:,} bytes cut)" if over else text)


class Program:
    """A running program. To be started on a running loop; raises `OSError` or `ValueError` where it cannot start.

    Its output becomes lines of the context that is attached, read without blocking.
    """

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str] | None = None, cwd: str | None = None, stdin: int = DEVNULL
    ) -> None:
        """`env` is the whole environment, None: that of this process; `stdin` a descriptor."""
        self._process = Popen(argv, stdin=stdin, stdout=PIPE, stderr=PIPE, cwd=cwd, env=env, start_new_session=True)
        self._loop = asyncio.get_running_loop()
        self._buried = False
        self._code: int | None = None
        try:
            self._exited = asyncio.wrap_future(WATCHERS.start(partial(_await_exit, self._process.pid)))
        except RuntimeError:  # there are too many threads; what nobody watches is not to run
            with self._process:
                self._signal(signal.SIGKILL)
            raise
        self._context: Context | None = None
        self._pipes: dict[IO[bytes], Lines] = {}
        for name, pipe in (("stdout", self._process.stdout), ("stderr", self._process.stderr)):
            if pipe is not None:
                self._pipes[pipe] = Lines(partial(self._tell, name))
                os.set_blocking(pipe.fileno(), False)
                self._loop.add_reader(pipe.fileno(), self._read, pipe)

    @property
    def running(self) -> bool:
        """Whether its leader still runs."""
        return not self._exited.done()

    def attach(self, context: Context) -> None:
        """From now on the output belongs to this attempt."""
        self._context = context

    def detach(self) -> str:
        """All that was written until now is told; what comes later belongs to nobody. The last words, errors first."""
        for pipe in self._pipes:
            all(self._read(pipe) for _ in range(LAST_READS))
        last = next((lines.tail for lines in reversed(self._pipes.values()) if lines.tail), "")
        for lines in self._pipes.values():
            lines.end()
        self._context = None
        return last

    def close(self) -> None:
        """Let go of the pipes; harmless twice."""
        for pipe in self._pipes:
            self._close(pipe)

    async def ended(self) -> int | None:
        """Wait for the leader, end what it left in its group; its exit code (negative: a signal; None: unknown)."""
        await asyncio.wait([self._exited])
        for _ in range(KILL_POLLS):
            self._signal(signal.SIGKILL)
            if not self._members():
                break
            await asyncio.sleep(GROUP_POLL)
        if not self._buried:
            self._bury()
        return self._code

    async def stop(self, grace_ms: int) -> None:
        """Ask the whole group to end, by force after the grace. A cancel meanwhile ends the grace at once."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_ms / 1000):
                await asyncio.wait([self._exited])
                while self._members():  # noqa: ASYNC110 - nothing tells when a group not ours to wait for is empty
                    await asyncio.sleep(GROUP_POLL)
        except TimeoutError:
            pass
        finally:
            await self.kill()

    async def kill(self) -> int | None:
        """End the whole group by force; nothing of it runs when this returns, cancelled or not."""
        self._signal(signal.SIGKILL)
        ended = asyncio.ensure_future(self.ended())
        while not ended.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([ended])
        return ended.result()

    def _bury(self) -> None:
        self._buried = True
        with suppress(ChildProcessError):  # somebody else has taken it
            _, status = os.waitpid(self._process.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status)
        with suppress(ChildProcessError):  # as the first process of a container we have inherited its children
            while os.waitpid(-self._process.pid, os.WNOHANG)[0]:
                pass
        self._process.wait()  # its own word for an exit code that it was not told is 0

    def _signal(self, number: signal.Signals) -> None:
        if not self._buried:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _members(self) -> bool:
        """Whether anyone is alive in the group. Its number cannot be reused until the leader is reaped."""
        import psutil

        return not self._buried and any(_lives(pid, self._process.pid) for pid in psutil.pids())

    def _read(self, pipe: IO[bytes]) -> bool:
        """Whether something was there."""
        with suppress(BlockingIOError):
            if not pipe.closed and (data := os.read(pipe.fileno(), CHUNK)):
                self._pipes[pipe].feed(data)
                return True
            self._close(pipe)
        return False

    def _close(self, pipe: IO[bytes]) -> None:
        if not pipe.closed:
            self._loop.remove_reader(pipe.fileno())
            pipe.close()

    def _tell(self, stream: str, text: str) -> None:
        if self._context is not None:
            self._context.line(stream, "info", text)


def _await_exit(pid: int) -> None:
    """Wait for the end of a child, or until somebody else has reaped it. Here it is not, so its number stays taken."""
    if hasattr(os, "waitid"):
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    else:  # on macOS before Python 3.13
        while _lives(pid, pid):
            time.sleep(LEADER_POLL)


def _lives(pid: int, group: int) -> bool:
    import psutil

    try:
        return os.getpgid(pid) == group and bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").replace("\0", "\ufffd")
