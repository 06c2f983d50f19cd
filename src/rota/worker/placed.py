"""What the leader has placed at a session: it comes by a post, or the worker asks for it; whichever is first counts."""

import asyncio
from collections.abc import Collection, Iterable, Sequence

from rota.domain.run import Fence
from rota.ports.desk import Assignment

MOST_HEARD = 10_000


class Placed:
    """What is told of it is looked at by one at a time, the holder of `lock`."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.vouched = 0
        """When the question was asked (monotonic ms) to which the session was last said to be open."""
        self._heard: dict[Fence, None] = {}

    def heard(self, fences: Iterable[Fence]) -> None:
        """These are known here: a post of them may come yet, or once more, even when they are over."""
        self._heard |= dict.fromkeys(fences)
        if len(self._heard) > 2 * MOST_HEARD:
            self._heard = dict(list(self._heard.items())[-MOST_HEARD:])

    def ours(self, posted: Sequence[Assignment], session: str, lanes: Collection[str]) -> list[Assignment]:
        """Those that are the session's, of queues and kinds that it takes; labels may have changed meanwhile."""
        places = {one.rpartition("/")[0] for one in lanes}
        return [one for one in posted if one.run.session == session and one.run.lane.rpartition("/")[0] in places]

    def new(self, ours: Iterable[Assignment], known: Collection[Fence]) -> list[Assignment]:
        """Those that were not heard of before, as they are now."""
        found = {one.run.fence: one for one in ours}
        new = [one for fence, one in found.items() if fence not in known and fence not in self._heard]
        self.heard(one.run.fence for one in new)
        return new
