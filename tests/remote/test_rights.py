"""Whose what is: a worker speaks for the sessions of its credential, on the queues of its grants, and no more."""

import asyncio
from dataclasses import replace

import pytest

from rota.api import crew
from rota.domain.errors import Barred, Invalid, Refused, TooLarge, Unavailable
from rota.domain.lane import lane
from rota.domain.run import End, Fence, Outcome, State
from rota.domain.states import Verdict
from rota.engine.recover import open_sessions
from rota.engine.sessions import enter
from rota.ports.desk import Progress, Settlement
from rota.ports.store import Line
from rota.worker import wire
from tests.identity.support import NO_RATES
from tests.remote.support import Site, done, session, site, states, want
from tests.unit.engine.support import House

CALLS = {"enter": wire.Enter, "leave": wire.Leave, "claim": wire.Ask, "beat": wire.Beat, "held": wire.Held,
         "report": wire.Report, "settle": wire.Settle}  # fmt: skip


async def test_a_session_is_opened_on_the_queues_of_its_credential_alone(at: Site, house: House):
    desk = await at.desk(await at.key("mail"))
    for queues in (("default",), ("mail", "default"), ("mail2",)):
        with pytest.raises(Barred, match="may not work on"):
            await desk.enter(session(1, *queues))
    assert await open_sessions(house.engine) == []
    await desk.enter(session(1, "mail"))
    (opened,) = await open_sessions(house.engine)
    assert opened.opened_by


async def test_the_desk_says_when_a_session_was_opened_and_by_whom(at: Site, house: House):
    desk = await at.desk()
    told = session(opened_at=5, closed_at=6, draining=True, reason="x", opened_by="me", address="http://x")
    await desk.enter(told)
    (opened,) = await open_sessions(house.engine)
    assert (opened.opened_at, opened.closed_at, opened.draining) == (house.clock.now(), None, False)
    assert opened.opened_by not in ("", "me")
    assert opened.address == "http://x"
    with pytest.raises(Invalid, match="url"):
        await desk.enter(session(2, address="file:///etc/passwd"))
    await desk.enter(told)  # the same again: its first answer may have been lost
    house.clock.advance(1)
    with pytest.raises(Refused):
        await desk.enter(told)


async def test_a_key_has_so_many_sessions_open_at_once_and_no_more(at: Site, house: House, monkeypatch):
    monkeypatch.setattr(crew, "MOST_SESSIONS", 3)
    key = await at.key()
    desk = await at.desk(key)
    for number in (1, 2, 3, 3):
        await desk.enter(session(number))
    with pytest.raises(Refused, match="has 3 open sessions"):
        await desk.enter(session(4))
    answer = await at.node.ask("POST", "/api/worker/register", key, json="http://10.0.0.7:9000")
    assert answer.status_code == 409, answer.text
    assert len(await open_sessions(house.engine)) == 3
    await (await at.desk()).enter(session(5))  # another key has its own
    await desk.leave(session(2).id, "bye")
    house.clock.advance(1_000)
    await desk.enter(session(4))
    with pytest.raises(Refused):
        await desk.enter(session(6))


@pytest.mark.parametrize("kind", ["address", "actor"])
async def test_who_asks_too_often_waits_but_is_alive(house: House, kind: str):
    async with site(house, rates=replace(NO_RATES, **{kind: "4/minute"})) as at:
        key = await at.key()
        desk = await at.desk(key)
        await desk.enter(session())
        for _ in range(3):
            await desk.held(session().id)
        with pytest.raises(Unavailable, match="too many requests"):
            await desk.held(session().id)
        for _ in range(4):
            assert (await desk.beat(session().id)).open
        with pytest.raises(Unavailable, match="too many requests"):
            await desk.beat(session().id)
        assert (await at.node.ask("POST", "/api/worker/heartbeat", key, json="http://w:1")).status_code == 200


async def test_those_who_come_at_once_are_counted_too(at: Site, house: House, monkeypatch):
    go = asyncio.Event()

    async def slow(*given):
        await go.wait()
        await enter(*given)

    monkeypatch.setattr(crew, "MOST_SESSIONS", 3)
    monkeypatch.setattr(crew, "enter", slow)
    desk = await at.desk(await at.key())
    for numbers in (range(1, 6), range(6, 10)):
        coming = [asyncio.create_task(desk.enter(session(number))) for number in numbers]
        await asyncio.wait(coming, timeout=5, return_when=asyncio.FIRST_EXCEPTION)
        go.set()
        found = await asyncio.gather(*coming, return_exceptions=True)
        assert len(await open_sessions(house.engine)) == 3
        assert sum(isinstance(one, Refused) for one in found) == len(numbers) - (3 if 1 in numbers else 0)
        house.clock.advance(1_000)


async def test_a_session_has_a_size(at: Site, house: House):
    desk, many = await at.desk(), tuple(lane("main", f"a-long-queue-{number}", "python") for number in range(9_999))
    with pytest.raises(TooLarge, match="fewer queues"):
        await desk.enter(session(lanes=many))
    assert await open_sessions(house.engine) == []


async def test_nobody_speaks_for_the_session_of_another(at: Site, house: House):
    mine, theirs, opened = await at.desk(), await at.desk(), session()
    await mine.enter(opened)
    await house.submit()
    (one,) = (await mine.claim(want(opened))).assignments
    before = await house.run(one.run.id)
    line = Line(one.run.id, 1, house.clock.now(), "stdout", "", "mine")
    for said in (
        theirs.claim(want(opened)),
        theirs.beat(opened.id),
        theirs.held(opened.id),
        theirs.given(opened.id, [one.run.id]),
        theirs.leave(opened.id, ""),
        theirs.settle([done(one)]),
        theirs.report([Progress(one.run.fence, None, "x")], []),
        theirs.report([], [line]),
    ):
        with pytest.raises(Barred):
            await said
    other = session(2)
    await theirs.enter(other)
    assert (await theirs.given(other.id, [one.run.id])).assignments == ()
    assert await house.run(one.run.id) == before
    assert (await house.store.logs.read(one.run.id))[0] == []
    assert len(await open_sessions(house.engine)) == 2


async def test_nobody_ends_a_run_of_a_worker_beside_the_store(at: Site, house: House):
    await house.session()
    await house.submit()
    one = await house.claim_one()
    with pytest.raises(Barred):
        await (await at.desk()).settle([done(one)])
    assert await states(house) == {State.RUNNING}


async def test_another_fence_and_a_run_that_is_not_there_change_nothing(at: Site, house: House):
    desk, opened = await at.desk(), session()
    await desk.enter(opened)
    await house.submit()
    (one,) = (await desk.claim(want(opened))).assignments
    for fence in (
        one.run.fence._replace(token=8),
        one.run.fence._replace(attempt=2),
        Fence(one.run.id[::-1], 1, 7),
    ):
        outcome = Settlement(fence, Outcome(End.SUCCESS))
        assert await desk.settle([outcome]) == [Verdict.STALE]
        line = Line(fence.run, fence.attempt + 1, 5, "stdout", "", "x")
        assert await desk.report([Progress(fence, None, "x")], [line]) == [Verdict.STALE]
    assert await states(house) == {State.RUNNING}


async def test_an_outcome_told_twice_counts_once_and_another_one_not_at_all(at: Site, house: House):
    desk, opened = await at.desk(), session()
    await desk.enter(opened)
    await house.submit()
    (one,) = (await desk.claim(want(opened))).assignments
    assert await desk.settle([done(one)]) == [Verdict.FRESH]
    assert await desk.settle([done(one), done(one, result=b"1")]) == [Verdict.ALREADY, Verdict.STALE]
    assert (await house.run(one.run.id)).tries == 1


@pytest.mark.parametrize("role", ["viewer", "operator", "developer", "admin", ""])
@pytest.mark.parametrize("call", [*CALLS, "register", "heartbeat"])
async def test_the_desk_is_for_workers_alone(at: Site, role: str, call: str):
    await at.node.everybody()
    answer = await at.node.ask("POST", f"/api/worker/{call}", role, json={})
    assert answer.status_code == (403 if role else 401)
