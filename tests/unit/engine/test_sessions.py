import pytest

from rota.domain.errors import Refused
from rota.domain.facts import SessionChanged
from rota.domain.records import Load, Session
from rota.engine import sessions
from rota.engine.control import resize
from rota.engine.recover import open_sessions
from rota.engine.sessions import TRIES, beat, enter, leave, loads
from rota.testing.factories import make_session
from rota.testing.faults import LOST_REPLY, UNAVAILABLE, at


@pytest.fixture(autouse=True)
async def ready(house):
    await house.task()
    await house.session(ttl_ms=9_000)


async def test_sessions_open_and_close_by_one_write_each(house, engine):
    assert [session.id for session in await open_sessions(engine)] == ["session-1"]
    ear = house.store.watch(["sessions", "session:session-1"])
    assert await leave(engine, "session-1", "bye")
    assert set(await ear.wait(0)) == {"sessions", "session:session-1"}
    closed = await house.get(Session, "session-1")
    assert (closed.open, closed.closed_at, closed.reason) == (False, house.clock.now(), "bye")
    assert house.facts.of(SessionChanged) == [
        SessionChanged("session-1", True, ""),
        SessionChanged("session-1", False, "bye"),
    ]


@pytest.mark.parametrize("fault", [UNAVAILABLE, LOST_REPLY], ids=lambda one: one.name)
async def test_sessions_beat_whatever_becomes_of_what_is_said_with_it(house, engine, fault):
    house.store.plan = at(len(house.store.calls) + 2, fault)
    assert (await beat(engine, "session-1", Load(0, 0, 0, 0, 50, 0))).open
    assert house.store.calls[-1].verb == "commit"


async def test_sessions_tell_what_their_worker_said_last(house, engine):
    for busy in (50, 50, 60):
        await beat(engine, "session-1", Load(0, 0, 0, 0, 50, busy))
    assert await loads(engine, ["session-1", "session-2"]) == [Load(0, 0, 0, 0, 50, 60), None]


async def test_sessions_close_once(house, engine):
    assert await leave(engine, "session-1", "bye")
    assert not await leave(engine, "session-1", "again")
    assert not await leave(engine, "nobody", "bye")
    assert (await house.get(Session, "session-1")).reason == "bye"


async def test_sessions_are_not_opened_twice_by_a_lost_reply(house, engine):
    house.store.plan = at(len(house.store.calls) + 1, LOST_REPLY)
    await enter(engine, make_session(2))
    assert len(await open_sessions(engine)) == 2


async def test_sessions_have_ids_of_their_own(house, engine):
    before = await house.get(Session, "session-1")
    with pytest.raises(Refused, match="there is a session session-1 already"):
        await enter(engine, make_session(1, worker="another"))
    assert await house.get(Session, "session-1") == before


async def test_sessions_closed_while_people_change_them_are_closed(house, engine):
    original = house.store.commit

    async def commit(groups, guard=None, hints=()):
        house.store.commit = original
        await resize(engine, "session-1", 3, "ann")
        return await original(groups, guard, hints)

    house.store.commit = commit
    assert await leave(engine, "session-1", "bye")
    closed = await house.get(Session, "session-1")
    assert (closed.open, closed.slots) == (False, 3)


async def test_sessions_that_change_all_the_time_stay_open_for_now(house, engine):
    original, calls = house.store.commit, []

    async def commit(groups, guard=None, hints=()):
        house.store.commit = original
        calls.append(1)
        await resize(engine, "session-1", len(calls), "ann")
        house.store.commit = commit
        return await original(groups, guard, hints)

    house.store.commit = commit
    assert not await leave(engine, "session-1", "bye")
    assert len(calls) == TRIES
    assert sessions.TRIES == TRIES
