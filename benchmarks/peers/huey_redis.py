"""Huey on Redis. Its number is how many processes the one consumer starts.

It has no bulk submit and acknowledges nothing.
"""

from huey import RedisHuey

from benchmarks import body


class Client:
    """What submits; and what the consumer works on."""

    def __init__(self, url: str) -> None:
        self.huey = RedisHuey(url=url)
        self._count = self.huey.task(name="count")(body.count)
        self._stamp = self.huey.task(name="stamp")(body.stamp)

    def many(self, number: int) -> None:
        """Submit `number` tasks that count, by the quickest way it has."""
        for _ in range(number):
            self._count()

    def one(self, sent_ns: int) -> None:
        """Submit one task that stamps."""
        self._stamp(sent_ns)

    def close(self) -> None:
        """Let go of the connections."""
        self.huey.storage.pool.disconnect()


def prepare(url: str) -> None:
    """It needs nothing."""


def work(url: str, number: int) -> None:
    """Perform tasks until SIGTERM."""
    Client(url).huey.create_consumer(workers=number, worker_type="process", periodic=False).run()
