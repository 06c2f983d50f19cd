"""The desk over HTTP, against a served API: what it gives is what the desk beside the store gives, and no more."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rota.api.waiting import Waiting
from rota.domain.access import Grant
from rota.domain.errors import Barred, Incompatible, Invalid, RotaError, Unavailable
from rota.domain.facts import RunsClaimed, RunsSettled
from rota.domain.records import Load
from rota.domain.run import End, Outcome, State
from rota.domain.states import Verdict
from rota.engine import control, people
from rota.engine.sessions import loads
from rota.ports.desk import Assignment, Progress, Settlement, Taken
from rota.ports.executor import Context
from rota.ports.store import Line
from rota.testing.faults import LOST_REPLY, NO_FAULT
from rota.wiring.elsewhere import at_address, remote_worker
from rota.worker.desks import LocalDesk
from rota.worker.options import Options
from rota.worker.remote import DeskClock, Server, reached
from tests.remote.support import Site, certificate, done, ids, node, session, states, want
from tests.unit.engine.support import House


async def test_what_comes_over_the_wire_is_what_the_desk_beside_the_store_gives(at: Site, house: House):
    desk, beside, opened = await at.desk(), LocalDesk(house.engine), session()
    await desk.enter(opened)
    for number in range(2):
        await house.submit(payload=b'{"n": %d}' % number)
    taken = await desk.claim(want(opened))
    (one, other) = taken.assignments
    assert (taken.open, taken.contended, one.payload, other.payload) == (True, False, b'{"n": 0}', b'{"n": 1}')
    stored = await house.run(one.run.id)
    assert one.run == stored._replace(payload=None)
    assert one.task == replace(await house.get(type(one.task), one.task.id), payload=b"")
    assert await desk.held(opened.id) == [run._replace(payload=None) for run in await beside.held(opened.id)]
    given = await desk.given(opened.id, [other.run.id])
    assert given.assignments == (other,)
    assert [item.run.id for item in (await beside.given(opened.id, [other.run.id])).assignments] == [other.run.id]
    assert await desk.beat(opened.id) == await beside.beat(opened.id)
    line = Line(one.run.id, 1, house.clock.now(), "stdout", "", "half way")
    assert await desk.report([Progress(one.run.fence, house.clock.now(), "50 %")], [line]) == [Verdict.FRESH]
    assert (await house.run(one.run.id)).progress == "50 %"
    assert (await house.store.logs.read(one.run.id))[0] == [line]
    assert await desk.settle([done(one, result=b'{"a": "\\u00e4"}'), done(other)]) == [Verdict.FRESH] * 2
    assert (await house.run(one.run.id)).result == b'{"a": "\\u00e4"}'
    await desk.leave(opened.id, "drained")
    assert (await desk.claim(want(opened))).open is False
    assert (await desk.beat(opened.id)).open is False


async def test_what_a_worker_says_of_itself_is_kept_as_it_said_it_last(at: Site, house: House):
    desk, beside, opened = await at.desk(), LocalDesk(house.engine), session()
    await desk.enter(opened)
    assert await loads(house.engine, [opened.id]) == [None]
    for one, said in (
        (desk, Load(3, 1, 1, 250, 90, 5)),
        (beside, Load(4, 2, 1, 0, 91, 0)),
        (desk, Load(5, 3, 1, 9, 92, 100)),
    ):
        for _ in range(2):
            assert (await one.beat(opened.id, said)).open
        assert await loads(house.engine, [opened.id]) == [said]
    await desk.leave(opened.id, "drained")
    await desk.beat(opened.id, Load(9, 9, 9, 9, 9, 9))
    assert await loads(house.engine, [opened.id]) == [Load(5, 3, 1, 9, 92, 100)]


async def test_a_worker_whose_labels_change_claims_by_them_from_then_on_at_every_node(at: Site, house: House):
    async with node(house) as other:
        await house.task(2, requires=("gpu",))
        key, opened = await at.key(), session()
        desk, there = await at.desk(key), await at.desk(key, other)
        await desk.enter(opened)
        run = await house.submit("task-2")
        assert (await there.beat(opened.id)).labels == ()
        changed = await control.relabel(house.engine, opened.id, ["gpu"], "ann")
        for one in (desk, there):
            assert (await one.beat(opened.id)).labels == ("gpu",)
        assert ids(await there.claim(want(changed))) == [run.id]
        again = await house.submit("task-2")
        assert ids(await desk.claim(want(changed))) == [again.id]


async def test_a_claim_waits_for_work_and_a_beat_for_news(at: Site, house: House):
    desk, opened = await at.desk(), session()
    await desk.enter(opened)
    waiting = asyncio.create_task(desk.claim(want(opened)))
    await at.node.until(1)
    run = await house.submit()
    taken = await waiting
    assert ids(taken) == [run.id]
    await desk.listen([f"session:{opened.id}"]).wait(5.0)
    beat = asyncio.create_task(desk.beat(opened.id))
    await at.node.until(0, 1)
    await control.cancel(house.engine, run.id, "ann")
    assert (await beat).cancels == (run.id,)


async def test_all_who_wait_are_asked_for_in_one_call_and_no_more_are_woken_than_there_is_work_for(
    at: Site, house: House
):
    desk = await at.desk()
    opened = [session(number) for number in range(1, 9)]
    for one in opened:
        await desk.enter(one)
    waiting = {one.id: asyncio.create_task(desk.claim(want(one, limit=1))) for one in opened}
    await at.node.until(8)
    house.store.calls.clear()
    runs = [await house.submit() for _ in range(8)]
    found = [ids(one) for one in await asyncio.gather(*waiting.values())]
    assert sorted(name for one in found for name in one) == sorted(run.id for run in runs)
    assert len([call for call in house.store.calls if call.verb == "claim"]) <= 8


async def test_a_newer_claim_lets_the_older_one_of_its_session_go(at: Site, house: House):
    desk, opened = await at.desk(), session()
    await desk.enter(opened)
    ear = desk.listen(["lane:main/default/*"])
    waiting = asyncio.create_task(desk.claim(want(opened)))
    await at.node.until(1)
    ear.wake()
    assert ids(await waiting) == []


async def test_who_went_away_leaves_no_run_behind(at: Site, house: House):
    desk, opened = await at.desk(), session()
    await desk.enter(opened)
    waiting = asyncio.create_task(desk.claim(want(opened)))
    await at.node.until(1)
    waiting.cancel()
    await at.node.until(0)
    await house.submit()
    assert await states(house) == {State.PENDING}


async def test_what_was_claimed_for_somebody_who_has_gone_is_given_back_unburnt(
    at: Site, house: House, monkeypatch: pytest.MonkeyPatch
):
    desk, opened = await at.desk(), session()
    await desk.enter(opened)
    run, claim = await house.submit(), house.store.claim

    async def slow(*given: Any) -> Any:
        found = await claim(*given)
        waiting.cancel()
        await at.node.until(0)
        return found

    monkeypatch.setattr(house.store, "claim", slow)
    waiting = asyncio.create_task(desk.claim(want(opened)))
    await house.facts.next(RunsSettled)
    after = await house.run(run.id)
    assert (after.state, after.attempt, after.tries, after.lost) == (State.PENDING, 1, 0, 0)


async def test_what_its_worker_may_have_found_by_itself_meanwhile_is_not_given_back(
    at: Site, house: House, monkeypatch: pytest.MonkeyPatch
):
    """Who lost the answer to its claim asks what it holds, and begins that: it would be done twice."""
    desk, opened = await at.desk(), session()
    await desk.enter(opened)
    run, claim = await house.submit(), house.store.claim
    found_by_itself: list[Taken] = []

    async def slow(*given: Any) -> Any:
        monkeypatch.undo()
        found = await claim(*given)
        waiting.cancel()
        await at.node.until(0)
        house.clock.advance(1_000)
        found_by_itself.append(await desk.given(opened.id, [run.id]))
        return found

    monkeypatch.setattr(house.store, "claim", slow)
    waiting = asyncio.create_task(desk.claim(want(opened)))
    await house.facts.next(RunsClaimed)
    other = await house.submit()
    assert ids(await desk.claim(want(opened, 8))) == [other.id]
    assert [ids(one) for one in found_by_itself] == [[run.id]]
    assert await states(house) == {State.RUNNING}


async def test_who_has_its_answer_is_not_claimed_for_again(at: Site, house: House, monkeypatch: pytest.MonkeyPatch):
    """News that come in the same moment as the answer find it listed still."""
    desk, opened, claim = await at.desk(), session(), house.store.claim
    await desk.enter(opened)
    await house.submit()

    asked: list[Any] = []

    async def with_news(*given: Any) -> Any:
        asked.append(given)
        assert len(asked) < 4, "it is claimed for again and again"
        found = await claim(*given)
        if len(asked) == 1:
            await house.submit()
        return found

    monkeypatch.setattr(house.store, "claim", with_news)
    (one,) = (await desk.claim(want(opened, limit=1))).assignments
    (other,) = (await desk.claim(want(opened, 8, limit=1))).assignments
    assert (one.run.attempt, other.run.attempt) == (1, 1)


async def test_who_waited_in_vain_is_told_for_how_long(house: House, monkeypatch: pytest.MonkeyPatch):
    """Else its worker takes the wait for an absence of its own."""
    closed, opened, claim = asyncio.Event(), session(), house.store.claim
    waiting = Waiting(house.engine, closed)
    await LocalDesk(house.engine).enter(opened)

    async def slow(*given: Any) -> Any:
        house.clock.advance(7_000)
        return await claim(*given)

    async def still() -> bool:
        return True

    monkeypatch.setattr(house.store, "claim", slow)
    taken = await waiting.claim(want(opened), still, 0.1)
    assert (taken.assignments, taken.waited_ms) == ((), 7_000)
    closed.set()
    await asyncio.wait(waiting._tasks)


async def test_a_revoked_credential_gets_nothing_although_it_waits_already(at: Site, house: House):
    key = await at.key()
    desk, opened = await at.desk(key), session()
    await desk.enter(opened)
    waiting = asyncio.create_task(desk.claim(want(opened)))
    await at.node.until(1)
    await people.revoke(house.engine, key.split("_")[2], "ann")
    house.clock.advance(10_000)
    await house.submit()
    with pytest.raises(Barred, match="does not accept"):
        await waiting
    assert await states(house) == {State.PENDING}


async def test_a_worker_may_go_on_at_another_node(at: Site, house: House):
    key, opened = await at.key(), session()
    async with node(house) as other:
        first, second = await at.desk(key), await at.desk(key, other)
        await first.enter(opened)
        await house.submit()
        (one,) = (await second.claim(want(opened))).assignments
        assert (await second.beat(opened.id)).held == 1
        assert await first.settle([done(one)]) == [Verdict.FRESH]
        with pytest.raises(Barred):
            await (await at.desk(await at.key(), other)).beat(opened.id)


async def test_a_node_that_ends_lets_everybody_go_at_once(house: House):
    async with node(house) as served:
        key, opened = await served.key("w", Grant("worker")), session()
        async with reached(Server(served.base, key), DeskClock(house.clock)) as desk:
            await desk.enter(opened)
            claim = asyncio.create_task(desk.claim(want(opened)))
            await desk.listen([f"session:{opened.id}"]).wait(5.0)
            beat = asyncio.create_task(desk.beat(opened.id))
            await served.until(1, 1)
            await served.feed.close()
            assert ids(await claim) == []
            assert (await beat).open


async def test_a_node_that_ends_leaves_nobody_waiting_for_a_claim_that_hangs(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    asked = asyncio.Event()

    async def hangs(*_: Any) -> None:
        asked.set()
        await asyncio.Event().wait()

    async with node(house) as served:
        key, opened = await served.key("w", Grant("worker")), session()
        async with reached(Server(served.base, key), DeskClock(house.clock)) as desk:
            await desk.enter(opened)
            monkeypatch.setattr(house.store, "claim", hangs)
            claim = asyncio.create_task(desk.claim(want(opened)))
            await asked.wait()
            await served.feed.close()
            with pytest.raises(Unavailable):
                await claim


async def test_a_store_that_cannot_serve_is_told_as_such_and_a_lost_reply_loses_nothing(at: Site, house: House):
    desk, opened = await at.desk(), session()
    await desk.enter(opened)
    run = await house.submit()
    house.store.plan = lambda call: LOST_REPLY if call.verb == "claim" else NO_FAULT
    with pytest.raises(Unavailable):
        await desk.claim(want(opened))
    house.store.plan = lambda _: NO_FAULT
    assert [one.id for one in await desk.held(opened.id)] == [run.id]
    assert [one.run.id for one in (await desk.given(opened.id, [run.id, "0" * 32])).assignments] == [run.id]
    (held,) = await desk.held(opened.id)
    returned = Settlement(held.fence, Outcome(End.RETURNED, reason="lost"))
    house.store.plan = lambda call: LOST_REPLY if call.verb == "commit" else NO_FAULT
    with pytest.raises(Unavailable):
        await desk.settle([returned])
    house.store.plan = lambda _: NO_FAULT
    assert await desk.settle([returned]) == [Verdict.ALREADY]


async def test_addresses_without_a_desk_are_told_apart(at: Site, house: House, tmp_path: Path):
    async def trouble(url: str, key: str = "x") -> RotaError:
        async with reached(Server(url, key), DeskClock(house.clock)) as desk:
            with pytest.raises(RotaError) as caught:
                await desk.enter(session())
            return caught.value

    assert isinstance(await trouble("http://127.0.0.1:1"), Unavailable)
    assert isinstance(await trouble(at.node.base), Barred)
    assert isinstance(await trouble(f"{at.node.base}/login", await at.key()), Incompatible)
    for url, key, field in (
        ("ftp://x", "k", "scheduler"),
        ("http://u:p@x", "k", "scheduler"),
        ("http://x:99999", "k", "scheduler"),
        ("http://x", "", "token"),
    ):
        with pytest.raises(Invalid, match=field):
            Server(url, key)
    with pytest.raises(Invalid, match="ca"):
        Server("https://x", "k", str(tmp_path / "none.pem")).tls()


async def test_a_certificate_is_checked_unless_its_authority_is_named(house: House, tmp_path: Path):
    tls = certificate(tmp_path)
    async with node(house, tls) as served:
        key = await served.key("w", Grant("worker"))
        async with reached(Server(served.base, key), DeskClock(house.clock)) as desk:
            with pytest.raises(Unavailable, match="not trusted"):
                await desk.enter(session())
        async with reached(Server(served.base, key, tls["certificate"]), DeskClock(house.clock)) as desk:
            await desk.enter(session())
        elsewhere = served.base.replace("127.0.0.1", "localhost")
        async with reached(Server(elsewhere, key, tls["certificate"]), DeskClock(house.clock)) as desk:
            with pytest.raises(Unavailable, match="not trusted"):
                await desk.enter(session(2))


class Stubborn:
    """An executor that cannot be closed."""

    def __init__(self, kind: str, tried: list[str]) -> None:
        self.kind = kind
        self._tried = tried

    async def run(self, assignment: Assignment, context: Context) -> Outcome:
        raise AssertionError("nothing runs here")

    async def close(self) -> None:
        self._tried.append(self.kind)
        raise OSError(self.kind)


async def test_all_executors_of_a_worker_are_closed_also_where_one_cannot_be(at: Site):
    tried: list[str] = []
    made = {kind: Stubborn(kind, tried) for kind in ("python", "shell")}
    there = at_address(Server(at.node.base, await at.key()))
    with pytest.raises(OSError, match="python"):
        async with remote_worker(there, made, Options(thread=False), lambda _: None):
            assert tried == []
    assert sorted(tried) == ["python", "shell"]
