"""The pusher: posts runs to workers that are reached at a URL, see `worker/poster.py`.

What it posts is placed already, so a post decides nothing. What certainly did not arrive is taken back unburnt, so that
it goes elsewhere; of what may have arrived the worker tells, by its beats or when it is posted once more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from rota.api.crew import may_take
from rota.domain.errors import Unavailable, Unclear
from rota.domain.facts import Trouble
from rota.domain.names import number_of
from rota.domain.records import Session
from rota.domain.run import End, Fence, Outcome, Run
from rota.engine.claim import assigned, given
from rota.engine.engine import Engine
from rota.engine.settle import settle
from rota.ports.desk import Assignment, Settlement, Taken
from rota.ports.loops import end
from rota.ports.store import Claimed, Hint, Versioned
from rota.worker import wire

if TYPE_CHECKING:
    from rota.api.door import Door
    from rota.worker.poster import Poster

STALE_MS = 500
"""What has waited here for longer is looked at again before it is posted: it may be over."""
DOUBT_MS = 20_000
"""What a worker that cannot ask was given so long ago, and may or may not have, is taken back."""
MOST_WAITING = 20_000


@dataclass(slots=True, eq=False)
class _Line:
    """What waits for one session, that which is on its way first."""

    session: Session
    runs: list[tuple[Versioned[Run], int]] = field(default_factory=list)
    """And since when (monotonic ms)."""
    known: set[Fence] = field(default_factory=set)
    task: asyncio.Task[None] | None = None


class Pusher:
    """One post at a time to each session, to all sessions at once.

    `means`: makes what knows keys and what posts, with the first post: they are not light, and most never post.
    """

    def __init__(self, engine: Engine, means: "Callable[[], tuple[Door, Poster]]") -> None:
        self._engine = engine
        self._means = means
        self._made: tuple[Door, Poster] | None = None
        self._lines: dict[str, _Line] = {}

    def __call__(self, session: Session, runs: Sequence[Versioned[Run]]) -> bool:
        """Post these runs of a session soon. False, and it will not: too many wait already."""
        line = self._lines.get(session.id) or _Line(session)
        new = [one for one in runs if one.record.fence not in line.known]
        if sum(len(one.runs) for one in self._lines.values()) + len(new) > MOST_WAITING:
            return False
        now = self._engine.clock.monotonic()
        line.runs += [(one, now) for one in new]
        line.known |= {one.record.fence for one in new}
        if line.task is None and line.runs:
            self._lines[session.id] = line
            line.task = asyncio.create_task(self._post_all(line), name=f"push to {session.id}")
        return True

    async def close(self) -> None:
        """Post no more. What is not posted shows as that of a leader who is gone."""
        await end(*[line.task for line in self._lines.values()])
        for made in self._made or ():
            await made.close()

    async def _post_all(self, line: _Line) -> None:
        try:
            while line.runs:
                part = line.runs[: wire.GIVEN]
                try:
                    await self._post(line.session, part)
                except Exception as error:  # then it shows as a lost post
                    self._engine.tell(Trouble("push", error))
                del line.runs[: len(part)]
                line.known -= {one.record.fence for one, _ in part}
        finally:
            del self._lines[line.session.id]

    async def _post(self, session: Session, part: Sequence[tuple[Versioned[Run], int]]) -> None:
        runs = [one for one, _ in part]
        if part[0][1] < self._engine.clock.monotonic() - STALE_MS:
            taken = await given(self._engine, session.id, [one.record.id for one in runs])
        else:
            taken = await assigned(self._engine, Claimed(tuple(runs), False, True))
        if not taken.assignments:
            return
        door, poster = self._made = self._made or self._means()
        token = await door.key(session.opened_by)
        actor = await door.let_in(token, "") if token else None
        if token is None or actor is None or not may_take(actor, session.lanes):
            return await self._take_back(session, taken.assignments, "its worker's key is not valid for it any more")
        await self._send(session, partial(poster.post, session, token.digest), taken)

    async def _send(self, session: Session, post: Callable[[bytes], Awaitable[wire.Took]], taken: Taken) -> None:
        """In as many letters as their size asks for."""
        work = wire.work(taken, self._engine.clock.now())
        if work.rest:
            count = len(work.runs)
            await self._send(session, post, taken._replace(assignments=taken.assignments[:count]))
            return await self._send(session, post, taken._replace(assignments=taken.assignments[count:]))
        runs = taken.assignments
        try:
            took = await post(wire.encode(work))
        except Unavailable as why:
            await self._take_back(session, runs, f"it was not delivered: {why}")
        except Unclear as why:
            await self._doubt(session, runs, why)
        else:
            if left := [] if session.asks else [one for one in runs if one.run.id not in took.runs]:
                await self._take_back(session, left, "its worker did not take it")

    async def _doubt(self, session: Session, runs: Sequence[Assignment], why: Unclear) -> None:
        """It may have arrived."""
        told = Unclear(f"{session.worker} at {session.address} gave no answer to be believed: {why}")
        self._engine.tell(Trouble("push", told))
        if session.asks:
            # It looks at once.
            await self._engine.store.commit((), None, [Hint(f"session:{session.id}", len(runs))])
            return
        long_ago = self._engine.clock.now() - DOUBT_MS
        old = [one for one in runs if (one.run.claimed_at or 0) < long_ago]
        now = await self._engine.store.get(Run, [one.run.id for one in old])
        begun = {held.record.fence for held in now if held and held.record.started_at is not None}
        if silent := [one for one in old if one.run.fence not in begun]:
            await self._take_back(session, silent, "its worker does not answer")

    async def _take_back(self, session: Session, runs: Sequence[Assignment], why: str) -> None:
        told = Unavailable(f"{session.worker} at {session.address}, {number_of(len(runs), 'run')}: {why}")
        self._engine.tell(Trouble("push", told))
        back = Outcome(End.RETURNED, reason=why)
        await settle(self._engine, [Settlement(one.run.fence, back, one.held, one.task) for one in runs])
