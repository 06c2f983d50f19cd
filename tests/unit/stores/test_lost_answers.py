"""Answers that are lost on their way from a server: nobody can know then whether a write counts."""

from typing import NamedTuple

import pytest

from rota.domain.errors import Unclear
from rota.domain.lane import lane
from rota.ports.store import ALREADY, Want
from rota.testing.clock import START_AT
from rota.testing.factories import make_run, make_session
from tests.services.proxy import between
from tests.unit.stores.files import put, reached

LANE = lane("main", "default", "python")


class Place(NamedTuple):
    url: str
    end: bytes
    """What the message holds that makes a write count."""


@pytest.fixture(params=[("database", b"COMMIT"), ("space", b"EVALSHA")], ids=["PostgreSQL", "Redis"])
def place(request):
    fixture, end = request.param
    return Place(request.getfixturevalue(fixture), end)


@pytest.mark.parametrize("number", [1, 40])
async def test_a_lost_answer_to_a_commit_is_unclear_and_its_repetition_already(place, number):
    runs = [make_run(2 + one) for one in range(number)]
    async with between(place.url) as (proxy, url), reached(url) as store:
        await put(store, make_session(1), make_run(1))
        proxy.cut = place.end
        with pytest.raises(Unclear, match="may or may not count"):
            await put(store, *runs)
        assert proxy.cuts == 1
        assert await put(store, *runs) == [ALREADY] * number


async def test_a_lost_answer_to_a_claim_is_unclear_and_the_session_has_it(place):
    async with between(place.url) as (proxy, url), reached(url) as store:
        await put(store, make_session(1), make_run(1))
        await store.claim([Want("session-1", "w", 7, 0, (LANE,))], START_AT)  # Redis knows the script from now on
        proxy.cut = place.end
        with pytest.raises(Unclear):
            await store.claim([Want("session-1", "w", 7, 5, (LANE,))], START_AT)
        assert [reply.held for reply in await store.beat(["session-1"])] == [1]
