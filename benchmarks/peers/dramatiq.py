"""Dramatiq on Redis or RabbitMQ. Its number is how many threads a worker process has; on Redis its default of 8 drains
half as fast.

It has no bulk submit, and asks RabbitMQ for no confirms unless told to. On Redis a killed worker's tasks come back
after a minute, at random.
"""

import signal

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker

from benchmarks import body


class Client:
    """What submits; and what a worker works on."""

    def __init__(self, url: str) -> None:
        self.broker = (RedisBroker if url.startswith("redis:") else RabbitmqBroker)(url=url)
        dramatiq.set_broker(self.broker)
        self._count = dramatiq.actor(body.count, broker=self.broker)
        self._stamp = dramatiq.actor(body.stamp, broker=self.broker)

    def many(self, number: int) -> None:
        """Submit `number` tasks that count, by the quickest way it has."""
        for _ in range(number):
            self._count.send()

    def one(self, sent_ns: int) -> None:
        """Submit one task that stamps."""
        self._stamp.send(sent_ns)

    def close(self) -> None:
        """Let go of the connections."""
        self.broker.close()


def prepare(url: str) -> None:
    """It needs nothing."""


def work(url: str, number: int) -> None:
    """Perform tasks until SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # so in the threads that begin now, too
    worker = dramatiq.Worker(Client(url).broker, worker_threads=number)
    worker.start()
    signal.sigwait({signal.SIGTERM})
    worker.stop()
