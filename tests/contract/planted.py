"""Stores with one bug each, of the kinds that peers had. The contract must catch every one."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rota.domain.records import Audit, Queue, Session
from rota.domain.run import Run, State
from rota.domain.schedule import Schedule
from rota.domain.states import Claim, advance
from rota.domain.task import Task
from rota.ports.store import (
    APPLIED,
    Already,
    Change,
    Claimed,
    Conflict,
    Due,
    Group,
    Guard,
    Hint,
    Lead,
    Page,
    R,
    Result,
    Versioned,
    Want,
    Watch,
    Where,
)
from rota.testing.faults import FaultyStore


class IgnoresVersions(FaultyStore):
    """Writes by id, whatever was read (settle without a fence, rescue from a stale list)."""

    async def commit(self, groups: Sequence[Group], guard: Guard = None, hints: Sequence[Hint] = ()) -> list[Result]:
        fresh = [group._replace(changes=tuple([await self.newest(one) for one in group.changes])) for group in groups]
        return await super().commit(fresh, guard, hints)

    async def newest(self, change: Change) -> Change:
        record = change.now if change.was is None else change.was.record
        (held,) = await self.get(type(record), [record.id])
        return change._replace(was=held)


class ComparesValues(IgnoresVersions):
    """Takes a record that changed and changed back for the same (ABA)."""

    async def newest(self, change: Change) -> Change:
        fresh = await super().newest(change)
        if fresh.was and change.was and fresh.was.record == change.was.record:
            return fresh
        return change


class HalfGroups(FaultyStore):
    """Applies each change for itself: a run without its unique key."""

    async def commit(self, groups: Sequence[Group], guard: Guard = None, hints: Sequence[Hint] = ()) -> list[Result]:
        results = await super().commit(groups, guard, hints)
        for group, result in zip(groups, results, strict=True):
            if isinstance(result, Conflict):
                await super().commit([Group((change,)) for change in group.changes], guard)
        return results


class AcknowledgesEarly(FaultyStore):
    """Says `applied` and writes with the next call (acknowledged before it is durable)."""

    unsent: tuple[Sequence[Group], Guard, Sequence[Hint]] | None = None

    async def commit(self, groups: Sequence[Group], guard: Guard = None, hints: Sequence[Hint] = ()) -> list[Result]:
        await self.flush()
        self.unsent = groups, guard, hints
        return [APPLIED] * len(groups)

    async def flush(self) -> None:
        late, self.unsent = self.unsent, None
        if late:
            await super().commit(*late)

    async def get(self, kind: type[R], ids: Sequence[str]) -> list[Versioned[R] | None]:
        await self.flush()
        return await super().get(kind, ids)


class ForgetsGuards(FaultyStore):
    """Believes whoever says that it leads."""

    async def commit(self, groups: Sequence[Group], guard: Guard = None, hints: Sequence[Hint] = ()) -> list[Result]:
        return await super().commit(groups, None, hints)


class CountsAgain(FaultyStore):
    """Adds to the tally although the group had counted."""

    async def commit(self, groups: Sequence[Group], guard: Guard = None, hints: Sequence[Hint] = ()) -> list[Result]:
        results = await super().commit(groups, guard, hints)
        for number, (group, result) in enumerate(zip(groups, results, strict=True)):
            if isinstance(result, Already) and group.tally:
                more = Audit(f"again-{len(self.calls)}-{number}", 0, "", "", "")
                await super().commit([Group((Change(None, more),), group.tally)])
        return results


class ForgetsPauses(FaultyStore):
    """Never learns that a queue is paused."""

    async def commit(self, groups: Sequence[Group], guard: Guard = None, hints: Sequence[Hint] = ()) -> list[Result]:
        return await super().commit(
            [group._replace(changes=tuple(map(self.opened, group.changes))) for group in groups], guard, hints
        )

    def opened(self, change: Change) -> Change:
        return change._replace(now=replace(change.now, paused="")) if isinstance(change.now, Queue) else change


class ServesTheClosed(FaultyStore):
    """Claims without a look at the session."""

    async def claim(self, wants: Sequence[Want], now: int) -> list[Claimed]:
        for number, want in enumerate(wants):
            (held,) = await self.get(Session, [want.session])
            if held is None or not held.record.open:
                ghost = Session(f"ghost-{number}-{len(self.calls)}", "", "", 0, (), (), ())
                await self.commit([Group((Change(None, ghost),))])
                wants = [*wants[:number], want._replace(session=ghost.id), *wants[number + 1 :]]
        return await super().claim(wants, now)


class ReusesAttempts(FaultyStore):
    """Numbers every attempt 1."""

    async def claim(self, wants: Sequence[Want], now: int) -> list[Claimed]:
        answers = await super().claim(wants, now)
        return [one._replace(runs=tuple([await self.first(was) for was in one.runs])) for one in answers]

    async def first(self, was: Versioned[Run]) -> Versioned[Run]:
        await self.commit([Group((Change(was, was.record._replace(attempt=1)),))])
        (held,) = await self.get(Run, [was.record.id])
        assert held is not None
        return held


class ClaimsInTwoSteps(IgnoresVersions):
    """Reads what is ready, then takes it by id. All claimers read before the first one takes."""

    gate = threading.Barrier(2)

    async def claim(self, wants: Sequence[Want], now: int) -> list[Claimed]:
        (want,) = wants
        page = await self.find(Run, Where(states=(State.PENDING,)), limit=want.limit, oldest=True)
        try:
            self.gate.wait(0.2)
        except threading.BrokenBarrierError:
            self.gate.reset()
        taken = [advance(item.record, Claim(want.session, want.worker, want.token), now) for item in page.items]
        await self.commit([Group((Change(was, run),)) for was, run in zip(page.items, taken, strict=True)])
        return [Claimed(tuple(Versioned(run, 0) for run in taken), False, True)]


class KeepsTheNumber(FaultyStore):
    """Grants every term under the same number."""

    async def lead(self, name: str, holder: str, ttl_ms: int) -> Lead:
        return (await super().lead(name, holder, ttl_ms))._replace(number=1)


class MakesEveryoneLeader(FaultyStore):
    """Answers the asker's own values (the upsert that tells each contender that it won)."""

    async def lead(self, name: str, holder: str, ttl_ms: int) -> Lead:
        return (await super().lead(name, holder, ttl_ms))._replace(holder=holder, mine=True)


class SkipsAtPageEnds(FaultyStore):
    """Leaves out the last record of a page."""

    async def find(
        self, kind: type[R], where: Where = Where(), cursor: str = "", limit: int = 50, oldest: bool = False
    ) -> Page[R]:
        page = await super().find(kind, where, cursor, limit, oldest)
        return page._replace(items=page.items[:-1]) if page.cursor else page


class ForgetsWhatIsNext(FaultyStore):
    """Knows what is due, but not when to look again."""

    async def due(self, kind: type[R], now: int, limit: int) -> Due[R]:
        return (await super().due(kind, now, limit))._replace(next_at=None)


class CountsInFloats(FaultyStore):
    """Reads whole numbers as 64-bit floats."""

    async def get(self, kind: type[R], ids: Sequence[str]) -> list[Versioned[R] | None]:
        found: list[Any] = list(await super().get(kind, ids))
        for place, held in enumerate(found):
            if held and isinstance(held.record, Schedule):
                found[place] = held._replace(record=replace(held.record, fired=int(float(held.record.fired))))
        return found


class LosesTypes(FaultyStore):
    """Gives the text of an enum for the enum."""

    async def get(self, kind: type[R], ids: Sequence[str]) -> list[Versioned[R] | None]:
        found: list[Any] = list(await super().get(kind, ids))
        for place, held in enumerate(found):
            if held and isinstance(held.record, Task):
                plain: Any = str(held.record.owner)
                found[place] = held._replace(record=replace(held.record, owner=plain))
        return found


class Deaf:
    """An ear that no hint reaches."""

    def __init__(self, ear: Watch) -> None:
        self.ear = ear

    async def wait(self, seconds: float | None) -> Mapping[str, int]:
        await self.ear.wait(0)
        return {}

    def wake(self) -> None:
        self.ear.wake()

    def close(self) -> None:
        self.ear.close()


class LosesEveryHint(FaultyStore):
    """Passes no hint on."""

    def watch(self, topics: Sequence[str]) -> Watch:
        return Deaf(super().watch(topics))
