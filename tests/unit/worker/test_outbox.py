"""Every outcome is kept and sent again until it is confirmed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from rota.domain.errors import Invalid, Unavailable, Unclear
from rota.domain.facts import Trouble
from rota.domain.run import SUCCESS, End, Reason, State
from rota.ports.desk import Settlement
from rota.ports.loops import end
from rota.testing.factories import make_run
from rota.testing.faults import LOST_REPLY, REPEATED, UNAVAILABLE, seeded
from rota.testing.recorder import Recorder
from rota.worker.outbox import BATCH, Outbox
from tests.unit.worker.support import PATIENCE, Bell, House, once


def settlement(number: int) -> Settlement:
    return Settlement(make_run(number).fence, SUCCESS)


class Post:
    """Where an outbox of a test sends to, and its plans for trouble."""

    def __init__(self) -> None:
        self.bell = Bell()
        self.tries: list[list[Settlement]] = []
        self.arrived: list[Settlement] = []
        self.errors: list[Exception] = []
        self.poison: list[Settlement] = []
        self.refused: list[Settlement] = []
        self.before: Callable[[], Awaitable[object]] | None = None
        self.facts = Recorder()
        self.outbox = Outbox(self.send, self.facts)

    async def send(self, batch: list[Settlement]) -> None:
        self.tries.append(batch)
        self.bell.ring()
        if self.before:
            await self.before()
        if self.errors:
            raise self.errors.pop(0)
        if any(item in batch for item in self.poison):
            raise TypeError("nobody can send this")
        if any(item in batch for item in self.refused):
            raise Invalid("settlements[0].result", "key 'a' stands twice in one object")
        self.arrived += batch
        self.bell.ring()

    def put(self, *numbers: int) -> list[Settlement]:
        made = [settlement(number) for number in numbers]
        for one in made:
            self.outbox.put(one)
        return made


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    made = Post()
    running = asyncio.create_task(made.outbox.run())
    async with asyncio.timeout(PATIENCE):
        yield made
    await end(running)


async def test_a_lone_outcome_is_sent_at_once(post: Post):
    one = post.put(1)
    await post.outbox.empty()
    assert post.tries == [one]
    assert len(post.outbox) == 0


async def test_what_comes_meanwhile_goes_with_the_next_flush(post: Post):
    confirm = asyncio.Event()
    post.before = confirm.wait
    first = post.put(1)
    await post.bell.until(lambda: post.tries)
    rest = [*post.put(2), *post.put(3, 4), *post.put(5)]
    assert len(post.outbox) == 5
    confirm.set()
    await post.outbox.empty()
    assert post.tries == [first, rest]


async def test_order_is_kept_and_batches_are_bounded(post: Post):
    sent = post.put(*range(2 * BATCH + 1))
    await post.outbox.empty()
    assert [len(batch) for batch in post.tries] == [BATCH, BATCH, 1]
    assert post.arrived == sent


@pytest.mark.parametrize("error", [Unclear("lost"), Unavailable("down"), RuntimeError("a bug")])
async def test_it_is_sent_again_unchanged_until_it_arrives(post: Post, error):
    post.errors = [error] * 3
    one = post.put(1)
    await post.outbox.empty()
    assert post.tries == [one] * 4
    assert len(post.facts.facts) == 3


@pytest.mark.parametrize("error", [Unclear("lost"), Unavailable("down")])
async def test_a_failure_keeps_the_order_and_takes_the_late_ones_along(post: Post, error):
    confirm = asyncio.Event()
    post.before, post.errors = confirm.wait, [error]
    first = post.put(1, 2)
    await post.bell.until(lambda: post.tries)
    late = post.put(3)
    confirm.set()
    await post.outbox.empty()
    assert post.arrived == [*first, *late]


async def test_an_outcome_under_way_is_known_until_it_is_confirmed(post: Post):
    confirm = asyncio.Event()
    post.before, post.errors = confirm.wait, [Unavailable("down")]
    one = post.put(1)[0]
    await post.bell.until(lambda: post.tries)
    assert post.outbox.fences() == {one.fence}
    confirm.set()
    await post.facts.next(Trouble)
    assert post.outbox.fences() == {one.fence}
    await post.outbox.empty()
    assert post.outbox.fences() == set()


async def test_empty_waits_for_what_comes_during_the_last_flush(post: Post):
    confirm = asyncio.Event()
    post.before = confirm.wait
    post.put(1)
    await post.bell.until(lambda: post.tries)
    waiting = asyncio.create_task(post.outbox.empty())
    post.put(2)
    confirm.set()
    await waiting
    assert len(post.arrived) == 2


async def test_one_that_nobody_can_send_does_not_hold_up_the_others(post: Post):
    sent = [settlement(number) for number in range(8)]
    post.poison = [sent[3]]
    for one in sent:
        post.outbox.put(one)
    await post.bell.until(lambda: len(post.arrived) == 7)
    assert len(post.outbox) == 1
    post.poison = []
    await post.outbox.empty()
    assert set(post.arrived) == set(sent)


async def test_once_it_is_found_the_others_go_in_whole_batches_again(post: Post):
    post.refused = [settlement(3)]
    post.put(1, 2, 3, 4)
    await post.outbox.empty()
    made = post.put(*range(10, 20))
    await post.outbox.empty()
    assert post.tries[-1] == made


async def test_one_that_is_refused_as_such_ends_as_a_failure_that_says_so(post: Post):
    sent = [settlement(number) for number in range(8)]
    post.refused = [sent[3]]
    for one in sent:
        post.outbox.put(one)
    await post.outbox.empty()
    ends = {one.fence: one.outcome for one in post.arrived}
    said = ends.pop(sent[3].fence)
    assert (said.end, said.reason, said.final) == (End.FAILURE, Reason.UNSTORABLE, True)
    assert said.error == "settlements[0].result: key 'a' stands twice in one object"
    assert set(ends.values()) == {SUCCESS}


async def quick(number: int) -> int:
    return number


async def test_nothing_is_lost_while_the_store_is_down(house: House, gate):
    async def gated(number: int) -> int:
        await gate()
        return number

    await house.task(gated)
    runs = [await house.submit("gated", payload=b'{"number": %d}' % number) for number in range(8)]
    worker = await house.worker(beat_ms=50)
    await gate.holds(8)
    house.store.down = True
    gate.open()
    await house.until(lambda: len(house.troubles("settle")) >= 3)
    assert worker.running == 0
    house.store.down = False
    ended = await house.all_settled(runs)
    assert [(run.state, run.result, run.attempt) for run in ended] == [
        (State.SUCCESS, b"%d" % number, 1) for number in range(8)
    ]


@pytest.mark.parametrize("fault", [LOST_REPLY, UNAVAILABLE, REPEATED])
async def test_a_settle_that_meets_a_fault_counts_once(house: House, fault):
    """Twice, so that the engine's own resend meets it as well."""
    await house.task(quick)
    worker = await house.worker()
    await house.idle(worker)
    run_id = await house.submit("quick", payload=b'{"number": 1}')
    house.store.plan = once("commit", fault, times=2)
    await house.until(lambda: house.desks[worker].of("settle"))
    await house.until(lambda: house.desks[worker].answers["settle"])
    run = await house.run(run_id)
    assert (run.state, run.tries, run.attempt) == (State.SUCCESS, 1, 1)
    assert not house.refused()


@pytest.mark.parametrize("seed", range(6))
async def test_all_runs_end_once_whatever_the_store_does(house: House, seed):
    """Lost replies, refusals and repeated calls at every fifth write (M14)."""
    counts: dict[int, int] = {}

    async def counted(number: int) -> int:
        counts[number] = counts.get(number, 0) + 1
        return number

    await house.task(counted)
    runs = [await house.submit("counted", payload=b'{"number": %d}' % number) for number in range(40)]
    await house.worker(slots=7, beat_ms=20, scan_ms=50)
    house.store.plan = seeded(seed, 0.2)
    ended = await house.all_ended(runs)
    assert {(run.state, run.tries, run.lost) for run in ended} == {(State.SUCCESS, 1, 0)}
    assert [run.result for run in ended] == [b"%d" % number for number in range(40)]
    assert set(counts.values()) == {1}
