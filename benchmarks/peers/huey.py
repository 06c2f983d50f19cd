"""Huey on SQLite, as durable as SQLite's default makes it, or on Redis. Its number is how many processes the one
consumer starts.

It has no bulk submit. On SQLite it polls, so it is given a short delay; nothing is acknowledged.
"""

from huey import RedisHuey, SqliteHuey

from benchmarks import body

POLL_S = 0.005


class Client:
    """What submits; and what the consumer works on."""

    def __init__(self, url: str) -> None:
        on_redis = url.startswith("redis:")
        self.huey = RedisHuey(url=url) if on_redis else SqliteHuey(filename=url.removeprefix("sqlite:///"))
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
        """Let go of the file."""
        self.huey.storage.close()


def prepare(url: str) -> None:
    """Make its tables."""
    Client(url).close()


def work(url: str, number: int) -> None:
    """Perform tasks until SIGTERM."""
    consumer = Client(url).huey.create_consumer(
        workers=number, worker_type="process", periodic=False, initial_delay=POLL_S, max_delay=POLL_S
    )
    consumer.run()
