"""The carrier: brings messages to named inboxes through a broker. Nothing is decided by it: it may lose, repeat, delay
and reorder, and whoever asks through it asks again. What it carries is opaque to it, and of strangers until proved.
"""

from collections.abc import Sequence
from typing import Protocol

DESK = "desk"
"""The inbox that scheduler nodes share: each message is given to one of them."""
LONGEST = 16 << 20
"""Bytes of one message, at most."""


class Carrier(Protocol):
    """One connection to a broker, made again by itself when it breaks.

    Calls raise `Unavailable` when nothing can have been sent, `Unclear` when it may have been, `Invalid` for an address
    that cannot be meant, `Barred` where the broker does not let it in.
    """

    async def open(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Disconnect; inboxes of one's own go. Harmless twice. A `receive` that waits raises `Unavailable`."""

    async def own(self, inbox: str) -> None:
        """Make an inbox that lives as long as this carrier is connected and receives from it, and a little longer."""

    async def send(self, messages: Sequence[tuple[str, bytes]]) -> list[bool]:
        """Send (inbox, message) pairs in one batch; for each, whether its inbox is there: False was not delivered."""

    async def receive(self, inbox: str) -> list[bytes]:
        """The next messages of the desk or an inbox of one's own, up to a hundred; waits for the first. They are
        acknowledged by being received.
        """
