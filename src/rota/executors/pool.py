"""Child interpreters for attempts that must be killable or may crash: one attempt at a time, some kept for the next.

An attempt that is cancelled, times out or dies takes its child with it; the next one gets a fresh child.
"""

import asyncio
import logging
import socket
import sys
from dataclasses import dataclass

from rota.domain.run import End, Outcome
from rota.executors.frames import (
    HEAD,
    Broken,
    Done,
    FromChild,
    Hello,
    Line,
    Progress,
    Ready,
    Stop,
    ToChild,
    Work,
    from_child,
    length,
    packed,
)
from rota.executors.outcomes import died, failure
from rota.executors.programs import Command, Program
from rota.ports.desk import Assignment
from rota.ports.executor import Context


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """What the children import, how long they may take to stop, how many idle ones are kept and for how long."""

    app: str
    grace_ms: int = 5_000
    spare: int = 2
    idle_ms: int = 60_000


class Child:
    """A child interpreter as its worker sees it."""

    def __init__(self, program: Program, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._program, self._reader, self._writer = program, reader, writer
        self._size = 0
        self._ready = False
        self.spent = False
        """Whether it must not get another attempt."""

    @classmethod
    async def start(cls, app: str) -> "Child":
        """Start one and greet it; it imports the app meanwhile. Raises `OSError`."""
        ours, theirs = socket.socketpair()
        with theirs:
            argv = [sys.executable, "-P", "-m", "rota.executors.child", str(theirs.fileno())]
            try:
                program = Program(Command(argv, pass_fds=(theirs.fileno(),)))
            except OSError:
                ours.close()
                raise
        try:
            reader, writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            await program.kill()
            program.output.close()
            ours.close()
            raise
        child = cls(program, reader, writer)
        child._send(Hello(app, sys.path, logging.getLogger().getEffectiveLevel()))
        return child

    @property
    def usable(self) -> bool:
        """Whether it can take the next attempt."""
        return not self.spent and self._program.running and not self._reader.at_eof()

    async def run(self, assignment: Assignment, context: Context, grace_ms: int) -> Outcome:
        """One attempt. Cancelled, it returns only when nothing of the child's group runs."""
        self._program.output.attach(context)
        try:
            self._send(Work(assignment, context.deadline_at))
            outcome = await self._awaited(context)
            if outcome is None:
                return await self._obituary(assignment, grace_ms)
            return outcome
        except BaseException:
            await self._stop(context, grace_ms)
            raise
        finally:
            self._program.output.detach()

    async def close(self) -> None:
        """End it and what it started."""
        self.spent = True
        await self._program.kill()
        self._program.output.close()
        self._writer.close()

    async def _awaited(self, context: Context) -> Outcome | None:
        """How the attempt ended, None if the child is gone."""
        while (message := await self._receive()) is not None:
            match message:
                case Done(outcome):
                    return outcome
                case Broken(error):
                    self.spent = True
                    return failure(f"the child process cannot import the app:\n{error}")
                case Progress(text):
                    context.progress(text)
                case Line(stream, level, text):
                    context.line(stream, level, text)
                case Ready():
                    self._ready = True
        return None

    async def _obituary(self, assignment: Assignment, grace_ms: int) -> Outcome:
        self.spent = True
        try:
            code = await asyncio.wait_for(self._program.ended(), grace_ms / 1000)
        except TimeoutError:
            code = await self._program.kill()
        outcome = died(code, self._program.output.detach())
        # The last try of a run that its workers vanished under: this loss is the one that fails it.
        return outcome._replace(end=End.LOST) if assignment.run.isolated else outcome

    async def _stop(self, context: Context, grace_ms: int) -> None:
        self.spent = True
        try:
            if self._ready:
                self._send(Stop())
                await asyncio.wait_for(self._awaited(context), grace_ms / 1000)
        except (TimeoutError, asyncio.CancelledError):
            # Its time is over, or somebody is in a hurry: by force.
            pass
        finally:
            await self._program.kill()

    def _send(self, message: ToChild) -> None:
        self._writer.write(packed(message))

    async def _receive(self) -> FromChild | None:
        try:
            # The size is kept, as a cancel may come between head and body and somebody else read on.
            self._size = self._size or length(await self._reader.readexactly(HEAD.size))
            data = await self._reader.readexactly(self._size)
            self._size = 0
            message: FromChild = from_child.decode(data)
            return message
        except (asyncio.IncompleteReadError, OSError, ValueError):
            return None


class Pool:
    """Children of one app."""

    def __init__(self, options: PoolOptions) -> None:
        self._options = options
        self._idle: list[tuple[Child, asyncio.TimerHandle]] = []
        self._leaving: set[asyncio.Task[None]] = set()

    async def run(self, assignment: Assignment, context: Context) -> Outcome:
        """One attempt in a child of its own."""
        try:
            child = self._take() or await Child.start(self._options.app)
        except OSError as error:
            return failure(f"cannot start a child process: {error}", name=type(error).__name__)
        try:
            return await child.run(assignment, context, self._options.grace_ms)
        finally:
            await self._give(child)

    async def close(self) -> None:
        """End all idle children."""
        while self._idle:
            child, timer = self._idle.pop()
            timer.cancel()
            await child.close()
        if self._leaving:
            await asyncio.wait(self._leaving)

    def _take(self) -> Child | None:
        while self._idle:
            child, timer = self._idle.pop()
            timer.cancel()
            if child.usable:
                return child
            self._dismiss(child)
        return None

    async def _give(self, child: Child) -> None:
        if not child.usable or len(self._idle) >= self._options.spare:
            await child.close()
            return
        timer = asyncio.get_running_loop().call_later(self._options.idle_ms / 1000, self._retire, child)
        self._idle.append((child, timer))

    def _retire(self, child: Child) -> None:
        self._idle = [(other, timer) for other, timer in self._idle if other is not child]
        self._dismiss(child)

    def _dismiss(self, child: Child) -> None:
        task = asyncio.ensure_future(child.close())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
