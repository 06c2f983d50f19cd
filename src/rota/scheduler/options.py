"""What a scheduler node is told at its start."""

from dataclasses import dataclass, field

from rota.engine.prune import Retention


@dataclass(frozen=True, slots=True)
class Options:
    """Times in ms."""

    name: str = "scheduler"
    ttl_ms: int = 10_000
    """Length of a term's lease."""
    renew_ms: int = 3_000
    scan_ms: int = 5_000
    """How often each duty looks without being asked: the safety net under hints and timers."""
    prune_ms: int = 60_000
    account_ms: int = 30_000
    """How often the leader looks whether all is accounted for, see `engine/account.py`."""
    retention: Retention = field(default_factory=Retention)
    thread: bool = True
    """Renew from a thread of its own, so that a blocked loop is noticed and loses the term."""
