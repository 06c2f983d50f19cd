"""What every verb works with: the store and logs, time and chance, and the two small memories."""

from collections.abc import AsyncIterator, Iterable, Sequence
from copy import copy
from math import inf
from typing import Any

from rota.domain.errors import NotFound, Unavailable, Unclear
from rota.domain.facts import Fact
from rota.domain.ids import definition_id, timed_id
from rota.domain.records import PULL, Audit, Queue
from rota.domain.retry import Defaults
from rota.domain.run import Run
from rota.domain.task import Revision, Task, revision_id
from rota.ports.executor import Forms
from rota.ports.runtime import Chance, Clock, Emit
from rota.ports.store import ALREADY, Conflict, Group, Guard, Hint, R, Result, Store, Versioned, Where

MEMORY_MS = 1_000
"""How long a task or queue read is believed by submit; their own changes in this process are seen at once."""
PLACED_MS = 3_000
"""How long it is believed which queues are placed: somebody who takes a run by himself meanwhile is right, too."""
REMEMBERED = 10_000
BATCH = 1_000
"""Groups in one commit."""
PAGE = 500

Memory = dict[str, tuple[int, Any]]
"""Records by id, and when (monotonic ms) each was read."""


class Engine:
    """The hands of all verbs. Cheap to make; several may share a store."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        chance: Chance,
        emit: Emit | None = None,
        forms: Forms | None = None,
    ) -> None:
        """`forms`: what is checked of a task by its kind; none where the kinds are not known."""
        self.store = store
        self.logs = store.logs
        self.clock = clock
        self.chance = chance
        self.emit = emit
        self.forms = forms or {}
        self.defaults = Defaults()
        """What new tasks get where nobody says otherwise; settings may change it."""
        self._revisions: Memory = {}
        self._heads: Memory = {}
        self._queues: Memory = {}
        self._placed: tuple[float, dict[str, Queue]] = (-inf, {})
        self._changes = 0

    def over(self, store: Store) -> "Engine":
        """The same over a store of which others know nothing yet: its reads are not remembered, its facts not told."""
        other = copy(self)
        other.store, other.emit = store, None
        other._heads, other._queues = dict(self._heads), dict(self._queues)
        return other

    def tell(self, fact: Fact) -> None:
        """Tell whoever listens."""
        if self.emit:
            self.emit(fact)

    def new_id(self, now: int) -> str:
        """A fresh sortable id."""
        return timed_id(now, self.chance.bits(80))

    def new_ids(self, now: int, count: int) -> list[str]:
        """Fresh ids that sort in their order, so that runs of one submission go first in, first out."""
        first = self.chance.bits(79)
        return [timed_id(now, first + number) for number in range(count)]

    async def commit(self, groups: Sequence[Group], guard: Guard = None, hints: Sequence[Hint] = ()) -> list[Result]:
        """Commit, and resend once what got no answer: the store then says `already` of what had happened.

        `Unavailable` means that nothing happened, however many parts there are.
        """
        results: list[Result] = []
        for start in range(0, len(groups), BATCH):
            part = groups[start : start + BATCH]
            told = hints if start + BATCH >= len(groups) else ()
            try:
                results += await self.store.commit(part, guard, told)
            except Unclear as unclear:
                try:
                    again = await self.store.commit(part, guard, told)
                except Unavailable:
                    # That nothing happened is true of the second try alone.
                    raise unclear from None
                results += [ALREADY if _is_there(*pair) else pair[1] for pair in zip(part, again, strict=True)]
            except Unavailable as error:
                if results:
                    raise Unclear(f"done: {len(results)} of {len(groups)} writes; the others not: {error}") from error
                raise
        return results

    async def commit_one(self, group: Group, guard: Guard = None, hints: Sequence[Hint] = ()) -> Result:
        """Commit a single group."""
        return (await self.commit([group], guard, hints))[0]

    async def tasks(self, ids: Iterable[str]) -> dict[str, Task]:
        """Tasks by id, at most MEMORY_MS old. Raises `NotFound` for the first that does not exist."""
        wanted = dict.fromkeys(ids)
        found = await self.existing(wanted)
        for name in wanted:
            if name not in found:
                raise NotFound("task", name, "see `rota tasks list`")
        return found

    async def existing(self, ids: Iterable[str]) -> dict[str, Task]:
        """As `tasks`, without those that do not exist."""
        found = await self.remembered(Task, self._heads, ids)
        return {name: task for name, task in found.items() if task is not None}

    async def queues(self, ids: Iterable[str]) -> dict[str, Queue]:
        """Queues by id, defaults for those without a record; at most MEMORY_MS old."""
        found = await self.remembered(Queue, self._queues, ids)
        return {name: queue or Queue(name.partition("/")[0], name.partition("/")[2]) for name, queue in found.items()}

    async def placed(self) -> dict[str, Queue]:
        """Queues by id of which the leader places the runs; read at most every PLACED_MS."""
        now = self.clock.monotonic()
        if self._placed[0] + PLACED_MS <= now:
            self._placed, changes = (now, self._placed[1]), self._changes  # others who ask meanwhile make do with that
            found = [held.record for held in await every(self, Queue) if held.record.dispatch != PULL]
            self._placed = now if changes == self._changes else -inf, {queue.id: queue for queue in found}
        return self._placed[1]

    async def remembered(
        self, kind: Any, memory: Memory, ids: Iterable[str], believed_ms: float = MEMORY_MS
    ) -> dict[str, Any]:
        """Records by id, None where there is none, from a memory that is so old at most, else read into it."""
        now, wanted = self.clock.monotonic(), dict.fromkeys(ids)
        # Taken before the read: others may forget or clear meanwhile.
        known = {name: memory[name][1] for name in wanted if name in memory and memory[name][0] + believed_ms >= now}
        if missing := [name for name in wanted if name not in known]:
            if len(memory) > REMEMBERED:
                memory.clear()
            changes = self._changes
            for name, found in zip(missing, await self.store.get(kind, missing), strict=True):
                known[name] = found.record if found else None
                # What was read during a change may be the old one. A task that is not there may come at any moment; a
                # queue without a record is one with defaults.
                if (found or kind is Queue) and changes == self._changes:
                    memory[name] = (now, known[name])
        return known

    def forget(self, name: str) -> None:
        """This task or queue has just changed."""
        self._changes += 1
        self._heads.pop(name, None)
        self._queues.pop(name, None)
        self._placed = (-inf, self._placed[1])

    async def revisions(self, wanted: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Task]:
        """Tasks as runs named them, those that are there. Revisions never change: what is known needs no look."""
        keys = {revision_id(*key): key for key in wanted}
        found = await self.remembered(Revision, self._revisions, keys, inf)
        return {keys[name]: revision.task for name, revision in found.items() if revision}


def revision_of(run: Run) -> tuple[str, int]:
    """What a run names: its task's id, and the revision."""
    return definition_id(run.namespace, run.task), run.revision


def _is_there(group: Group, result: Result) -> bool:
    """Whether what a group adds to the audit is there: then others have built on it since."""
    held = result.current if isinstance(result, Conflict) else ()
    pairs = zip(group.changes, held, strict=False)
    return any(one and change.was is None and isinstance(change.now, Audit) for change, one in pairs)


def applied(result: Result) -> bool:
    """Whether a group is in the store, by this try or an earlier one."""
    return not isinstance(result, Conflict)


async def read(engine: Engine, kind: type[R], name: str, word: str) -> Versioned[R]:
    """One record or `NotFound`."""
    found = (await engine.store.get(kind, [name]))[0]
    if found is None:
        raise NotFound(word, name, f"see `rota {word}s list`")
    return found


async def walk(
    engine: Engine, kind: type[R], where: Where = Where(), oldest: bool = False, size: int = PAGE
) -> AsyncIterator[Versioned[R]]:
    """Each record of a listing, of which no more than a page is held at once."""
    cursor = ""
    while True:
        page = await engine.store.find(kind, where, cursor, size, oldest)
        for held in page.items:
            yield held
        cursor = page.cursor
        if not cursor:
            return


async def every(engine: Engine, kind: type[R], where: Where = Where(), oldest: bool = False) -> list[Versioned[R]]:
    """All records of a listing."""
    return [held async for held in walk(engine, kind, where, oldest)]
