"""The plan of faults: a seed names it for good."""

import asyncio
from itertools import pairwise

import pytest

from tests.chaos.nemesis import EVERYWHERE, KINDS, plan
from tests.chaos.proxy import Proxy
from tests.services.listener import listening


def test_the_same_seed_makes_the_same_plan_and_another_one_another():
    assert plan(7, 60_000) == plan(7, 60_000)
    assert plan(7, 60_000) != plan(8, 60_000)


def test_a_longer_campaign_begins_like_a_shorter_one():
    short = plan(7, 30_000)
    assert plan(7, 600_000)[: len(short)] == short


@pytest.mark.parametrize("seed", range(20))
def test_faults_come_one_after_the_other_and_each_kind_in_time(seed):
    blows = plan(seed, 180_000)
    for before, after in pairwise(blows):
        assert before.at + before.lasts < after.at
        low, high = KINDS[before.kind][2]
        assert low <= before.lasts <= high
    assert {blow.kind for blow in blows} == set(EVERYWHERE)
    assert blows[-1].at + blows[-1].lasts <= 180_000


def test_a_plan_without_kinds_is_empty():
    assert plan(1, 60_000, ()) == []


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)
    writer.close()


async def test_the_proxy_passes_holds_and_loses():
    async with asyncio.timeout(10), listening(echo) as port:
        proxy = Proxy(f"postgresql://rota:secret@127.0.0.1:{port}/rota")
        url = await proxy.open()
        assert url.startswith("postgresql://rota:secret@127.0.0.1:")
        assert url.endswith("/rota")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2].partition("/")[0]))
        writer.write(b"one")
        assert await reader.read(100) == b"one"
        proxy.mode = "hold"
        writer.write(b"two")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.read(100)
        proxy.mode = "pass"
        assert await reader.read(100) == b"two"
        proxy.mode = "mute"
        writer.write(b"three")
        assert await reader.read(100) == b""
        assert proxy.lost == 1
        writer.close()
        await proxy.close()
