"""Inside a process under test: what watches its store, and lets faults in from outside.

The nemesis puts files into the folder `ctl`: `NAME.clock` with an offset in ms is the error of this process's wall
clock; `NAME.point` with `VERB SIDE ACTION COUNT`, such as `commit before stop 1`, befalls its next writes.
"""

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rota import wiring
from rota.domain.errors import Stale
from rota.domain.facts import Fact, ReportsRefused, Trouble
from rota.ports.store import Conflict, Group, Guard, Hint, Lead, Result, Store, Term
from rota.stores import connect
from rota.stores.sql import sqlite
from rota.testing.faults import NO_FAULT, Call, Fault, FaultyStore, _lose, _refuse
from tests.chaos.history import Told, boot

ACTIONS: dict[str, Callable[[], None]] = {
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "lose": _lose,
    "refuse": _refuse,
}


def honest() -> int:
    """The machine's wall clock."""
    return time.time_ns() // 1_000_000


def put(owner: Any, name: str, value: Any) -> None:
    """In place of what was there."""
    setattr(owner, name, value)


class Rig:
    """The handles on one process; `name` is given after the fork."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = ""
        self.facts = Told(folder / "facts")
        self.effects = Told(folder / "effects")
        self.wrap: Callable[[Store], Store] = lambda store: store
        """What planted bugs put around the store."""
        self.inside = False
        """Whether faults strike between a bug and the store, and not outside of both."""

    def install(self) -> None:
        """Take the place of the real store and of the real clocks."""
        put(wiring, "connect", self.connect)
        put(wiring.SystemClock, "now", lambda _: self.now())
        put(sqlite, "wall_ms", self.now)

    def connect(self, url: str) -> Store:
        """What every process gets for its store."""
        if self.inside:
            return Recording(self.wrap(FaultyStore(connect(url), self.planned)), self)
        return FaultyStore(Recording(self.wrap(connect(url)), self), self.planned)

    def now(self) -> int:
        """This process's wall clock."""
        with suppress(OSError, ValueError):
            return honest() + int((self.folder / "ctl" / f"{self.name}.clock").read_text())
        return honest()

    def planned(self, call: Call) -> Fault:
        """The plan of a `FaultyStore`."""
        path = self.folder / "ctl" / f"{self.name}.point"
        try:
            verb, side, action, count = path.read_text().split()
        except (OSError, ValueError):
            return NO_FAULT
        if verb not in ("*", call.verb):
            return NO_FAULT
        with suppress(OSError):
            if int(count) > 1:
                path.write_text(f"{verb} {side} {action} {int(count) - 1}")
            else:
                path.unlink()
        if action == "waver":
            return Fault(action, after=_lose) if int(count) % 2 else Fault(action, before=_refuse)
        return Fault(action, before=ACTIONS[action]) if side == "before" else Fault(action, after=ACTIONS[action])

    def heard(self, fact: Fact) -> None:
        """A listener of facts."""
        match fact:
            case ReportsRefused(runs):
                self.facts.tell(event="refused", pid=os.getpid(), runs=list(runs), at=boot())
            case Trouble(where, error):
                self.facts.tell(event="trouble", name=self.name, where=where, error=repr(error)[:300], at=boot())


class Recording(FaultyStore):
    """Notes every answer about terms, and every write under one."""

    def __init__(self, store: Store, rig: Rig) -> None:
        super().__init__(store)
        self.rig = rig

    async def lead(self, name: str, holder: str, ttl_ms: int) -> Lead:
        began = boot()
        lead = await super().lead(name, holder, ttl_ms)
        if ttl_ms:
            times = {"began": began, "ended": boot()}
            self.rig.facts.tell(
                event="lead", pid=os.getpid(), holder=lead.holder, number=lead.number, mine=lead.mine, **times
            )
        return lead

    async def commit(self, groups: Sequence[Group], guard: Guard = None, hints: Sequence[Hint] = ()) -> list[Result]:
        if not isinstance(guard, Term) or not groups:
            return await super().commit(groups, guard, hints)
        began, result = boot(), "?"
        try:
            results = await super().commit(groups, guard, hints)
            result = "conflict" if all(isinstance(one, Conflict) for one in results) else "applied"
            return results
        except Stale:
            result = "stale"
            raise
        except Exception as error:
            result = type(error).__name__
            raise
        finally:
            self.rig.facts.tell(
                event="write", pid=os.getpid(), number=guard.number, began=began, ended=boot(), result=result
            )
