"""The crew: the sessions that remote workers have opened, and whose each is. A worker speaks for its own alone."""

import asyncio
from collections.abc import Collection, Iterable
from math import inf

from rota.domain.access import Action, Actor, allowed
from rota.domain.errors import Forbidden, Refused
from rota.domain.records import Session
from rota.domain.run import Run, State
from rota.engine.engine import Engine, Memory
from rota.engine.sessions import enter
from rota.ports.store import Versioned

MOST_REMEMBERED = 10_000
MOST_SESSIONS = 1_000
"""Open sessions of one credential, through one node: a whole fleet may share a key, but not fill the store by it."""
LOOK_MS = 1_000
"""So often, at most, is looked whether any of so many has ended."""


def credential(actor: Actor) -> str:
    """What names the asker's credential in a session that it opened."""
    return actor.token or actor.name


class Crew:
    """Who opened which session is remembered."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: Memory = {}
        self._opened: dict[str, tuple[int, dict[str, bool]]] = {}
        """By credential: when it was last looked which are open, and those that may be; False: is just coming."""
        self.listed: dict[tuple[str, str], Session] = {}
        """By credential and URL, those that were heard of here."""
        self.opening = asyncio.Lock()
        """Of such lives one begins at a time: several processes may serve a URL."""

    async def open(self, session: Session) -> None:
        """Open a session. Raises `Refused`, also where its credential has MOST_SESSIONS open."""
        who, now = session.opened_by, self._engine.clock.monotonic()
        looked, mine = self._opened.setdefault(who, (now - LOOK_MS, {}))
        if len(mine) >= MOST_SESSIONS and session.id not in mine:
            if looked + LOOK_MS <= now:
                self._opened[who], there = (now, mine), [one for one, came in mine.items() if came]
                held = await self._engine.store.get(Session, there)
                for gone in {*there} - {one.record.id for one in held if one and one.record.open}:
                    del mine[gone]
            if len(mine) >= MOST_SESSIONS:
                raise Refused(f"this key has {len(mine)} open sessions; end some, or give workers keys of their own")
        mine.setdefault(session.id, False)
        try:
            await enter(self._engine, session)
        finally:
            mine[session.id] = True

    async def own(self, actor: Actor, session: str, anew: bool = False) -> Session | None:
        """The asker's session, None where there is none of that id. Raises `Forbidden` for that of somebody else.

        `anew`: as it is now, for people may change its labels and with them its lanes.
        """
        if anew:
            self._known.pop(session, None)
        found = (await self._sessions([session])).get(session)
        if found and found.opened_by != credential(actor):
            raise Forbidden(f"session {session} was not opened by {actor.name}")
        return found

    async def check_held(self, actor: Actor, named: Iterable[tuple[str, int]]) -> dict[str, Versioned[Run]]:
        """The runs of these attempts (run id, number), as far as they are there.

        Raises `Forbidden` where one is the attempt that another credential's session, or a worker beside the store,
        holds now.
        """
        named = set(named)
        found = await self._engine.store.get(Run, list({run for run, _ in named}))
        runs: dict[str, Versioned[Run]] = {held.record.id: held for held in found if held}
        current = [runs[run].record for run, attempt in named if run in runs and is_current(runs[run].record, attempt)]
        sessions = await self._sessions({run.session for run in current})
        for run in current:
            holder = sessions.get(run.session)
            if holder is None or holder.opened_by != credential(actor):
                raise Forbidden(f"run {run.id} is not held by a session of {actor.name}")
        return runs

    async def _sessions(self, ids: Collection[str]) -> dict[str, Session | None]:
        return await self._engine.remembered(Session, self._known, ids, inf)


def is_current(run: Run, attempt: int) -> bool:
    """Whether somebody holds the run by this attempt."""
    return run.state is State.RUNNING and run.attempt == attempt


def may_take(actor: Actor, lanes: Iterable[str]) -> bool:
    """Whether the asker may work on the queues of all these lanes."""
    return all(allowed(actor.grants, Action.WORK, space, queue=queue) for space, queue in queues(lanes))


def queues(lanes: Iterable[str]) -> set[tuple[str, str]]:
    """Namespaces and names of the queues of these lanes."""
    return {(space, queue) for space, queue, *_ in (lane.split("/", 2) for lane in lanes)}
