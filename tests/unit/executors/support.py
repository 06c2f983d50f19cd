"""What the tests of executors share: an assignment, a context that notes what it is told, a cancel as workers do it."""

import asyncio
import os
import select
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from rota.domain.run import Run, State
from rota.domain.task import Isolation, Task
from rota.ports.desk import Assignment
from rota.ports.executor import About, Executor

PATIENCE = 20


def assigned(command: str = "", payload: Any = None, lost: int = 0, tries: int = 0, **task: Any) -> Assignment:
    """A claimed run of a task called `t`; `payload` as a value, or as bytes that may be no JSON."""
    data = payload if isinstance(payload, bytes) else b"" if payload is None else msgspec.json.encode(payload)
    run = Run(
        "run-1", "main", "t", 1, "default", "lane", 1, State.RUNNING, "claimed", "", 0, None, 0, 0, data,
        nominal_at=1_700_000_000_000, attempt=2, token=7, tries=tries, lost=lost,
    )  # fmt: skip
    return Assignment(run, Task("main", "t", command=command, **task), data, 1)


class Notes(About):
    """A context that remembers, and can be waited on."""

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.deadline_at: int | None = 1_700_000_060_000
        self.cancelled = False
        self.lines: list[tuple[str, str, str]] = []
        self.told: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    def progress(self, text: str) -> None:
        self.told.append(text)
        self._loop.call_soon_threadsafe(self._news.set)

    def line(self, stream: str, level: str, text: str) -> None:
        self.lines.append((stream, level, text))
        self._loop.call_soon_threadsafe(self._news.set)

    def texts(self, stream: str) -> list[str]:
        return [text for where, _, text in self.lines if where == stream]

    async def until(self, wanted: Callable[["Notes"], Any]) -> Any:
        """Wait for news until `wanted` finds something."""
        async with asyncio.timeout(PATIENCE):
            while not (found := wanted(self)):
                self._news.clear()
                await self._news.wait()
        return found


async def outcome(executor: Executor, assignment: Assignment):
    """Run it to its end; the outcome and the notes."""
    notes = Notes(assignment)
    async with asyncio.timeout(PATIENCE):
        return await executor.run(assignment, notes), notes


class Attempt:
    """An attempt under way, as a worker has it."""

    def __init__(self, executor: Executor, assignment: Assignment) -> None:
        self.notes = Notes(assignment)
        self.task = asyncio.ensure_future(self._run(executor, assignment))

    async def _run(self, executor: Executor, assignment: Assignment):
        return await executor.run(assignment, self.notes)

    async def cancel(self) -> None:
        self.notes.cancelled = True
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(PATIENCE):
                await self.task


class Life:
    """Whether a process that is not our child still runs; to be taken while it does."""

    def __init__(self, pid: int) -> None:
        self._pidfd = os.pidfd_open(pid)

    @property
    def over(self) -> bool:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(PATIENCE * 1000))

    def __del__(self) -> None:
        os.close(self._pidfd)


class Plain:
    """A handler of keyword arguments and any JSON."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def decode(self, payload, context):
        return (), msgspec.json.decode(payload) if payload else {}

    def encode(self, result):
        return None if result is None else msgspec.json.encode(result)


def refuse(error):
    raise RuntimeError("look away")


class Shy(Exception):
    """An error that cannot be looked at."""

    __class__ = __cause__ = property(refuse)


ISOLATED = Isolation.PROCESS
