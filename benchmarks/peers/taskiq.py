"""Taskiq on Redis, by its list broker, the quicker of two. Its number is how many tasks a worker process does at once.

It has no bulk submit: 50 are sent at a time. What a killed worker held is lost.
"""

import asyncio
import os
import sys

import uvloop
from taskiq_redis import ListQueueBroker

from benchmarks import body

URL = "TASKIQ_URL"
AT_ONCE = 50


async def _count() -> None:  # functions that are not async go to threads
    body.count()


async def _stamp(sent_ns: int) -> None:
    body.stamp(sent_ns)


class Client:
    """What submits; and what a worker works on."""

    def __init__(self, url: str) -> None:
        self.broker = ListQueueBroker(url)
        self._count = self.broker.task(task_name="count")(_count)
        self._stamp = self.broker.task(task_name="stamp")(_stamp)
        self._loop = asyncio.Runner(loop_factory=uvloop.new_event_loop)

    def many(self, number: int) -> None:
        """Submit `number` tasks that count, by the quickest way it has."""

        async def submit() -> None:
            for start in range(0, number, AT_ONCE):
                await asyncio.gather(*[self._count.kiq() for _ in range(min(AT_ONCE, number - start))])

        self._loop.run(submit())

    def one(self, sent_ns: int) -> None:
        """Submit one task that stamps."""
        self._loop.run(self._stamp.kiq(sent_ns))

    def close(self) -> None:
        """Let go of the connections."""
        self._loop.run(self.broker.shutdown())
        self._loop.close()


broker = Client(os.environ[URL]).broker if URL in os.environ else None
"""What its own program works on."""


def prepare(url: str) -> None:
    """It needs nothing."""


def work(url: str, number: int) -> None:
    """Perform tasks until SIGTERM."""
    os.environ[URL] = url
    options = ["--workers", "1", "--max-async-tasks", str(number), "--log-level", "WARNING"]
    os.execv(sys.executable, [sys.executable, "-m", "taskiq", "worker", f"{__name__}:broker", *options])
