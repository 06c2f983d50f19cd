"""Celery on Redis or RabbitMQ. Its number is how many processes a worker has; 1 is the pool that works in its own
process.

It has no bulk submit, and asks RabbitMQ for no confirms unless told to. Results are ignored. What a killed worker ran
is lost; what it had fetched comes back, on Redis in an hour.
"""

from celery import Celery

from benchmarks import body

LEAN = ("--without-gossip", "--without-mingle", "--without-heartbeat")
AHEAD = 64
"""Tasks that a process fetches from RabbitMQ before it runs them; with its default of 4, one alone drains 700/s."""


class Client:
    """What submits; and what a worker works on."""

    def __init__(self, url: str) -> None:
        self.app = Celery("measured", broker=url)
        self.app.conf.update(
            task_ignore_result=True, worker_hijack_root_logger=False, broker_connection_retry_on_startup=True
        )
        if url.startswith("amqp:"):
            self.app.conf.worker_prefetch_multiplier = AHEAD
        self._count = self.app.task(name="count")(body.count)
        self._stamp = self.app.task(name="stamp")(body.stamp)
        self._producer = self.app.amqp.producer_pool.acquire()

    def many(self, number: int) -> None:
        """Submit `number` tasks that count, by the quickest way it has."""
        for _ in range(number):
            self._count.apply_async(producer=self._producer)

    def one(self, sent_ns: int) -> None:
        """Submit one task that stamps."""
        self._stamp.apply_async((sent_ns,), producer=self._producer)

    def close(self) -> None:
        """Let go of the connections."""
        self._producer.release()
        self.app.close()


def prepare(url: str) -> None:
    """It needs nothing."""


def work(url: str, number: int) -> None:
    """Perform tasks until SIGTERM."""
    pool = ("--pool", "solo") if number == 1 else ("--pool", "prefork", "--concurrency", str(number))
    Client(url).app.worker_main(["worker", "--loglevel", "WARNING", *pool, *LEAN])
