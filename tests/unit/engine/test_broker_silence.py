"""Workers behind a broker: their silence counts only while a canary is heard through the same broker."""

import pytest

from rota.domain.records import Session
from rota.engine.recover import PATIENCE_MS, TICKS, Watch
from rota.engine.sessions import enter
from rota.testing.factories import make_session

TTL = 9_000
STEP = TTL // TICKS


@pytest.fixture
async def watch(house):
    await house.task()
    await enter(house.engine, make_session(1, ttl_ms=TTL, address="rabbitmq"))
    return Watch(house.engine)


async def canary(house, kind="rabbitmq", number=9):
    await enter(house.engine, make_session(number, ttl_ms=TTL, address=kind, executors=(), lanes=()))


async def looks(house, watch, ms, *beating):
    """Looks for so long while these beat; which sessions are open after them."""
    for _ in range(ms // STEP):
        house.clock.advance(STEP)
        if beating:
            await house.store.beat(beating)
        await watch.look(house.term)
    return {one.id for one in await house.all(Session) if one.open}


async def test_a_silent_worker_lapses_while_a_canary_sings(house, watch):
    await canary(house)
    assert await looks(house, watch, TTL, "session-9") == {"session-1", "session-9"}
    assert await looks(house, watch, STEP, "session-9") == {"session-9"}


async def test_an_outage_of_the_broker_costs_no_worker_its_session(house, watch):
    await canary(house)
    await looks(house, watch, TTL, "session-1", "session-9")
    assert await looks(house, watch, 60_000) == {"session-1"}
    # It is back: a new canary sings, and the worker has its whole time to be heard again.
    await canary(house, number=8)
    assert await looks(house, watch, TTL - STEP, "session-8") == {"session-1", "session-8"}
    assert await looks(house, watch, TTL, "session-1", "session-8") == {"session-1", "session-8"}
    assert await looks(house, watch, TTL + STEP, "session-8") == {"session-8"}


async def test_a_canary_of_another_broker_says_nothing(house, watch):
    await canary(house, "redis")
    assert await looks(house, watch, 60_000, "session-9") == {"session-1", "session-9"}


@pytest.mark.parametrize("sings", ["session-8", "session-9"])
async def test_one_of_several_canaries_is_enough(house, watch, sings):
    await canary(house)
    await canary(house, number=8)
    assert await looks(house, watch, TTL + 2 * STEP, sings) == {sings}


async def test_patience_has_an_end(house, watch):
    assert await looks(house, watch, PATIENCE_MS) == {"session-1"}
    assert await looks(house, watch, TTL + 2 * STEP) == set()


async def test_who_is_behind_no_broker_is_judged_as_ever(house, watch):
    await enter(house.engine, make_session(2, ttl_ms=TTL))
    await enter(house.engine, make_session(3, ttl_ms=TTL, address="http://10.0.0.7:9000"))
    assert await looks(house, watch, TTL + STEP) == {"session-1"}
