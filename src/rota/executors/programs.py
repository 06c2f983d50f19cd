"""A program in a session and process group of its own. When its leader ends, nothing of the group is left behind.

A member that starts a session of its own (`setsid`) leaves the group on purpose and lives on.
"""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from subprocess import DEVNULL, PIPE, Popen
from typing import IO

from rota.executors.output import Output

GROUP_POLL = 0.005
"""Seconds between two looks at a group whose leader has ended and whose other members are about to."""
KILL_POLLS = 200
"""Looks after SIGKILL; a member that is left then hangs in the kernel and runs no code any more."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to start. `env` is the whole environment, None: that of this process."""

    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    cwd: str | None = None
    stdin: IO[bytes] | None = None
    pass_fds: tuple[int, ...] = ()


class Program:
    """A running program. To be started on a running loop; raises `OSError` or `ValueError` where it cannot start."""

    def __init__(self, command: Command) -> None:
        self._process = Popen(
            command.argv,
            stdin=command.stdin or DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            cwd=command.cwd,
            env=command.env,
            pass_fds=command.pass_fds,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.output = Output(_pipe(self._process.stdout), _pipe(self._process.stderr))
        self._exited = _exit_of(self._process)
        self._buried = False

    @property
    def running(self) -> bool:
        """Whether its leader still runs."""
        return not self._exited.done()

    async def ended(self) -> int:
        """Wait for the leader, end what it left in its group, and say its exit code (negative: a signal)."""
        await asyncio.wait([self._exited])
        return await self._bury()

    async def stop(self, grace_ms: int) -> int:
        """Ask the whole group to end, by force after the grace. A cancel meanwhile ends the grace at once."""
        if self._buried:
            return self._process.wait()
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._dispersed(), grace_ms / 1000)
        except TimeoutError:
            return await self.kill()
        except asyncio.CancelledError:
            await self.kill()
            raise
        return await self._bury()

    async def kill(self) -> int:
        """End the whole group by force; nothing of it runs when this returns, cancelled or not."""
        self._signal(signal.SIGKILL)
        ended = asyncio.ensure_future(self.ended())
        while not ended.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([ended])
        return ended.result()

    async def _dispersed(self) -> None:
        await asyncio.wait([self._exited])
        while self._members():  # noqa: ASYNC110 - nothing tells when a group that is not ours to wait for is empty
            await asyncio.sleep(GROUP_POLL)

    def _members(self) -> bool:
        """Whether anyone is alive in the group. Its number cannot be reused: the leader has not been reaped yet."""
        import psutil

        return any(_group(pid) == self.pid and _alive(pid) for pid in psutil.pids())

    async def _bury(self) -> int:
        for _ in range(KILL_POLLS):
            self._signal(signal.SIGKILL)
            if self._buried or not self._members():
                break
            await asyncio.sleep(GROUP_POLL)
        self._buried = True
        return self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._buried:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def _exit_of(process: Popen[bytes]) -> asyncio.Future[None]:
    """Done when the process has ended; where the system can tell, before it is reaped."""
    loop = asyncio.get_running_loop()
    exited: asyncio.Future[None] = loop.create_future()
    try:
        pidfd = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        waiter = loop.run_in_executor(None, process.wait)
        waiter.add_done_callback(lambda _: exited.set_result(None))
        return exited

    def told() -> None:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        exited.set_result(None)

    loop.add_reader(pidfd, told)
    return exited


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise ValueError("started without a pipe")
    return stream


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def _alive(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
