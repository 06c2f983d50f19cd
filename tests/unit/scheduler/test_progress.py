"""A leader whose duty hangs gives its term up; one that is only slow, or whose store was away, keeps it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from rota.domain.schedule import Schedule
from rota.ports.loops import end
from rota.scheduler.duties import COUNT_MS, duties
from rota.scheduler.leader import Leader
from rota.scheduler.node import Scheduler
from rota.scheduler.options import Options
from rota.scheduler.progress import HUNG_MS, Progress
from rota.scheduler.progress import LOOKS as MANY
from rota.testing.faults import Fault
from tests.services.turns import breathe
from tests.unit.scheduler.support import TTL_MS, Court

RENEW_MS = 3_000
LOOKS = HUNG_MS // RENEW_MS + 2


class Hanging:
    """The store's `due` for schedules: each answer waits for `answer`."""

    def __init__(self, court: Court) -> None:
        self.answers: list[asyncio.Future[None]] = []
        due = court.store.due
        self.on = False

        async def late(kind: type, now: int, limit: int) -> Any:
            while self.on and kind is Schedule:
                self.answers.append(asyncio.get_running_loop().create_future())
                court.ring()
                await self.answers[-1]
            return await due(kind, now, limit)

        court.store.due = late  # type: ignore[method-assign]  # what hangs

    def answer(self) -> None:
        if not self.answers[-1].done():
            self.answers[-1].set_result(None)


@pytest.fixture
def hanging(court: Court) -> Hanging:
    return Hanging(court)


async def leader_and_standby(court: Court, hanging: Hanging, thread: bool = False) -> tuple[Scheduler, Scheduler]:
    first = await court.node("first", renew_ms=RENEW_MS, thread=thread)
    await court.leading(first)
    second = await court.node("second", renew_ms=RENEW_MS, thread=thread)
    await court.until(lambda: len(court.told()) == 2)
    hanging.on = True
    await court.hint("schedules")
    await court.until(lambda: hanging.answers)
    return first, second


async def renewals(court: Court, first: Scheduler, meanwhile: Callable[[], None] = lambda: None) -> None:
    """As many as it would take to find that a duty hangs; fewer where it resigns."""
    for _ in range(LOOKS):
        court.clock.advance(RENEW_MS)
        meanwhile()
        await court.hint("lead")
        await court.until(lambda: court.troubles("lead") or looked_now(court, first))
        if court.troubles("lead"):
            await court.until(lambda: not court.told()[-1][2] or "second" in court.told()[-1][0])
            return


def looked_now(court: Court, node: Scheduler) -> bool:
    return node.leader._looked_at == court.clock.monotonic()


@pytest.mark.parametrize("thread", [False, True])
async def test_whose_duty_hangs_resigns_and_who_stands_by_leads(court: Court, hanging: Hanging, thread: bool):
    first, second = await leader_and_standby(court, hanging, thread)
    hanging.on = False
    await renewals(court, first)
    assert await court.leading(second) == 2
    assert first.leader.term is None
    (why,) = court.troubles("lead")
    assert "duty fire has waited" in str(why)
    await court.until(lambda: court.troubles("fire"))
    assert [leading for holder, term, leading in court.told() if term == 1 and "first" in holder] == [
        True,
        False,
        False,
    ]


async def test_alone_it_leads_again_after_a_while_with_the_step_begun_anew(court: Court, hanging: Hanging):
    first, second = await leader_and_standby(court, hanging)
    await second.stop()
    await renewals(court, first)
    assert first.leader.term is None
    (hung,) = hanging.answers
    await court.until(hung.cancelled)
    hanging.on = False
    leads = court.leads
    await court.hint("lead")
    await breathe()
    assert (first.leader.term, court.leads - leads) == (None, 0), "it rests"
    court.clock.advance(TTL_MS)
    await court.hint("lead")
    assert await court.leading(first) == 2


async def test_a_long_step_whose_calls_are_answered_is_no_reason(court: Court, hanging: Hanging):
    first, _ = await leader_and_standby(court, hanging)
    await renewals(court, first, hanging.answer)
    await court.until(lambda: first.leader.term)
    assert first.leader.term
    assert first.leader.term.number == 1
    assert court.troubles("lead") == []
    hanging.on = False
    hanging.answer()


async def test_time_in_which_the_store_did_not_answer_the_renewal_either_does_not_count(court: Court, hanging: Hanging):
    first, second = await leader_and_standby(court, hanging)
    await second.stop()

    gone: list[int] = []

    def away() -> None:
        gone.append(2 * HUNG_MS)
        court.clock.advance(gone[-1])

    court.fail("lead", Fault("away", after=away))
    await court.hint("lead")
    # It may lead again by then.
    await court.until(lambda: bool(gone) and looked_now(court, first))
    await court.hint("lead")
    await court.leading(first)
    assert court.troubles("lead") == []
    assert not hanging.answers[0].done()
    hanging.on = False
    hanging.answer()


async def test_what_few_looks_found_waiting_does_not_hang_however_far_apart_they_were():
    progress, answer = Progress(), asyncio.get_running_loop().create_future()

    async def step() -> None:
        with progress.step("fire"):
            await answer

    task = asyncio.create_task(step())
    await breathe()
    assert [progress.look(HUNG_MS) for _ in range(MANY + 1)] == [""] * MANY + ["fire"]
    answer.set_result(None)
    await task


async def test_a_node_ends_whatever_hangs(court: Court, hanging: Hanging):
    first, second = await leader_and_standby(court, hanging)
    async with asyncio.timeout(5):
        await first.stop()
    assert await court.leading(second) == 2


async def hangs(progress: Progress, ended: list[BaseException]) -> None:
    try:
        with progress.step("fire"):
            await asyncio.Event().wait()
    except (asyncio.CancelledError, TimeoutError) as error:
        ended.append(error)
        raise


async def test_a_term_that_begins_anew_counts_anew(court: Court):
    leader = Leader("a", (TTL_MS, RENEW_MS), court.connect, court.clock, None, lambda: None)
    task = asyncio.create_task(hangs(leader.progress, []))
    await breathe()

    def hung(mine: bool, times: int) -> str:
        for _ in range(times):
            court.clock.advance(RENEW_MS)
            leader._tell("a", 1, mine)
        return leader._hung

    enough = HUNG_MS // RENEW_MS + 1
    assert [hung(True, enough - 1), hung(True, 1)] == ["", "fire"]
    assert hung(False, 1) == ""
    assert [hung(True, enough - 1), hung(True, 1)] == ["", "fire"]
    await end(task)


async def test_who_counts_a_long_history_is_given_longer(court: Court):
    progress = Progress()

    async def counts() -> None:
        with progress.step("prune", COUNT_MS):
            await asyncio.Event().wait()

    task = asyncio.create_task(counts())
    await breathe()
    looks, step_ms = COUNT_MS * MANY // HUNG_MS, HUNG_MS // MANY
    assert [progress.look(step_ms) for _ in range(looks + 1)] == [""] * looks + ["prune"]
    assert [
        (duty.name, duty.patience_ms) for duty in duties(court.engine(), Options()) if duty.patience_ms != HUNG_MS
    ] == [("prune", COUNT_MS)]
    await end(task)


async def test_who_may_wait_behind_one_that_counts_does_not_hang():
    progress, tasks = Progress(), []

    async def waits(name: str, patience_ms: int) -> None:
        with progress.step(name, patience_ms):
            await asyncio.Event().wait()

    def looks(number: int) -> list[str]:
        return [progress.look(HUNG_MS // MANY) for _ in range(number)]

    for name, patience_ms in (("fire", HUNG_MS), ("prune", COUNT_MS)):
        tasks.append(asyncio.create_task(waits(name, patience_ms)))
    await breathe()
    assert looks(MANY + 2) == [""] * (MANY + 2)
    await end(tasks.pop())
    assert looks(1) == ["fire"]
    tasks.append(asyncio.create_task(waits("prune", COUNT_MS)))
    await breathe()
    assert looks(1) == ["fire"], "it waited before that one did"
    await end(*tasks)


async def test_a_step_that_is_cut_ends_with_an_error_and_one_that_is_ended_with_its_node_just_ends():
    for ending, kind in ((False, TimeoutError), (True, asyncio.CancelledError)):
        progress, ended = Progress(), list[BaseException]()
        task = asyncio.create_task(hangs(progress, ended))
        await breathe()
        progress.cut("prune")
        progress.cut("fire")
        if ending:
            task.cancel()
        await asyncio.wait([task])
        assert [type(one) for one in ended] == [kind]
        progress.cut("fire")  # it is over
        assert progress.look(HUNG_MS) == ""


async def test_a_cut_that_came_to_nothing_leaves_the_next_one_a_cut():
    progress, ended = Progress(), list[BaseException]()

    async def swallows() -> None:
        with progress.step("fire"), suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await hangs(progress, ended)

    task = asyncio.create_task(swallows())
    for _ in range(2):
        await breathe()
        progress.cut("fire")
    await asyncio.wait([task])
    assert [type(one) for one in ended] == [TimeoutError]
