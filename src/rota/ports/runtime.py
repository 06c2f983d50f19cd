"""Time, ids, facts and lifecycle, passed in so that a whole cluster can run on a virtual clock."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol

from rota.domain.facts import Fact

Emit = Callable[[Fact], None]
"""Where facts go. A failing listener never harms a run."""

TRACE: ContextVar[str] = ContextVar("trace", default="")
"""W3C traceparent of the work under way: what calls that it makes send along, and runs that it submits keep."""


class Clock(Protocol):
    """Wall time for what people read, monotonic time for every lease and interval."""

    def now(self) -> int:
        """Milliseconds since the epoch, UTC."""

    def monotonic(self) -> int:
        """Milliseconds that never go back."""


class Chance(Protocol):
    """Source of randomness: the operating system's in life, a seed's in simulation."""

    def bits(self, count: int) -> int:
        """`count` random bits."""

    def fraction(self) -> float:
        """From [0, 1)."""
