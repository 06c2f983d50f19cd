"""I5, I6, I22: whatever write of a story fails, before or after it happened, telling it again leads to the same end.

Every fault is enumerated: the story is told once undisturbed to count its writes, then once for each write and fault.
After a fault the process is a new one, without memory, and calls the interrupted verb again.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from rota.domain.errors import Unavailable, Unclear
from rota.domain.records import Blob, Tally, Unique
from rota.domain.retry import Retry
from rota.domain.run import End, Outcome, Run, State
from rota.domain.schedule import Overlap, Policy, Schedule, Skip
from rota.engine.admit import release, ripen
from rota.engine.claim import assigned
from rota.engine.control import cancel, trigger
from rota.engine.define import pause_schedule, resume_schedule
from rota.engine.prune import Retention, prune
from rota.engine.report import report
from rota.engine.submit import Order, submit
from rota.ports.desk import Assignment, Progress
from rota.ports.store import Claimed, Where
from rota.testing.faults import LOST_REPLY, NO_FAULT, REPEATED, UNAVAILABLE, Fault
from tests.unit.engine.support import FAILURE, MINUTE, House, opened

DAY = 86_400_000
LARGE = b"9".rjust(9_000)
RESULT = Outcome(End.SUCCESS, result=LARGE)

Step = Callable[[], Awaitable[object]]


class Story:
    """A house in which a story is told, step by step; a step that fails is told again by a new process."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.held: Assignment | None = None

    async def tell(self, step: Step) -> None:
        while True:
            try:
                await step()
                return
            except (Unavailable, Unclear):
                self.house.engine = self.house.another()

    async def claim(self) -> None:
        """One run; if the answer to the claim was lost, the next beat shows it to the worker."""
        if not (held := await self.found()):
            held = await self.house.claim(limit=1) or await self.found()
        (self.held,) = held

    async def found(self) -> Sequence[Assignment]:
        engine = self.house.engine
        page = await engine.store.find(Run, Where(session="session-1"))
        return (await assigned(engine, Claimed(page.items, False, True))).assignments

    async def report(self) -> None:
        assert self.held
        await report(self.house.engine, [Progress(self.held.run.fence, self.house.clock.now(), "half")], [])

    async def settle(self, outcome: Outcome) -> None:
        assert self.held
        assert await self.house.settle(self.held, outcome) != "stale"

    async def prune(self) -> None:
        while await prune(self.house.engine, Retention(), self.house.term, counting=True):
            pass


async def prepared(house: House) -> None:
    await house.task(retry=Retry(retries=2, delay_ms=50, jitter=0))
    await house.task(2, payload=LARGE)
    policy = Policy(overlap=Overlap.BUFFER_ALL)
    await house.schedule("task-2", "task-2", policy=policy)
    await house.session()


async def lifetime(story: Story) -> None:
    """A run submitted with keys fails once and then succeeds."""
    house, tell = story.house, story.tell
    order = Order("task-1", key="k", unique="u", payload=LARGE, actor="ann")
    await tell(lambda: submit(house.engine, [order]))
    await tell(lambda: submit(house.engine, [order]))
    await tell(story.claim)
    await tell(story.report)
    await tell(lambda: story.settle(FAILURE))
    house.clock.advance(50)
    await tell(lambda: ripen(house.engine, house.term))
    await tell(story.claim)
    await tell(lambda: story.settle(RESULT))
    house.clock.advance(8 * DAY)
    await tell(lambda: submit(house.engine, [order._replace(key="later")]))


async def buffered(story: Story) -> None:
    """Occurrences wait for each other, one is cancelled, one triggered among them; a pause; what is old goes."""
    house, tell = story.house, story.tell
    for _ in range(3):
        house.clock.advance(MINUTE)
        await tell(house.fire)
    blocked = (await house.all(Run))[1]
    await tell(lambda: cancel(house.engine, blocked.id, "ann"))
    await tell(lambda: trigger(house.engine, Order("task-2", key="k"), "ann", overlap=True))
    for _ in range(3):
        await tell(story.claim)
        await tell(lambda: story.settle(RESULT))
        await tell(lambda: release(house.engine, house.term))
    await tell(lambda: pause_schedule(house.engine, "main/task-2", "why", "ann"))
    house.clock.advance(8 * DAY)
    await tell(lambda: resume_schedule(house.engine, "main/task-2", "ann"))
    await tell(story.prune)
    house.clock.advance(MINUTE)
    await tell(house.fire)


def named(runs: list[Run]) -> dict[str, str]:
    """What tells runs apart beside their ids, which chance draws."""
    return {run.id: f"{run.cause} {run.nominal_at or run.created_at}" for run in runs}


async def remains(house: House) -> dict[str, Any]:
    """All that is kept, without ids, tokens and versions."""
    runs = await house.all(Run)
    names = named(runs)
    schedules = await house.all(Schedule)
    return {
        "runs": sorted(
            run._replace(
                id=names[run.id],
                token=0,
                rank=0,
                detail=names.get(run.detail, run.detail),
                history=tuple(old._replace(token=0) for old in run.history),
            )
            for run in runs
        ),
        "open": [[names.get(run, "gone") for run in one.open] for one in schedules],
        "schedules": [(one.fired, one.skipped, one.cursor_at, one.next_at, one.accounted_from) for one in schedules],
        "keys": sorted((one.id, names.get(one.run, "gone"), one.body, one.until) for one in await house.all(Unique)),
        "blobs": sorted((names[one.id.partition("/")[0]], one.id[32:], one.data) for one in await house.all(Blob)),
        "tallies": sorted(await house.all(Tally)),
        "skips": sorted(await house.all(Skip)),
        "deeds": sorted({(actor, action) for actor, action, _ in await house.deeds()}),
    }


async def told(tale: Callable[[Story], Awaitable[None]], faults: dict[int, Fault]) -> tuple[dict[str, Any], int]:
    """What remains of a tale under faults by write, and how many writes it took."""
    async with opened() as house:
        await prepared(house)
        before = len(house.store.calls)
        house.store.plan = lambda call: faults.get(call.number - before, NO_FAULT)
        await tale(Story(house))
        writes = len(house.store.calls) - before
        house.store.plan = lambda _: NO_FAULT
        return await remains(house), writes


FAULTS = {
    "refused": (UNAVAILABLE,),
    "lost": (LOST_REPLY,),
    "lost twice": (LOST_REPLY, LOST_REPLY),
    "lost, then refused": (LOST_REPLY, UNAVAILABLE),
    "repeated": (REPEATED,),
}


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("tale", [lifetime, buffered])
async def test_every_write_may_fail_without_a_trace(tale, kind):
    undisturbed, writes = await told(tale, {})
    assert writes > 8
    for number in range(1, writes + 1):
        faults = {number + place: fault for place, fault in enumerate(FAULTS[kind])}
        remaining, _ = await told(tale, faults)
        assert remaining == undisturbed, f"write {number} {kind}"


async def test_the_tales_end_as_they_should():
    end, _ = await told(lifetime, {})
    assert [(run.state, run.tries, run.attempt) for run in end["runs"]] == [
        (State.SUCCESS, 2, 2),
        (State.PENDING, 0, 0),
    ]
    assert [(cell.outcome, cell.count) for cell in end["tallies"]] == [("success", 1)]
    end, _ = await told(buffered, {})
    assert [run.state for run in end["runs"]] == [State.PENDING]
    assert end["schedules"][0][:2] == (4, 8 * 1_440)
    assert sum(cell.count for cell in end["tallies"]) == 4
