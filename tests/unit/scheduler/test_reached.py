"""Workers at a URL are posted to, and whoever hands back what it is given rests."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from rota.domain.lane import lanes
from rota.domain.records import Session
from rota.domain.run import End, Outcome, Run
from rota.engine.report import report
from rota.engine.sessions import enter
from rota.ports.desk import Progress
from rota.ports.store import Versioned
from rota.scheduler.dispatch import LATE_MS, REST_MS, Dispatcher
from tests.unit.scheduler.test_dispatch import Yard, yard

__all__ = ["yard"]


class Posts:
    """What is posted, and whether it is taken."""

    def __init__(self) -> None:
        self.got: list[tuple[str, list[str]]] = []
        self.takes = True

    def __call__(self, session: Session, runs: Sequence[Versioned[Run]]) -> bool:
        self.got.append((session.id, [one.record.id for one in runs]))
        return self.takes


async def reached(yard: Yard, name: str, pid: int = 7, address: str = "http://w") -> None:
    at = yard.court.clock.now()
    session = Session(name, name, "", pid, lanes(["main"], ["default"], ["python"]), ("default",), ("python",))
    await enter(yard.engine, replace(session, opened_at=at, address=address))
    await yard.engine.store.beat([name])


async def hints_of(yard: Yard, name: str) -> tuple[Counter[str], dict[str, int]]:
    ear = yard.engine.store.watch([f"session:{name}"])
    held = await yard.place()
    heard = await ear.wait(0.01)
    ear.close()
    return held, dict(heard)


async def test_runs_of_workers_at_a_url_are_posted_and_nobody_is_hinted_at(yard: Yard):
    posts = Posts()
    yard.dispatcher = Dispatcher(yard.engine, posts)
    await yard.begin("round_robin")
    await reached(yard, "a")
    await yard.worker("b", 10)
    runs = await yard.submit(4)
    held, heard = await hints_of(yard, "a")
    assert (held, heard) == ({"a": 2, "b": 2}, {})
    ((session, posted),) = posts.got
    assert (session, len(posted)) == ("a", 2)
    assert {*posted} < {*runs}
    posts.takes = False
    await yard.submit(2)
    assert (await hints_of(yard, "a"))[1] == {"session:a": 1}, "what cannot be posted is hinted at"


async def test_what_a_worker_that_cannot_ask_has_not_begun_is_posted_again(yard: Yard):
    """Its leader may have been killed before it posted."""
    await yard.begin("round_robin")
    for name, pid in (("ours", 7), ("theirs", 0)):
        await reached(yard, name, pid)
    await yard.submit(4)
    await yard.place()
    began, waits = [run for run in await yard.running() if run.session == "theirs"]
    await report(yard.engine, [Progress(began.fence, yard.court.clock.now(), "")], [])
    posts = Posts()
    yard.dispatcher = Dispatcher(yard.engine, posts)
    await yard.place()
    assert posts.got == []
    yard.court.clock.advance(LATE_MS)
    await yard.place()
    assert posts.got == [("theirs", [waits.id])]
    await yard.place()
    assert len(posts.got) == 1
    yard.court.clock.advance(LATE_MS)
    yard.court.clock.jump(-3_600_000)
    await yard.place()
    assert len(posts.got) == 2, "the wall clock was set back"


@pytest.mark.parametrize("ahead_ms", [0, -3_600_000, 3_600_000])
async def test_who_hands_back_rests_longer_each_time_and_is_whole_again_by_one_run(yard: Yard, ahead_ms: int):
    """However far its clock, by which what it hands back has ended, is from the leader's."""
    await yard.begin("round_robin")
    settle = yard.finish

    async def finish(runs: Sequence[Run], outcome: Outcome) -> None:
        yard.court.clock.jump(ahead_ms)
        await settle(runs, outcome)
        yard.court.clock.jump(-ahead_ms)

    await yard.worker("a", 10)
    await yard.submit(3)
    back, rest = Outcome(End.RETURNED, reason="it was not delivered"), REST_MS
    assert await yard.place() == {"a": 3}
    await finish(await yard.running(), back)
    # It is known as they are placed again.
    assert await yard.place() == {"a": 3}
    await finish(await yard.running(), back)
    assert await yard.place() == {}
    for _ in range(2):
        yard.court.clock.advance(rest - 1)
        await yard.engine.store.beat(["a"])
        assert await yard.place() == {}
        yard.court.clock.advance(1)
        assert await yard.place() == {"a": 1}
        await finish(await yard.running(), back)
        assert await yard.place() == {}
        rest *= 2
    yard.court.clock.advance(rest)
    await yard.engine.store.beat(["a"])
    assert await yard.place() == {"a": 1}
    (probe,) = await yard.running()
    await report(yard.engine, [Progress(probe.fence, yard.court.clock.now(), "")], [])
    assert await yard.place() == {"a": 3}


async def test_nobody_rests_for_a_run_that_was_given_to_others_since(yard: Yard):
    await yard.begin("round_robin")
    await yard.worker("a", 10)
    await yard.submit(1)
    assert await yard.place() == {"a": 1}
    await yard.finish(await yard.running(), Outcome(End.RETURNED, reason="it was not delivered"))
    assert await yard.place() == {"a": 1}
    await yard.finish(await yard.running(), Outcome(End.LOST, reason="its worker vanished"))
    yard.dispatcher = Dispatcher(yard.engine)  # of another leader, who knows of no rest
    assert await yard.place() == {"a": 1}
    await yard.submit(2)
    assert await yard.place() == {"a": 3}


async def test_whoever_is_behind_a_broker_is_told_by_a_hint(yard: Yard):
    posts = Posts()
    yard.dispatcher = Dispatcher(yard.engine, posts)
    await yard.begin("round_robin")
    await reached(yard, "a", address="rabbitmq")
    await yard.submit(2)
    assert await hints_of(yard, "a") == ({"a": 2}, {"session:a": 2})
    assert posts.got == []
