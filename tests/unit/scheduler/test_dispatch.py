"""The leader places runs: as its strategy says, no more than there is room for, and never where they can't be done."""

from collections import Counter
from collections.abc import Sequence

import pytest

from rota.domain.errors import Stale
from rota.domain.facts import RunsClaimed
from rota.domain.lane import lanes
from rota.domain.records import Load, Session
from rota.domain.run import End, Outcome, Reason, Run, State
from rota.domain.task import Task
from rota.engine.claim import claim
from rota.engine.control import drain, pause_queue, place_queue, resume_queue
from rota.engine.define import create_task
from rota.engine.engine import PLACED_MS, every
from rota.engine.sessions import beat, enter
from rota.engine.settle import settle
from rota.engine.submit import Order, submit
from rota.ports.desk import Settlement
from rota.ports.store import Term, Want, Where
from rota.scheduler import dispatch
from rota.scheduler.dispatch import REST_MS, Dispatcher
from tests.unit.scheduler.support import LONG_MS, Court

DONE = Outcome(End.SUCCESS)


class Yard:
    """A leader and workers that only hold what they are given."""

    def __init__(self, court: Court) -> None:
        self.court = court
        self.engine = court.engine()
        self.dispatcher = Dispatcher(self.engine)
        self.term = Term("", 0)

    async def begin(self, strategy: str) -> None:
        self.term = Term("scheduler", (await self.engine.store.lead("scheduler", "me", LONG_MS)).number)
        await self.define(strategy)

    async def define(self, strategy: str) -> None:
        for name in ("job", "other"):
            await create_task(self.engine, Task("main", name), [], "me")
        await place_queue(self.engine, "main", "default", strategy, "me")

    async def worker(
        self, name: str, slots: int, labels: Sequence[str] = (), queues: tuple[str, ...] = ("default",)
    ) -> str:
        able = lanes(["main"], queues, ["python"], labels)
        at = self.court.clock.now()
        session = Session(name, name, "", 0, able, queues, ("python",), tuple(labels), slots, opened_at=at)
        await enter(self.engine, session)
        await self.engine.store.beat([name])
        return name

    async def submit(self, number: int, task: str = "job", **order: object) -> list[str]:
        found = await submit(self.engine, [Order(task, **order)] * number)  # type: ignore[arg-type]  # fields of an order
        return [one.id for one in found]

    async def place(self) -> Counter[str]:
        """Until there is nothing more to do; how many runs each session holds."""
        for _ in range(50):
            if not await self.dispatcher.place(self.term):
                break
        else:
            raise AssertionError("it does not come to rest")
        return Counter([one.session for one in await self.running()])

    async def running(self) -> list[Run]:
        return [one.record for one in await every(self.engine, Run, Where(states=(State.RUNNING,)))]

    async def finish(self, runs: Sequence[Run], outcome: Outcome = DONE) -> None:
        await settle(self.engine, [Settlement(run.fence, outcome) for run in runs])


@pytest.fixture
def yard(court: Court) -> Yard:
    return Yard(court)


async def test_round_robin_shares_out_evenly_within_slots(yard: Yard):
    await yard.begin("round_robin")
    for name in ("a", "b", "c"):
        await yard.worker(name, 5)
    await yard.submit(6)
    assert await yard.place() == {"a": 2, "b": 2, "c": 2}
    await yard.submit(20)
    assert await yard.place() == {"a": 5, "b": 5, "c": 5}
    assert len(yard.court.facts.of(RunsClaimed)) == 2


async def test_what_ends_makes_room_for_more(yard: Yard):
    await yard.begin("least_load")
    await yard.worker("a", 2)
    await yard.submit(5)
    ended = 0
    while await yard.place():
        ended += len(await yard.running())
        await yard.finish(await yard.running())
    assert ended == 5


async def test_the_least_loaded_is_known_by_what_it_says(yard: Yard):
    await yard.begin("least_load")
    for name, busy_percent in (("a", 75), ("b", 0)):
        await yard.worker(name, 10)
        await beat(yard.engine, name, Load(0, 0, 0, 0, 50, busy_percent))
    await yard.submit(7)
    assert await yard.place() == {"b": 7}
    await yard.submit(4)
    assert await yard.place() == {"a": 3, "b": 8}


async def test_weights_are_honoured(yard: Yard):
    await yard.begin("weighted")
    await yard.worker("a", 50, ["weight:1"])
    await yard.worker("b", 50, ["weight:3"])
    await yard.submit(40)
    assert await yard.place() == {"a": 10, "b": 30}


async def test_a_task_stays_with_its_worker_while_that_has_room(yard: Yard):
    await yard.begin("consistent_hash")
    for name in ("a", "b", "c"):
        await yard.worker(name, 4)
    await yard.submit(3)
    (home,) = await yard.place()
    await yard.finish(await yard.running())
    await yard.submit(4)
    assert await yard.place() == {home: 4}
    await yard.submit(1)
    held = await yard.place()
    assert (held[home], held.total()) == (4, 5)


@pytest.mark.parametrize("strategy", ["round_robin", "consistent_hash"])
async def test_what_is_urgent_goes_first(yard: Yard, strategy):
    await yard.begin(strategy)
    await yard.worker("a", 1)
    await yard.submit(2, priority=0)
    urgent = await yard.submit(1, priority=3)
    await yard.place()
    assert [run.id for run in await yard.running()] == urgent


async def test_of_two_queues_the_more_urgent_runs_go_first(yard: Yard):
    """They share the slots of one worker; whichever is listed first."""
    await yard.begin("round_robin")
    await place_queue(yard.engine, "main", "a-first", "least_load", "me")
    await create_task(yard.engine, Task("main", "early", queue="a-first"), [], "me")
    await yard.worker("a", 2, queues=("a-first", "default"))
    await yard.submit(9, "early")
    urgent = await yard.submit(2, priority=3)
    await yard.place()
    assert sorted(run.id for run in await yard.running()) == sorted(urgent)


async def test_queues_by_hash_and_others_take_turns_at_what_room_there_is(yard: Yard):
    await yard.begin("consistent_hash")
    names = {"by-turns": "round_robin", "hashed": "consistent_hash", "too": "consistent_hash"}
    for name, strategy in names.items():
        await place_queue(yard.engine, "main", name, strategy, "me")
        await create_task(yard.engine, Task("main", f"in-{name}", queue=name), [], "me")
    await yard.worker("a", 1, queues=("default", *names))
    for task in ("job", *(f"in-{name}" for name in names)):
        await yard.submit(9, task)
    ended = []
    for _ in range(8):
        await yard.place()
        ended += [run.queue for run in await yard.running()]
        await yard.finish(await yard.running())
    assert Counter(ended) == dict.fromkeys(["default", *names], 2)


@pytest.mark.parametrize("strategy", ["round_robin", "consistent_hash"])
async def test_a_backlog_that_nobody_can_take_holds_up_nobody(yard: Yard, strategy):
    await yard.begin(strategy)
    await create_task(yard.engine, Task("main", "heavy", requires=("gpu",)), [], "me")
    await yard.submit(30, "heavy")
    await yard.worker("a", 2)
    await yard.submit(3)
    assert await yard.place() == {"a": 2}


async def test_a_backlog_of_one_lane_holds_up_no_other(yard: Yard):
    await yard.begin("round_robin")
    await create_task(yard.engine, Task("main", "heavy", requires=("gpu",)), [], "me")
    await yard.worker("gpu", 1, ["gpu"])
    await yard.submit(50, "heavy")
    assert await yard.place() == {"gpu": 1}
    await yard.worker("plain", 2)
    await yard.submit(2)
    assert await yard.place() == {"gpu": 1, "plain": 2}


@pytest.mark.parametrize("strategy", ["least_load", "round_robin", "weighted"])
async def test_whoever_lacks_the_handler_keeps_nothing_from_who_has_it(yard: Yard, strategy):
    await yard.begin(strategy)
    await yard.worker("a", 9)
    await yard.worker("b", 3)
    await yard.submit(3)
    for _ in range(5):
        await yard.place()
        lost = [run for run in await yard.running() if run.session == "a"]
        await yard.finish(lost, Outcome(End.RETURNED, reason=Reason.NO_HANDLER, error="no such function"))
    assert await yard.place() == {"b": 3}


async def test_whoever_is_asked_in_vain_does_not_end_the_step(yard: Yard):
    await yard.begin("least_load")
    await yard.worker("b", 9)
    await yard.submit(1, "other")
    await yard.place()
    await yard.worker("a", 9)
    await yard.submit(1)
    for _ in range(2):
        await yard.place()
        lost = [run for run in await yard.running() if run.session == "a"]
        await yard.finish(lost, Outcome(End.RETURNED, reason=Reason.NO_HANDLER, error="no such function"))
    assert await yard.place() == {"b": 2}


async def test_whoever_had_no_room_gets_nothing_for_a_moment(yard: Yard):
    """Its slots are held by what does not end, which only it knows."""
    await yard.begin("round_robin")
    await yard.worker("a", 5)
    await yard.submit(1)
    placed = 0
    while await yard.place() and placed < 9:
        placed += 1
        await yard.finish(await yard.running(), Outcome(End.RETURNED, reason="its worker had no room for it"))
    assert placed == 2
    yard.court.clock.advance(REST_MS)
    assert await yard.place() == {"a": 1}


async def test_labels_narrow_the_choice(yard: Yard):
    await yard.begin("round_robin")
    await create_task(yard.engine, Task("main", "heavy", requires=("gpu",)), [], "me")
    await yard.worker("plain", 9)
    await yard.worker("gpu", 9, ["gpu"])
    await yard.submit(4, "heavy")
    assert await yard.place() == {"gpu": 4}


async def test_paused_queues_and_workers_that_leave_or_are_silent_get_nothing(yard: Yard):
    await yard.begin("round_robin")
    for name in ("a", "b", "c"):
        await yard.worker(name, 5)
    await pause_queue(yard.engine, "main", "default", "", "me")
    await yard.submit(6)
    assert not await yard.place()
    await resume_queue(yard.engine, "main", "default", "me")
    await drain(yard.engine, "a", "me")
    assert (await yard.place()) == {"b": 3, "c": 3}
    await yard.finish(await yard.running())
    yard.court.clock.advance(6_000)
    await yard.engine.store.beat(["b"])
    await yard.submit(2)
    assert await yard.place() == {"b": 2}


async def test_a_new_leader_gives_nothing_to_who_was_silent_before_it_came(yard: Yard):
    await yard.begin("round_robin")
    for name in ("dead", "alive", "new"):
        await yard.worker(name, 5)
    yard.court.clock.advance(6_000)
    await yard.engine.store.beat(["alive"])
    yard.dispatcher = Dispatcher(yard.engine)
    await yard.submit(4)
    assert await yard.place() == {"alive": 4}
    yard.court.clock.advance(1_000)
    await yard.engine.store.beat(["alive", "dead", "new"])
    await yard.submit(3)
    assert await yard.place() == {"alive": 5, "dead": 1, "new": 1}


async def test_workers_take_nothing_of_a_placed_queue_by_themselves(yard: Yard):
    await yard.begin("round_robin")
    await yard.worker("a", 5)
    await yard.submit(1)
    want = Want("a", "a", 1, 5, lanes(["main"], ["default"], ["python"]))
    assert [len(one.assignments) for one in await claim(yard.engine, [want])] == [0]
    await place_queue(yard.engine, "main", "default", "pull", "me")
    assert [len(one.assignments) for one in await claim(yard.engine, [want])] == [1]


async def test_others_learn_of_a_new_strategy_within_seconds(yard: Yard):
    other = yard.court.engine()
    assert not await other.placed()
    await yard.begin("random")
    assert not await other.placed()
    yard.court.clock.advance(PLACED_MS + 1)
    assert {*await other.placed()} == {"main/default"}


async def test_a_task_is_not_given_again_to_who_lacks_its_handler(yard: Yard):
    await yard.begin("consistent_hash")
    await yard.worker("a", 5)
    await yard.submit(1)
    for _ in range(2):
        await yard.place()
        lacking = Outcome(End.RETURNED, reason=Reason.NO_HANDLER, error="no such function")
        await yard.finish(await yard.running(), lacking)
    assert not await yard.place()
    await yard.worker("b", 5)
    assert await yard.place() == {"b": 1}


async def test_many_that_nobody_can_be_given_hold_up_no_others(yard: Yard, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dispatch, "LOOK_LIMIT", 4)
    await yard.begin("consistent_hash")
    await create_task(yard.engine, Task("main", "drawn", requires=("gpu",)), [], "me")
    await yard.worker("a", 1)
    await yard.submit(11, "drawn")
    expected = await yard.submit(2)
    given = []
    for _ in range(8):
        await yard.place()
        given += await yard.running()
        await yard.finish(await yard.running())
    assert [run.id for run in given] == expected
    await yard.worker("b", 20, ["gpu"])
    assert await yard.place() == {"b": 11}


async def test_a_leader_that_was_deposed_is_told_so(yard: Yard):
    """What it claimed is somebody's by right all the same, who learns of it by its beats."""
    await yard.begin("round_robin")
    await yard.worker("a", 5)
    await yard.submit(1)
    yard.term = Term("scheduler", yard.term.number - 1)
    with pytest.raises(Stale):
        await yard.dispatcher.place(yard.term)
    assert [run.session for run in await yard.running()] == ["a"]


async def test_a_leading_node_places_at_a_hint(court: Court):
    yard = Yard(court)
    await yard.define("round_robin")
    await court.leading(await court.node())
    await yard.worker("a", 5)
    await yard.submit(3)
    await court.until(lambda: sum(len(fact.runs) for fact in court.facts.of(RunsClaimed)) == 3)
