"""What the leader has placed at a session: it comes by a post, or the worker asks for it; whichever is first counts."""

import asyncio
from collections.abc import Collection, Iterable, Sequence

from rota.domain.run import Fence
from rota.ports.desk import Assignment

MOST_FETCHED = 10_000


class Placed:
    """What is told of it is looked at by one at a time, the holder of `lock`."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.vouched = 0
        """When the question was asked (monotonic ms) to which the session was last said to be open."""
        self._fetched: dict[Fence, None] = {}

    def fetched(self, fences: Iterable[Fence]) -> None:
        """These were asked for, or handed back: their post may come yet, even when they are over."""
        self._fetched |= dict.fromkeys(fences)
        self._fetched = dict(list(self._fetched.items())[-MOST_FETCHED:])

    def ours(self, posted: Sequence[Assignment], session: str, lanes: Collection[str]) -> list[Assignment]:
        """Those that are the session's, of queues and kinds that it takes; labels may have changed meanwhile."""
        places = {one.rpartition("/")[0] for one in lanes}
        return [one for one in posted if one.run.session == session and one.run.lane.rpartition("/")[0] in places]

    def new(self, ours: Iterable[Assignment], known: Collection[Fence]) -> list[Assignment]:
        """Those that were not heard of before."""
        found = {one.run.fence: one for one in ours}
        return [one for fence, one in found.items() if fence not in known and fence not in self._fetched]
