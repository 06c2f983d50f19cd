"""Account: the house looks after itself. Is every occurrence of every schedule a run or a skip, once its instant is
past, and has every live attempt an open session? Anything else is a fault of Rota's, never of its users'.

The leader looks, a page of schedules a step, at what came since it looked last: a round costs reads by id in the number
of new occurrences, whatever the history holds. What a whole round found is one record, which doctor and stats read; its
age is the dead man's switch, for who does not look finds nothing.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

import msgspec

from rota.domain.errors import InvalidTrigger
from rota.domain.facts import Trouble
from rota.domain.ids import occurrence_id
from rota.domain.records import Blob
from rota.domain.run import Fence, Run
from rota.domain.schedule import Occurrence, Schedule, Skip
from rota.engine.engine import Engine, walk
from rota.engine.recover import vanished
from rota.ports.store import Change, Group, Term, Versioned, Where

REPORT = "account/report"
STEP = 200
"""Schedules of one step."""
EACH = 100
"""Occurrences of one schedule in one step; one that is further behind is looked at again by the next."""
ENOUGH = 100_000
"""After so many occurrences of all schedules a round follows up no backlog: that is for the next rounds."""
KEPT = 100
"""Missing occurrences that are remembered; a number that stands here means so many or more."""
STALE_MS = 150_000
"""A report older than this, or further behind, says that nobody looks."""


class Report(NamedTuple):
    """What the last whole round found."""

    at: int
    until: int
    """Every occurrence up to this instant was looked for."""
    schedules: int = 0
    occurrences: int = 0
    """Looked for in this round."""
    missing: tuple[Occurrence, ...] = ()
    """Neither run nor skipped, in earlier rounds too; at most KEPT."""
    orphans: tuple[Fence, ...] = ()
    """Attempts that had no open session in this round and the one before."""

    @property
    def unaccounted(self) -> int:
        """What nobody answers for; anything but 0 is a fault of Rota's."""
        return len(self.missing) + len(self.orphans)

    @property
    def examples(self) -> str:
        """The first few, for people."""
        found = [f"{one.schedule} at {one.nominal_at}" for one in self.missing[:3]]
        return ", ".join(found + [f"attempt {one.attempt} of run {one.run}" for one in self.orphans[:3]])

    def said(self, now: int) -> int | None:
        """`unaccounted`; None where nobody has looked lately, or what there was to see by then is not all looked at."""
        looked = abs(now - self.at) < STALE_MS and (self.unaccounted or self.until > self.at - STALE_MS)
        return self.unaccounted if looked else None


async def report(engine: Engine) -> Report | None:
    """The newest report; None before the first round."""
    held = (await engine.store.get(Blob, [REPORT]))[0]
    return msgspec.json.decode(held.record.data, type=Report) if held else None


class Accountant:
    """Looks during one term; a new term, or one who met an error, begins anew where the last report ends."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._last: Report | None = None
        self._now = Report(0, 0)
        self._cursor: str | None = None
        """Behind which page of schedules to look; None: a round is to begin."""
        self._before: dict[str, tuple[int, int]] = {}
        self._seen: dict[str, tuple[int, int]] = {}
        """By schedule: its revision, and up to which instant it was looked at; `_before`: in the last round."""
        self._suspects: frozenset[Fence] = frozenset()

    async def look(self, term: Term) -> bool:
        """One step; True once the round is complete and reported."""
        if self._cursor is None:
            self._last = self._last or await report(self._engine) or Report(0, 0)
            self._now = Report(0, self._engine.clock.now(), missing=self._last.missing)
            self._cursor, self._before, self._seen = "", self._seen, {}
        page = await self._engine.store.find(Schedule, Where(), self._cursor, STEP)
        moments = {one.record.id: self._moments(one.record) for one in page.items}
        wanted = [Occurrence(name, moment) for name, found in moments.items() for moment in found]
        self._now = self._now._replace(
            occurrences=self._now.occurrences + len(wanted),
            missing=(*self._now.missing, *await self._lacking(wanted)),
        )
        if self._now.occurrences < ENOUGH and EACH in map(len, moments.values()):
            return False
        self._now = self._now._replace(
            schedules=self._now.schedules + len(page.items),
            until=min([self._now.until, *(self._until(one.record) for one in page.items)]),
        )
        self._cursor = page.cursor or None
        if not page.cursor:
            await self._report(term)
        return not page.cursor

    def _moments(self, schedule: Schedule) -> list[int]:
        """Its occurrences that are to be looked for now, oldest first."""
        known = self._seen.get(schedule.id) or self._before.get(schedule.id)
        revision, start = known or (0, self._last.until if self._last else 0)
        if revision != schedule.revision:
            start = max(start, schedule.updated_at)  # what came before may have had another trigger
        start = max(start, schedule.accounted_from)
        moments: list[int] = []
        with suppress(InvalidTrigger):  # its zone is unknown here: followed up by who knows it
            while start < schedule.cursor_at and len(moments) < EACH:
                moment = schedule.trigger.after(start)
                start = schedule.cursor_at if moment is None else min(moment, schedule.cursor_at)
                moments += [moment] if moment == start else []
        self._seen[schedule.id] = schedule.revision, start
        return moments

    def _until(self, schedule: Schedule) -> int:
        """Up to which instant its occurrences are looked for."""
        if schedule.next_at is None:
            return self._now.until
        _, looked = self._seen[schedule.id]
        return schedule.next_at - 1 if looked >= schedule.cursor_at and not schedule.stuck else looked

    async def _lacking(self, wanted: Iterable[Occurrence]) -> tuple[Occurrence, ...]:
        """Those of `wanted` that are neither run nor skipped, and that their schedule still answers for."""
        ids = {occurrence_id(*one): one for one in wanted}
        runs = await self._engine.store.get(Run, list(ids))
        lacking = [one for one, run in zip(ids.values(), runs, strict=True) if run is None]
        # Read after the runs: prune raises `accounted_from` before it takes any.
        names = list({one.schedule for one in lacking})
        schedules = [held.record for held in await self._engine.store.get(Schedule, names) if held]
        missing = []
        for schedule in schedules:
            mine = [one for one in lacking if one.schedule == schedule.id and one.nominal_at > schedule.accounted_from]
            skips = await self._skips(schedule, mine[0].nominal_at) if mine else []
            missing += [one for one in mine if not any(skip.first_at <= one[1] <= skip.last_at for skip in skips)]
        return tuple(missing)

    async def _skips(self, schedule: Schedule, since: int) -> list[Skip]:
        """Its ranges that may reach beyond `since`: newest first and disjoint, so down to one that begins before."""
        found = [schedule.skip] if schedule.skip else []
        async for one, _ in walk(self._engine, Skip, Where(schedule=schedule.id)):
            found.append(one)
            if one.first_at <= since:
                break
        return found

    async def _report(self, term: Term) -> None:
        names = sorted(await vanished(self._engine))[:KEPT]
        pages = [await self._engine.store.find(Run, Where(session=name)) for name in names]
        suspects = frozenset(run.record.fence for page in pages for run in page.items)
        self._last = self._now._replace(
            at=self._engine.clock.now(),
            missing=(await self._lacking(self._now.missing))[:KEPT],
            orphans=tuple(sorted(suspects & self._suspects)),
        )
        self._suspects = suspects
        blob = Blob(REPORT, msgspec.json.encode(self._last), self._last.at)
        before: list[Versioned[Blob] | None] = await self._engine.store.get(Blob, [REPORT])
        await self._engine.commit_one(Group((Change(before[0], blob),)), term)
        if found := self._last.unaccounted:
            text = f"unaccounted: {found}: {self._last.examples}; this is a fault of Rota's, please report it"
            self._engine.tell(Trouble("account", AssertionError(text)))
