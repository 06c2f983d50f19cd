"""Workers that wait at this node: for work, all asked for in one call, and between beats, for a hint."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

from rota.domain.errors import Barred, Unavailable
from rota.domain.facts import Trouble
from rota.domain.run import End, Outcome
from rota.engine.claim import claim
from rota.engine.engine import Engine
from rota.engine.settle import settle
from rota.ports.desk import Assignment, Settlement, Taken
from rota.ports.loops import end, keep, wait_for_event
from rota.ports.store import Hint, Want, Watch

SCAN_MS = 5_000
"""Without a hint, those who wait for work ask again so often."""
GONE_MS = 50
"""Who lost the answer to its claim asks what it holds, and begins that, so soon: then it is not given to others."""
NOTHING = Taken((), False, True)

Still = Callable[[], Awaitable[bool]]
"""Whether who waits may still have what it waits for: its credential may be revoked meanwhile."""


class Waiter:
    """A claim that waits."""

    def __init__(self, want: Want, still: Still, now: int) -> None:
        self.want = want
        self.still = still
        self.began = now
        self.asked_at: int | None = None
        self.asking = False
        self.over = False
        self.left_at: int | None = None
        self.answer: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()

    def hears(self, lanes: str) -> bool:
        """Whether it takes from a lane that begins so."""
        return any(lane.startswith(lanes) for lane in self.want.lanes)

    def let_go(self) -> None:
        """Answer it now, or with what the call under way brings."""
        self.over = True
        if not self.asking:
            self.end(NOTHING)

    def fail(self, error: Exception) -> None:
        """Its claim may have happened, or not."""
        if not self.answer.done():
            self.answer.set_exception(error)

    def end(self, taken: Taken) -> bool:
        """Give it its answer; False where it has gone."""
        if self.answer.done():
            return False
        self.answer.set_result(taken)
        return True


class Waiting:
    """One claim for all who wait: at once for who comes, then when a hint names a lane of theirs.

    `closed` ends all waiting, so that it does not hold up the end of the node.
    """

    def __init__(self, engine: Engine, closed: asyncio.Event) -> None:
        self._engine = engine
        self._closed = closed
        self._waiters: dict[str, Waiter] = {}
        self._resting: dict[str, asyncio.Event] = {}
        self._ear: Watch | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def claim(self, want: Want, still: Still, wait_s: float) -> Taken:
        """Ready runs, or none within that time. A session waits once: its newer claim lets the older one go.

        Raises `Barred` where `still` says no.
        """
        ear = self._listening()
        if former := self._waiters.pop(want.session, None):
            former.let_go()
        elif want.limit == 0:
            # It waits at another node.
            await self._engine.store.commit((), None, [Hint(f"session:{want.session}")])
        if want.limit == 0 or self._closed.is_set():
            return NOTHING
        waiter = self._waiters[want.session] = Waiter(want, still, self._engine.clock.monotonic())
        ear.wake()
        try:
            async with asyncio.timeout(wait_s):
                return await waiter.answer
        except TimeoutError:
            if waiter.answer.done() and not waiter.answer.cancelled():
                return waiter.answer.result()  # it came in the same moment
            return NOTHING._replace(waited_ms=self._engine.clock.monotonic() - waiter.began)
        finally:
            waiter.left_at = self._engine.clock.monotonic()
            if self._waiters.get(want.session) is waiter:
                del self._waiters[want.session]

    async def rest(self, session: str, wait_s: float) -> bool:
        """Wait so long, or until a hint names the session; whether one did."""
        self._listening()
        hint = self._resting[session] = asyncio.Event()
        if not self._closed.is_set():
            await wait_for_event(hint, wait_s)
        if self._resting.get(session) is hint:
            del self._resting[session]
        return hint.is_set()

    def _listening(self) -> Watch:
        if self._ear is None:
            self._ear = ear = self._engine.store.watch(["lane:*", "session:*"])
            rounds = asyncio.create_task(keep("claims", lambda: self._round(ear), self._engine.emit))
            self._tasks = [rounds, asyncio.create_task(self._end(ear, rounds))]
        return self._ear

    async def _end(self, ear: Watch, rounds: asyncio.Task[None]) -> None:
        await self._closed.wait()
        for waiter in self._waiters.values():
            waiter.let_go()
        for hint in self._resting.values():
            hint.set()
        ear.close()
        await end(rounds)
        for waiter in self._waiters.values():
            waiter.fail(Unavailable("this node ends"))

    async def _round(self, ear: Watch) -> None:
        """One call for all whose turn it is."""
        heard = await ear.wait(SCAN_MS / 1_000)
        named = [topic.removeprefix("session:") for topic in heard if topic.startswith("session:")]
        for session in named:
            if hint := self._resting.pop(session, None):
                hint.set()
            # What it has to look at is not work that it may take: it is not to wait for that meanwhile.
            if waiter := self._waiters.get(session):
                waiter.let_go()
        asking = self._turn(heard)
        for waiter in asking:
            waiter.asking = True
        try:
            await self._ask(asking)
        except Exception as error:
            if all(waiter.answer.done() for waiter in asking):
                self._engine.tell(Trouble("claims", error))
            for waiter in asking:
                waiter.fail(error)
        finally:
            for waiter in asking:
                waiter.asking = False

    def _turn(self, heard: Mapping[str, int]) -> list[Waiter]:
        """Who has just come, or not asked for long; of those who wait for a lane as many as can take twice its news."""
        long_ago = self._engine.clock.monotonic() - SCAN_MS
        # Who has its answer and has not taken it yet is listed still.
        others = [one for one in self._waiters.values() if not one.answer.done()]
        turn = {one: None for one in others if one.asked_at is None or one.asked_at <= long_ago}
        for topic, count in heard.items():
            if topic.startswith("lane:"):
                lanes = topic.removeprefix("lane:").removesuffix("*")
                fit = [one for one in others if one not in turn and one.hears(lanes)]
                turn |= dict.fromkeys(_enough(fit, count) if lanes.count("/") == 3 else fit)
        return list(turn)

    async def _ask(self, waiters: list[Waiter]) -> None:
        """Claim for them; what was claimed for somebody who has gone just now is given back."""
        allowed = [one for one in waiters if one.asked_at is None or await self._is_still(one)]
        if not allowed:
            return
        now = self._engine.clock.monotonic()
        for waiter in allowed:
            waiter.asked_at = now
        left: list[Assignment] = []
        for waiter, taken in zip(allowed, await claim(self._engine, [one.want for one in allowed]), strict=True):
            answers = taken.assignments or taken.contended or not taken.open or waiter.over
            if answers and not waiter.end(taken._replace(waited_ms=now - waiter.began)):
                just_left = waiter.left_at is None or self._engine.clock.monotonic() - waiter.left_at < GONE_MS
                left += taken.assignments if just_left else ()
        if left:
            gone = Outcome(End.RETURNED, reason="its worker had gone before it was told")
            await settle(self._engine, [Settlement(one.run.fence, gone, one.held, one.task) for one in left])

    async def _is_still(self, waiter: Waiter) -> bool:
        if await waiter.still():
            return True
        waiter.fail(Barred("the credential is not valid any more"))
        return False


def _enough(waiters: Iterable[Waiter], runs: int) -> Iterator[Waiter]:
    """The first who can take twice so many runs, two at least. Who lacks handlers may take hardly any."""
    left = 2 * runs
    for waiter in waiters:
        if left <= 0:
            return
        yield waiter
        left -= 1 if waiter.want.exclude else min(waiter.want.limit, runs)
