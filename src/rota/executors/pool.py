"""Child interpreters for attempts that must be killable or may crash: one attempt at a time, some kept for the next.

An attempt that is cancelled, times out or dies takes its child with it, and so does one that left its process otherwise
than it found it; the next one gets a fresh child.
"""

import asyncio
import logging
import socket
import sys

import msgspec

from rota.domain.run import End, Outcome
from rota.executors.outcomes import NOT_JSON, died, failure
from rota.executors.programs import Program
from rota.ports.desk import Assignment
from rota.ports.executor import Context
from rota.ports.runtime import TRACE

SPARE = 2
"""Idle children kept for the next attempt."""
FRAME_LIMIT = 4 << 20
"""Bytes of one message; twice a payload and a result at their limits leave ample room."""


class Work(msgspec.Struct):
    """All that a child is ever told: one attempt. The end of what it can read means: stop."""

    assignment: Assignment
    deadline_at: int | None
    trace: str = ""
    """What to go on in, see `TRACE`."""


class Said(msgspec.Struct, omit_defaults=True):
    """One of what a child says: how far the attempt is, a line of its logging, or how it ended."""

    progress: str | None = None
    line: tuple[str, str, str] | None = None
    """Stream, level, text."""
    outcome: Outcome | None = None
    """Sent when all output of the attempt is in the pipes."""
    spent: bool = False
    """Whether the attempt, now over, has changed what the next one would find."""


WORK, SAID = msgspec.json.Decoder(Work), msgspec.json.Decoder(Said)


def packed(message: Work | Said) -> bytes:
    """A message as it travels: JSON, one object a line."""
    return msgspec.json.encode(message) + b"\n"


class Child:
    """A child interpreter as its worker sees it."""

    def __init__(
        self, program: Program, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, grace_ms: int
    ) -> None:
        self._program, self._reader, self._writer, self._grace_ms = program, reader, writer, grace_ms
        self._spent = False

    @classmethod
    async def start(cls, app: str, grace_ms: int) -> "Child":
        """Start one; it imports the app meanwhile. Raises `OSError`."""
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours, limit=FRAME_LIMIT)
            level = logging.getLogger().getEffectiveLevel()
            argv = [sys.executable, "-uP", "-m", "rota.executors.child", app, str(level), str(grace_ms), *sys.path]
            try:
                return cls(Program(argv, stdin=theirs.fileno()), reader, writer, grace_ms)
            except (OSError, RuntimeError):
                writer.close()
                raise

    @property
    def usable(self) -> bool:
        """Whether it can take the next attempt: whatever went wrong in one has ended the child."""
        return not self._spent and self._program.running and not self._writer.is_closing()

    async def run(self, assignment: Assignment, context: Context) -> Outcome:
        """One attempt. Cancelled, it returns only when nothing of the child's group runs."""
        self._program.attach(context)
        try:
            self._writer.write(packed(Work(assignment, context.deadline_at, TRACE.get())))
            return await self._heard(context) or await self._obituary(assignment)
        except BaseException:
            await self._stop(context)
            raise
        finally:
            self._program.detach()

    async def close(self) -> None:
        """End it and what it started."""
        self._writer.close()
        await self._program.kill()
        self._program.close()

    async def _heard(self, context: Context) -> Outcome | None:
        """How the attempt ended, None if the child is gone or makes no sense."""
        while True:
            try:
                said = SAID.decode(await self._reader.readline())
            except (OSError, *NOT_JSON):
                return None
            if said.outcome:
                self._spent = said.spent
                return said.outcome
            if said.line:
                context.line(*said.line)
            else:
                context.progress(said.progress or "")

    async def _obituary(self, assignment: Assignment) -> Outcome:
        try:
            code = await asyncio.wait_for(self._program.ended(), self._grace_ms / 1000)
        except TimeoutError:
            code = await self._program.kill()
        outcome = died(code, self._program.detach())
        # The last try of a run that its workers vanished under: this loss is the one that fails it.
        return outcome._replace(end=End.LOST) if assignment.run.isolated else outcome

    async def _stop(self, context: Context) -> None:
        if not self._writer.is_closing():
            self._writer.write_eof()
        try:
            await asyncio.wait_for(self._heard(context), self._grace_ms / 1000)
        except (TimeoutError, asyncio.CancelledError):
            # Its time is over, or somebody is in a hurry: by force.
            pass
        finally:
            await self._program.kill()


class Pool:
    """Children of one app; an idle one leaves after `idle_ms`."""

    def __init__(self, app: str, grace_ms: int, idle_ms: int = 60_000) -> None:
        self._app, self._grace_ms, self._idle_ms = app, grace_ms, idle_ms
        self._idle: dict[Child, asyncio.Task[None]] = {}

    async def run(self, assignment: Assignment, context: Context) -> Outcome:
        """One attempt in a child of its own."""
        child = next((child for child in reversed(self._idle) if child.usable), None)
        try:
            if child:
                self._idle.pop(child).cancel()
            else:
                child = await Child.start(self._app, self._grace_ms)
        except OSError as error:
            return failure(f"cannot start a child process: {error}", name=type(error).__name__)
        try:
            return await child.run(assignment, context)
        finally:
            if child.usable and len(self._idle) < SPARE:
                self._idle[child] = asyncio.ensure_future(self._retire(child))
            else:
                await child.close()

    async def close(self) -> None:
        """End all idle children."""
        while self._idle:
            child, leaving = self._idle.popitem()
            leaving.cancel()
            await child.close()

    async def _retire(self, child: Child) -> None:
        await asyncio.sleep(self._idle_ms / 1000)
        await child.close()
        self._idle.pop(child, None)
