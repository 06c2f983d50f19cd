"""What carriers have in common: what may be sent, how they wait for a broker."""

import asyncio
import random
from collections.abc import Sequence

from rota.domain.errors import Invalid, TooLarge
from rota.domain.names import check_name
from rota.ports.carrier import DESK, LONGEST

CONNECT_S = 5.0
"""How long to wait for a connection."""
ANSWER_S = 10.0
"""How long to wait for an answer."""
BATCH = 100
"""Messages given at once, at most."""
LIFE_S = 10
"""How long an inbox outlives whoever receives from it."""
ROOM = 10_000
"""Messages of an inbox that wait, about; older ones are dropped."""
OLD_S = 120
"""What nobody received for so long is dropped: whoever asked has asked again."""


def check_messages(messages: Sequence[tuple[str, bytes]]) -> None:
    """Raises `Invalid` for a name that none can have, or a body that is too large."""
    for inbox, body in messages:
        check_name("inbox", inbox)
        if len(body) > LONGEST:
            raise TooLarge("message", f"{len(body):,} bytes are over the limit of {LONGEST:,}")


def check_own(inbox: str) -> None:
    """Raises `Invalid` for what cannot be one's own."""
    if check_name("inbox", inbox) == DESK:
        raise Invalid("inbox", f"{DESK!r} is everybody's; choose another name")


async def pause() -> None:
    """Before the next attempt to reach a broker: not all at once."""
    await asyncio.sleep(random.uniform(0.2, 1))
