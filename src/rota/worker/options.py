"""What a worker is told at its start."""

import os
import socket
from dataclasses import dataclass

from rota.domain.records import Session


@dataclass(frozen=True, slots=True)
class Options:
    """Times in ms."""

    name: str = "worker"
    """The worker's name over all its lives; need not be unique, sessions are."""
    namespaces: tuple[str, ...] = ("main",)
    queues: tuple[str, ...] = ("default",)
    labels: tuple[str, ...] = ()
    slots: int = 10
    version: str = ""
    beat_ms: int = 3_000
    ttl_ms: int = 10_000
    scan_ms: int = 5_000
    """How long it waits for a hint before it looks for work by itself."""
    report_ms: int = 1_000
    """How often starts, progress and output of running attempts are reported."""
    drain_ms: int = 30_000
    """How long a stop waits for what runs before it hands it back."""
    grace_ms: int = 15_000
    """After a cancel or timeout: how long an attempt may take to end before its slot is given up."""
    thread: bool = True
    """Beat from a thread of its own, so that user code blocking the loop does not lose the session, and tell what
    the worker takes of its machine; without it life is on a virtual clock, where no machine has a say."""
    address: str = ""
    """URL at which runs may be posted to it, see `worker/posted.py`."""

    def session(self, name: str, lanes: tuple[str, ...], executors: tuple[str, ...], now: int) -> Session:
        """The session of one of its lives, as it begins."""
        return Session(
            id=name,
            worker=self.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            lanes=lanes,
            queues=self.queues,
            executors=executors,
            ttl_ms=self.ttl_ms,
            opened_at=now,
            version=self.version,
            address=self.address,
        )
